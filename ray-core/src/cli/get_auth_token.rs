//! `ray get-auth-token`, and where the token is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use super::{CliError, say};
use crate::config::{Config, Sources};
use crate::wire::token::Token;

/// The token itself, which goes before the file.
const VARIABLE: &str = "RAY_AUTH_TOKEN";

/// Whether a token is made.
#[derive(Debug, Args)]
pub(super) struct GetAuthTokenArgs {
    /// Makes a token where there is none.
    #[arg(long)]
    generate: bool,
}

pub(super) fn run(args: &GetAuthTokenArgs) -> Result<(), CliError> {
    let config = Config::resolve(&Sources::of_this_process(BTreeMap::new())?)?;
    say(cluster_token(&config, args.generate)?.reveal());
    Ok(())
}

/// The cluster's token: that of the variable, else that of the file, which is made on demand.
pub(super) fn cluster_token(config: &Config, make: bool) -> Result<Token, CliError> {
    if let Some(text) = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty()) {
        return Ok(Token::new(&text, "of `RAY_AUTH_TOKEN`")?);
    }
    let path = config.process.auth_token_path.clone().map_or_else(default_path, Ok)?;
    Ok(if make {
        Token::read_or_create(&path)?
    } else {
        Token::read(&path)?
    })
}

/// As with Ray.
fn default_path() -> Result<PathBuf, CliError> {
    let home = std::env::home_dir().ok_or(CliError::NoHome)?;
    Ok(home.join(".ray").join("auth_token"))
}
