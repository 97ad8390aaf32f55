//! How object storage is reached: HTTP over TLS by rustls with `ring`, certificates of the operating system.

use std::sync::Arc;
use std::time::Duration;

use object_store::client::{HttpClient, HttpConnector};
use object_store::{ClientConfigKey, ClientOptions};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

/// How long a connection may take. One to the metadata service of a cloud, which nobody answers elsewhere, too.
const CONNECTS_WITHIN: Duration = Duration::from_secs(5);

/// Makes clients without a process-wide choice of cryptography, which is the program's.
#[derive(Debug)]
pub(super) struct Transport;

impl HttpConnector for Transport {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allow_http = options
            .get_config_value(&ClientConfigKey::AllowHttp)
            .is_some_and(|value| value == "true");
        let mut client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(allow_http).map_err(failed)?)
            .https_only(!allow_http)
            .connect_timeout(CONNECTS_WITHIN)
            .user_agent(concat!("ray-core/", env!("CARGO_PKG_VERSION")));
        if let Some(proxy) = options.get_config_value(&ClientConfigKey::ProxyUrl) {
            client = client.proxy(reqwest::Proxy::all(proxy).map_err(failed)?);
        }
        Ok(HttpClient::new(client.build().map_err(failed)?))
    }
}

fn tls(allow_http: bool) -> Result<ClientConfig, rustls::Error> {
    let builder = || {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
    };
    match builder()?.with_platform_verifier() {
        Ok(verified) => Ok(verified.with_no_client_auth()),
        // A machine without certificates can do without TLS, where that is allowed; with TLS it trusts nobody.
        Err(_no_certificates) if allow_http => Ok(builder()?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth()),
        Err(error) => Err(error),
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> object_store::Error {
    object_store::Error::Generic {
        store: "HTTP",
        source: Box::new(error),
    }
}
