//! Where this box's state lies, as the flags say.

use std::path::Path;

use super::args::Global;
use super::failure::Failure;
use crate::settings::{CONFIG_FILE, Overrides, Settings, SettingsError, root_of};
use crate::system::file::Files;
use crate::system::platform::Platform;
use crate::system::root::Root;
use crate::system::unit_environment;

/// The flags, as settings take them.
fn overrides(global: &Global) -> Overrides {
    Overrides {
        config: global.config.clone(),
        root: global.root.clone(),
        ..Overrides::default()
    }
}

/// The root alone: enough to read what the agent left, also where its configuration is missing or wrong.
pub fn root(global: &Global) -> Result<Root, Failure> {
    Ok(root_of(&overrides(global))?)
}

/// The files of this box.
pub fn files(global: &Global) -> Result<Files, Failure> {
    Ok(Files::new(root(global)?))
}

/// The settings of this box.
pub fn settings(global: &Global) -> Result<Settings, Failure> {
    Settings::load(&overrides(global)).map_err(|error| {
        let failure = Failure::from(error);
        if global.config.is_none() && !root(global).is_ok_and(|root| has_config(&root)) {
            return failure.hint(
                "agentctl reads this file as agentd does; another one is named with --config FILE. \
                 At a desk: agentctl plan --as SERVER --document FILE",
            );
        }
        failure
    })
}

/// The settings of this box, or all that is wrong with them.
pub fn plain_settings(global: &Global) -> Result<Settings, SettingsError> {
    Settings::load(&overrides(global))
}

fn has_config(root: &Root) -> bool {
    root.real(Path::new(CONFIG_FILE)).exists()
}

/// Goes on with the environment of the agent's unit, where credentials and proxies stand: what asks the bucket asks it as
/// the agent does. Not under a root.
pub fn adopt_environment(global: &Global) {
    let Ok(root) = root(global) else {
        return;
    };
    if root.is_machine() {
        // Where the settings are wrong, whoever needs them says so.
        let platform = plain_settings(global).map(|settings| settings.platform);
        unit_environment::adopt(&platform.unwrap_or_else(|_| Platform::detect(&root)));
    }
}

/// Runs what waits for the network or for commands, in this thread.
pub fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because("cannot start", error))?;
    let done = runtime.block_on(work);
    // A lookup that hangs in a thread of its own must not hold the answer up.
    runtime.shutdown_background();
    Ok(done)
}
