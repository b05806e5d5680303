//! What each part of the document means on a box: one module a resource, one trait for all.
//!
//! A resource says what it wants ([`Resource::desired`], pure), what it must know beyond the files it
//! names ([`Resource::observe`]), and what on the box speaks against it ([`Resource::review`], pure).
//! Comparing wishes with the disk and carrying them out is the same for all: [`crate::converge`].

mod step;

use std::collections::{BTreeMap, BTreeSet};

pub use step::{
    Activation, BLOCK_BEGIN, BLOCK_END, Check, Content, Entry, GuardedList, LineOrigin, Phase,
    Probe, Step, UnitWish, Verb,
};

use crate::node::View;
use crate::report::{Kind, Problem};
use crate::system::command::CommandError;
use crate::system::file::Files;
use crate::system::platform::Platform;

/// What resources know of the box beyond the files that they want.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Those of the accounts asked for that exist. `None` where accounts cannot be looked up (under a root).
    pub users: Option<BTreeSet<String>>,
    /// State of the units asked for, by full unit name. Empty under a root.
    pub units: BTreeMap<String, UnitState>,
    /// Apache, as found.
    pub apache: ApacheFacts,
}

/// What is known of Apache on this box.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApacheFacts {
    /// Its binary and main configuration are there.
    pub installed: bool,
    /// Ports that its own configuration, ours left out, listens on.
    pub listens: BTreeSet<u16>,
    /// Override templates of vhosts, by name.
    pub templates: BTreeMap<String, String>,
}

/// What systemd says of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitState {
    /// Running.
    pub active: bool,
    /// Started at boot.
    pub enabled: bool,
}

/// One kind of thing that the agent keeps.
pub trait Resource {
    /// Which.
    fn kind(&self) -> Kind;

    /// Adds what this resource must know to decide, for what `view` asks of it.
    ///
    /// `machine` is false under `--root`, where no command may run. Never hangs: commands have deadlines.
    fn observe(
        &self,
        view: &View,
        platform: &Platform,
        files: &Files,
        facts: &mut Facts,
    ) -> impl Future<Output = Result<(), CommandError>>;

    /// What this box should have. Pure: the same arguments give the same steps.
    ///
    /// What cannot be (an unknown user, a template that does not render) is a [`Problem`]; the rest still comes.
    fn desired(&self, view: &View, platform: &Platform, facts: &Facts) -> Desired;
}

/// A resource's wishes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// Independent changes: one's failure leaves the others alone.
    pub steps: Vec<Step>,
    /// What cannot be done, or should be known.
    pub problems: Vec<Problem>,
}
