//! What each part of the document means on a box: one module a resource, one trait for all.
//!
//! A resource says what it must know beyond the files it names ([`Resource::observe`]), and from that
//! what it wants and what on the box speaks against it ([`Resource::desired`], pure).
//! Comparing wishes with the disk and carrying them out is the same for all: [`crate::converge`].

pub mod block;
mod cache;
mod cron;
#[cfg(test)]
mod fixtures;
mod hosts;
mod sites;
mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub use cache::Caches;
pub use cron::Cron;
pub use hosts::{Hosts, HostsFacts, HostsLine, PATH as HOSTS, STEP as HOSTS_STEP};
pub use sites::Sites;
pub use step::{
    Activation, BLOCK_BEGIN, BLOCK_END, Check, Content, Entry, GuardedList, LineOrigin, Phase,
    Probe, Step, UnitWish, Verb,
};

use crate::fleet::Pointer;
use crate::node::View;
use crate::report::{Kind, Problem, Severity, StepName};
use crate::system::accounts::AccountError;
use crate::system::chain;
use crate::system::command::CommandError;
use crate::system::file::Files;
use crate::system::platform::Platform;
pub use crate::system::systemd::UnitState;

/// What resources know of the box beyond the files that they want.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Those of the accounts asked for that exist. `None` where accounts cannot be looked up (under a root, the name service is away).
    pub users: Option<BTreeSet<String>>,
    /// Apache, as found.
    pub apache: ApacheFacts,
    /// `/etc/hosts` outside the agent's lines.
    pub hosts: HostsFacts,
}

impl Facts {
    /// What a box of `view` would look like with all that its image should have, for planning at a desk.
    pub fn assumed() -> Self {
        Self {
            apache: ApacheFacts::as_installed(),
            ..Self::default()
        }
    }
}

/// What is known of Apache on this box.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApacheFacts {
    /// Its binary and main configuration are there.
    pub installed: bool,
    /// Ports that its own configuration, ours left out, listens on, each with an address at which the box itself reaches it.
    pub listens: BTreeMap<u16, IpAddr>,
    /// Ports for which its own configuration has a vhost that answers unknown hosts.
    pub defaults: BTreeSet<u16>,
    /// Ports that sites ask for and that a process other than Apache listens on.
    pub taken: BTreeSet<u16>,
    /// Override templates of vhosts, by name.
    pub templates: BTreeMap<String, String>,
}

/// Something that a resource must know could not be found out. What depends on it is decided as if it were right.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// A command did not tell.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The name service did not tell.
    #[error(transparent)]
    Account(#[from] AccountError),
}

/// One kind of thing that the agent keeps.
pub trait Resource {
    /// Which.
    fn kind(&self) -> Kind;

    /// Adds what this resource must know to decide, for what `view` asks of it.
    ///
    /// Under a root (`files.root()`) no command may run. Never hangs: commands have deadlines.
    fn observe(
        &self,
        view: &View,
        platform: &Platform,
        files: &Files,
        facts: &mut Facts,
    ) -> impl Future<Output = Result<(), ObserveError>>;

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
    /// Steps that cannot be worked out now. What the ledger has for them stays on the box as it is,
    /// neither changed nor removed; each has a problem that says why.
    pub keep: Vec<StepName>,
}

impl Desired {
    /// A step that cannot be worked out: what it owns stays as it is, and `message` says why and what to do.
    pub fn hold(&mut self, kind: Kind, step: StepName, message: String, origin: Option<Pointer>) {
        self.problems.push(Problem {
            kind,
            step: Some(step.clone()),
            severity: Severity::Failure,
            message,
            origin,
        });
        self.keep.push(step);
    }

    fn join(&mut self, other: Self) {
        self.steps.extend(other.steps);
        self.problems.extend(other.problems);
        self.keep.extend(other.keep);
    }
}

/// What all resources must know of this box, beyond the files that they want.
///
/// One resource's failure to look leaves the others' facts complete; all failures are returned.
pub async fn observe_all(view: &View, platform: &Platform, files: &Files) -> (Facts, Vec<Problem>) {
    let mut facts = Facts::default();
    let mut problems = Vec::new();
    let mut note = |kind, result: Result<(), ObserveError>| {
        if let Err(error) = result {
            problems.push(Problem {
                kind,
                step: None,
                severity: Severity::Failure,
                message: format!("not all could be looked up: {}", chain(&error)),
                origin: None,
            });
        }
    };
    let facts_mut = &mut facts;
    note(
        Kind::Cache,
        Caches.observe(view, platform, files, facts_mut).await,
    );
    note(
        Kind::Hosts,
        Hosts.observe(view, platform, files, facts_mut).await,
    );
    note(
        Kind::Sites,
        Sites.observe(view, platform, files, facts_mut).await,
    );
    note(
        Kind::Cron,
        Cron.observe(view, platform, files, facts_mut).await,
    );
    (facts, problems)
}

/// What this box should have, from all resources, in the order of [`Kind`]. Pure.
pub fn desired_all(view: &View, platform: &Platform, facts: &Facts) -> Desired {
    let mut all = Desired::default();
    all.join(Caches.desired(view, platform, facts));
    all.join(Hosts.desired(view, platform, facts));
    all.join(Sites.desired(view, platform, facts));
    all.join(Cron.desired(view, platform, facts));
    all
}
