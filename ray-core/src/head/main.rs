//! The life of a head in a process of its own, from take-over to exit.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use super::{Error, here, output};
use crate::config;
use crate::process::{Role, RoleEntry, role};
use crate::raylet;
use crate::session::Session;
use crate::wire::connection::over_socket;
use crate::wire::{Frame, HeadSetup, Packet};

#[linkme::distributed_slice(role::ROLES)]
static HEAD: RoleEntry = RoleEntry { name: role::HEAD, run };

/// The descriptor of the session's directory.
pub(super) const SESSION: &str = "session";
fn run(mut role: Role) -> i32 {
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)
        .and_then(|runtime| {
            let session = role.take_descriptor(SESSION);
            runtime.block_on(serve(role.control, session))
        });
    match served {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(target: "ray_core::head", %error, "a head cannot start");
            #[expect(
                clippy::print_stderr,
                reason = "the session's log, which the driver reads when there was no welcome; there may be no logger yet"
            )]
            {
                eprintln!("a ray head cannot start: {error}");
            }
            1
        }
    }
}

/// Serves the driver until its connection ends, then ends everything.
async fn serve(control: OwnedFd, session: Option<OwnedFd>) -> Result<(), Error> {
    let (sender, mut receiver) = over_socket(control)?;
    let (setup, session) = match (receiver.recv().await, session) {
        (
            Some(Packet {
                frame: Frame::StartHead { setup },
                ..
            }),
            Some(session),
        ) => (setup, session),
        _ => return Err(Error::NoSetup),
    };
    match start(*setup, session).await {
        Ok(raylet) => {
            raylet.attend((sender, receiver), None, output::to_driver).await;
            raylet.shutdown().await;
            Ok(())
        }
        Err(error) => {
            sender.send(Frame::Refused { why: error.to_string() });
            Err(error)
        }
    }
}

async fn start(setup: HeadSetup, session: OwnedFd) -> Result<raylet::Handle, Error> {
    crate::logging::in_worker(&config::Cluster::received(&setup.cluster_config)?);
    let path = OsString::from_vec(setup.session_dir.to_vec()).into();
    let session = Arc::new(Session::join(path, session)?);
    here::start(setup, session).await
}
