//! `agentctl panel`: the fleet in a browser, on this desk alone. It shows what `agentctl fleet status` shows; editing makes a draft, a
//! file at the desk, and nothing changes before that is planned, signed and published by the code of `agentctl fleet publish`.
//!
//! Nothing of the fleet needs it. It asks the bucket only while somebody looks.

mod door;
mod draft;
mod forms;
mod guard;
mod pages;
mod serve;
mod work;

use std::sync::Arc;

use tokio::net::TcpListener;

use super::args::{Global, PanelArgs};
use super::console::Console;
use super::failure::Failure;
use super::fleet::Desk;
use super::fleet::Glance;
use super::place;
use door::Door;
use draft::DraftFile;
use work::{Panel, Worker};

/// Serves the panel until it is stopped.
pub fn panel(global: &Global, args: &PanelArgs, console: Console) -> Result<u8, Failure> {
    if global.config.is_some() || global.root.is_some() {
        return Err(Failure::new(
            "--config and --root are of a box, and agentctl panel is for a desk",
        )
        .hint("name the bucket with --fleet, and the desk's settings with --desk"));
    }
    if !args.listen.ip().is_loopback() {
        return Err(Failure::new(format!(
            "{} is no loopback address: the panel is for whoever sits at this desk",
            args.listen
        ))
        .hint("from elsewhere: ssh -L 8788:127.0.0.1:8788 DESK, and open the printed link here"));
    }
    let mut desk = Desk::open(&args.at, false, console)?;
    place::block_on(async {
        desk.walk().await?;
        let listener = TcpListener::bind(args.listen).await.map_err(|error| {
            Failure::because(format!("cannot listen on {}", args.listen), error)
                .hint("is another panel running? --listen 127.0.0.1:0 takes any free port")
        })?;
        let address = listener
            .local_addr()
            .map_err(|error| Failure::because("cannot listen", error))?;
        let door = Door::new(address)
            .map_err(|error| Failure::because("there is no randomness for a link", error))?;
        // What is wrong with the desk's settings or the bucket is told here, not in a browser.
        let mut glance = Glance::new(&desk, args.direct).await?;
        let status = glance.look(&desk).await?;
        let fleet = status.document.fleet.clone();
        let draft = args.draft.clone().unwrap_or_else(|| {
            desk.settings
                .file
                .with_file_name(format!("draft-{fleet}.json"))
        });
        let worker = Worker {
            desk,
            glance,
            plan: None,
        };
        let panel = Arc::new(Panel::start(
            worker,
            door,
            DraftFile::new(draft),
            args.read_only,
            console,
        )?);
        panel.seen(status).await;
        panel.tell("open this link in a browser on this machine; it works once:");
        panel.invite();
        serve::serve(listener, panel).await;
        Ok(0)
    })?
}
