//! What each part of the document means on a box: one module a resource, one trait for all.
//!
//! A resource says what it must know beyond the files it names ([`Resource::observe`]), and from that
//! what it wants and what on the box speaks against it ([`Resource::desired`], pure).
//! Comparing wishes with the disk and carrying them out is the same for all: [`crate::converge`].

mod accounts;
pub mod block;
mod cache;
mod cron;
mod database_units;
mod files;
#[cfg(test)]
mod fixtures;
mod hosts;
mod lines;
mod member;
mod packages;
mod php;
mod pool_names;
mod precaution;
mod releases;
pub mod secrets;
mod served;
mod services;
mod sites;
mod step;
mod text;
mod vhost_table;

use std::collections::BTreeSet;
use std::path::Path;

pub use accounts::{AccountFacts, Accounts, nologin};
pub use cache::{CacheInstances, CacheLists, reads_as_list};
pub use cron::{
    Cron, CronFacts, Held, HeldRecord, JobDescription, JobEnd, JobRecord, OUTPUT,
    RECORDS as JOB_RECORDS, descriptions, look_at_jobs, record_path,
};
pub use files::{FileFacts, OBJECTS, PlacedFiles, TROUBLE};
pub use hosts::{Hosts, HostsFacts, HostsLine, PATH as HOSTS};
pub use member::{Member, MemberName};
pub use packages::{KEPT as PACKAGES_KEPT, LOG as PACKAGES_LOG, Packages, PackagesFacts};
pub use php::{PhpFacts, PhpPools};
pub use precaution::{OpenLogs, OthersSites, Precaution, ServedName, logs_of};
pub use releases::{
    ARCHIVES, CurrentLinks, CurrentLinksFacts, FAILED, PARTIAL, ProductReleases, RECORDS,
    ReleaseFailure, ReleaseRecord, Releases, ReleasesFacts, Rollback, archive_path, keep_rollbacks,
    list_path, releases_dir, rollbacks, served,
};
pub use served::{ReleaseWish, ServedProduct, Smoke};
pub use services::{Services, ServicesFacts};
pub use sites::{ApacheFacts, Sites};
pub use step::{
    AccountWish, Activation, BLOCK_BEGIN, BLOCK_END, Check, FileCheck, GuardedList, LineOrigin,
    Phase, Probe, Question, Refusal, Step, Thing, USUAL_STEP, UnknownThing, Verb, Want, Wave, Wish,
};
pub use text::Text;
pub use vhost_table::VhostTable;

use crate::fleet::Pointer;
use crate::node::View;
use crate::report::{Kind, Problem, Severity, StepName};
use crate::system::accounts::AccountError;
use crate::system::chain;
use crate::system::command::CommandError;
use crate::system::file::{FileError, Files};
use crate::system::platform::Platform;

/// Something that a resource must know could not be found out. What depends on it is decided as if it were right.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// A command did not tell.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The package database did not tell.
    #[error("{0}")]
    Packages(String),
    /// Files of the system could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The name service did not tell.
    #[error(transparent)]
    Account(#[from] AccountError),
}

/// Whether a change of a path is how the agent does it, and nothing that a document asks for. `diff`: of what people read.
pub fn is_internal(kind: Kind, path: &Path, diff: &str) -> bool {
    kind == Kind::Sites && Sites::is_internal(path, diff)
}

/// One kind of thing that the agent keeps.
pub trait Resource {
    /// What it must know of the box beyond the things that it wants. The default: nothing was looked at, and what
    /// depends on it is decided as if all were right.
    type Facts: Default;

    /// Which.
    fn kind(&self) -> Kind;

    /// Whether its steps are carried out at once and alone where only what they want has changed, be it in the middle
    /// of another run. They must own paths only, of which none is new, and run no command.
    fn is_fast(&self) -> bool {
        false
    }

    /// Looks at what this resource must know to decide, for what `view` asks of it.
    ///
    /// Under a root (`files.root()`) no command may run. Never hangs: commands have deadlines.
    fn observe(
        &self,
        view: &View,
        platform: &Platform,
        files: &Files,
    ) -> impl Future<Output = Result<Self::Facts, ObserveError>>;

    /// What a box looks like that has all that its image should have, for planning at a desk.
    fn assumed(&self) -> Self::Facts {
        Self::Facts::default()
    }

    /// What this box should have. Pure: the same arguments give the same steps.
    ///
    /// What cannot be (an unknown user, a template that does not render) is a [`Problem`]; the rest still comes.
    fn desired(&self, view: &View, platform: &Platform, facts: &Self::Facts) -> Desired;

