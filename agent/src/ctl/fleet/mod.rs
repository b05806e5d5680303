//! `agentctl fleet`: what operators do at a desk. It needs no agent and no root, only the bucket and a key.

pub(super) mod ask;
mod desk;
mod diff;
mod dns;
mod edit;
mod glance;
mod init;
mod key;
mod log;
mod masters;
mod plan;
mod publish;
mod published;
mod release;
mod rollout;
mod signer;
mod status;
mod verify;
mod walk;
mod waves;

use super::args::{FleetArgs, FleetCommand, Global};
use super::console::Console;
use super::failure::Failure;
use super::place;

pub(super) use desk::{Desk, LIMIT};
pub(super) use diff::{changes_of, unified, version_bytes};
pub(super) use glance::Glance;
pub(super) use log::version_entries;
pub(super) use plan::of as planned;
pub(super) use publish::{Basis, publish_quietly, write};
pub(super) use published::described;

/// Does what is asked at a desk.
pub fn fleet(global: &Global, args: &FleetArgs, console: Console) -> Result<u8, Failure> {
    // A box's configuration has nothing to say here.
    if global.config.is_some() || global.root.is_some() {
        return Err(Failure::new(
            "--config and --root are of a box, and agentctl fleet is for a desk",
        )
        .hint("name the bucket with --fleet, and the desk's settings with --desk"));
    }
    let mut desk = Desk::open(
        &args.at,
        matches!(args.command, FleetCommand::Init { .. }),
        console,
    )?;
    place::block_on(async {
        match &args.command {
            FleetCommand::Init { .. } => {}
            // A file can be looked at without a bucket.
            FleetCommand::Verify { .. } | FleetCommand::Validate { .. } if desk.url().is_err() => {}
            _ => desk.walk().await?,
        }
        run(&desk, &args.command).await
    })?
}

async fn run(desk: &Desk, command: &FleetCommand) -> Result<u8, Failure> {
    match command {
        FleetCommand::Init {
            name,
            document,
            signing_key,
        } => init::init(desk, name, document.as_deref(), signing_key).await,
        FleetCommand::Status { wanted } => status::status(desk, wanted).await,
        FleetCommand::Dns { wanted } => dns::dns(desk, wanted).await,
        FleetCommand::Get { file } => verify::get(desk, file.as_deref()).await,
        FleetCommand::Edit { how } => edit::edit(desk, how).await,
        FleetCommand::Validate { file } => verify::validate(desk, file).await,
        FleetCommand::Verify { file } => verify::verify(desk, file),
        FleetCommand::Diff { before, after } => {
            diff::diff(desk, before.as_deref(), after.as_deref()).await
        }
        FleetCommand::Plan { file, platform } => plan::plan(desk, file, *platform).await,
        FleetCommand::Sign { file, out, how } => publish::sign(desk, file, out, how).await,
        FleetCommand::Cosign { file, yes } => publish::cosign(desk, file, *yes).await,
        FleetCommand::Publish { file, how } => publish::publish_file(desk, file, how).await,
        FleetCommand::Key { command } => key::key(desk, command).await,
        FleetCommand::Release {
            product,
            archive,
            version,
        } => release::release(desk, product, archive, version.as_ref()).await,
        FleetCommand::Rollout { command } => rollout::rollout(desk, command).await,
        FleetCommand::Log { number } => log::log(desk, *number).await,
        FleetCommand::Show { version } => log::show(desk, *version).await,
        FleetCommand::Rollback { version, how } => publish::rollback(desk, *version, how).await,
    }
}
