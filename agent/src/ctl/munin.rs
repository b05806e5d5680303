//! `agentctl munin`: a Munin plugin, for the wrapper in `/etc/munin/plugins`.

use std::path::Path;
use std::time::Duration;

use super::args::{Global, MuninAsk};
use super::console::Console;
use super::failure::Failure;
use super::local_status::{LocalStatus, within};
use super::place;
use crate::report::munin;
use crate::report::watch::Watch;
use crate::settings::CONFIG_FILE;
use crate::system::clock;

/// munin-node gives a plugin more, but asks them one after the other.
const DEADLINE: Duration = Duration::from_secs(9);

/// Answers munin-node. What is not known is `U`: a plugin that fails is a graph with a hole and no reason.
pub fn munin(global: &Global, ask: MuninAsk, console: Console) -> Result<u8, Failure> {
    let seeing = global.clone();
    let look = within(DEADLINE, move || {
        LocalStatus::read(&seeing).unwrap_or_default()
    });
    let look = look.unwrap_or_default();
    let watch = Watch::new(look.seen(), clock::now());
    match ask {
        MuninAsk::Fetch => console.print_text(&munin::fetch(&watch))?,
        MuninAsk::Config => {
            let dirty = std::env::var_os("MUNIN_CAP_DIRTYCONFIG").is_some_and(|set| set == "1");
            console.print_text(&munin::config(&watch, dirty))?;
        }
        MuninAsk::Autoconf => console.print_text(&autoconf(global, &look))?,
        // For plugins with one link a thing: this one has none.
        MuninAsk::Suggest => {}
    }
    Ok(0)
}

/// Whether munin-node-configure should link the plugin.
fn autoconf(global: &Global, look: &LocalStatus) -> String {
    if look.status.is_some() {
        return "yes\n".into();
    }
    if let Some(trouble) = &look.trouble {
        return format!("no ({})\n", trouble.replace('\n', " "));
    }
    let configured =
        place::root(global).is_ok_and(|root| root.real(Path::new(CONFIG_FILE)).exists());
    if configured {
        "yes\n".into()
    } else {
        format!("no (no {CONFIG_FILE} and no status of agentd: it is not set up on this machine)\n")
    }
}