    /// Takes `members` of `step` out of the view; those that `old` has otherwise come back as they were there.
    fn leave_out(
        &self,
        _step: &StepName,
        _members: &BTreeSet<MemberName>,
        _view: &mut View,
        _old: Option<&View>,
    ) {
    }
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
    /// Things that steps of `keep` would want: nobody removes them meanwhile.
    pub claims: Vec<Thing>,
    /// Members of steps that cannot be, while the rest of the step could be without them.
    pub unfit: Vec<Unfit>,
    /// Members that the steps are wished for without.
    pub left_out: Vec<LeftOut>,
}

/// A part of a step that the step comes true without.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftOut {
    /// Whose.
    pub kind: Kind,
    /// Which step.
    pub step: StepName,
    /// Which part of it.
    pub member: MemberName,
    /// Why.
    pub why: String,
    /// It failed for this version of the document and is not tried again; else it cannot be as things stand.
    pub quarantined: bool,
}

/// A part of a step that cannot be as the document has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Unfit {
    /// Whose.
    pub kind: Kind,
    /// Which step.
    pub step: StepName,
    /// Which part of it.
    pub member: MemberName,
    /// Why, and what to do.
    pub message: String,
    /// Where the document asks for it.
    pub origin: Option<Pointer>,
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

    fn join(&mut self, wave: Wave, fast: bool, other: Self) {
        let steps = other.steps.into_iter();
        let steps = steps.map(|step| Step { wave, fast, ..step });
        self.steps.extend(steps);
        self.problems.extend(other.problems);
        self.keep.extend(other.keep);
        self.claims.extend(other.claims);
        self.unfit.extend(other.unfit);
        self.left_out.extend(other.left_out);
    }
}

/// Lists all resources in the waves in which their turn comes, and makes of that what is done with all of them.
macro_rules! resources {
    ($($wave:ident: $($field:ident = $resource:ident),+;)+) => {
        /// What resources know of the box beyond the things that they want, each in a type of its own.
        #[derive(Debug, Default)]
        pub struct Facts {
            $($(
                #[doc = concat!("What [`", stringify!($resource), "`] knows.")]
                pub $field: <$resource as Resource>::Facts,
            )+)+
        }

        impl Facts {
            /// What a box looks like that has all that its image should have, for planning at a desk.
            pub fn assumed() -> Self {
                Self { $($($field: $resource.assumed(),)+)+ }
            }
        }

        /// What all resources must know of this box, beyond the things that they want.
        ///
        /// One resource's failure to look leaves the others' facts complete; all failures are returned.
        pub async fn observe_all(
            view: &View,
            platform: &Platform,
            files: &Files,
        ) -> (Facts, Vec<Problem>) {
            let mut problems = Vec::new();
            let facts = Facts {
                $($(
                    $field: match $resource.observe(view, platform, files).await {
                        Ok(facts) => facts,
                        Err(error) => {
                            problems.push(unseen($resource.kind(), &error));
                            Default::default()
                        }
                    },
                )+)+
            };
            (facts, problems)
        }

        /// What this box should have, from all resources, in the order of the waves. Pure.
        pub fn desired_all(view: &View, platform: &Platform, facts: &Facts) -> Desired {
            let mut all = Desired::default();
            $($(
                let desired = $resource.desired(view, platform, &facts.$field);
                all.join(Wave::$wave, $resource.is_fast(), desired);
            )+)+
            all
        }

        /// What the resources of the fast lane want, with what they see now. What they would have to say of the box is
        /// left to whole runs.
        pub async fn desired_fast(view: &View, platform: &Platform, files: &Files) -> Desired {
            let mut all = Desired::default();
            $($(
                if $resource.is_fast() {
                    let facts = $resource.observe(view, platform, files).await;
                    let desired = $resource.desired(view, platform, &facts.unwrap_or_default());
                    all.join(Wave::$wave, true, desired);
                }
            )+)+
            all
        }

        /// Takes `members` of `step` out of the view; those that `old` has otherwise come back as they were there.
        pub fn leave_out(
            step: &StepName,
            members: &BTreeSet<MemberName>,
            view: &mut View,
            old: Option<&View>,
        ) {
            $($( $resource.leave_out(step, members, view, old); )+)+
        }
    };
}

resources! {
    Base: packages = Packages, accounts = Accounts;
    Content: files = PlacedFiles, cache_lists = CacheLists, hosts = Hosts, php = PhpPools,
        releases = Releases;
    Serving: cache_instances = CacheInstances, sites = Sites, services = Services,
        cron = Cron;
    Proof: current_links = CurrentLinks;
}

fn unseen(kind: Kind, error: &ObserveError) -> Problem {
    Problem {
        kind,
        step: None,
        severity: Severity::Failure,
        message: format!("not all could be looked up: {}", chain(error)),
        origin: None,
    }
}
