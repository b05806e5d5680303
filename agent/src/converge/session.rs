//! What one process needs to make runs: bucket, intake, clues and converger, put together.
//!
//! Used by the daemon, by `agentd --once` and by `agentctl`, so that all of them decide alike.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::eviction;
use super::follow::{Follower, Round};
use super::intake::{Accepted, InVain, Intake, Polled, Stage, Terms};
use super::orders::Order;
use super::undo::Undone;
use super::{Converger, Intent, fetch_releases};
use crate::bucket::Bucket;
use crate::fleet::{Document, Name, applies, bundles};
use crate::identity::Clues;
use crate::node::databases;
use crate::node::eviction::Evictions;
use crate::report::DatabaseStatus;
use crate::settings::{RUN_DIR, Settings};
use crate::system::file::{FileError, Files};
use crate::system::lock::Lock;
use crate::system::root::Root;

/// A poll asks so often at most until it is known which version this box stands on: older ones are looked at one by one.
const MOST_QUESTIONS: usize = 25;

/// Everything that runs are made with.
#[derive(Debug)]
pub struct Session {
    /// The settings that it was opened with.
    pub settings: Settings,
    /// Where the document lies.
    pub bucket: Arc<Bucket>,
    /// This box's copy of it.
    pub intake: Intake,
    /// The leases that this box follows.
    pub follower: Follower,
    /// What this box knows of itself.
    pub clues: Clues,
    /// What makes the box so.
    pub converger: Arc<Converger>,
    /// The version that a person has taken back on this box.
    pub undone: Option<Undone>,
    /// Servers that were found dead and that this box leaves out, by what was last heard.
    evictions: Evictions,
}

/// There is nothing to converge to. `Display` says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NotReady {
    /// What is missing, and what to do.
    pub message: String,
    /// Why, where the bucket was asked in vain.
    #[source]
    pub cause: Option<Cause>,
}

impl NotReady {
    fn new(message: String) -> Self {
        Self {
            message,
            cause: None,
        }
    }
}

/// Why the bucket gave no document, as its library or server says it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Cause(String);

impl Session {
    /// Reads this box's state and gathers clues, within seconds whatever hangs. Asks the bucket nothing; writes nothing.
    pub async fn open(settings: Settings) -> Result<Self, FileError> {
        let files = Files::new(settings.root.clone());
        let intake = Intake::open(&files, Terms::of(&settings))?;
        let mut session = Self {
            bucket: Arc::new(Bucket::open(&settings.bucket, &settings.s3).await),
            intake,
            follower: Follower::open(&files)?,
            clues: Clues::gather(&settings).await,
            converger: Arc::new(Converger::new(&settings)),
            undone: Undone::load(&files)?,
            evictions: eviction::load(&files)?,
            settings,
        };
        let accepted = session.intake.accepted();
        let found = accepted.and_then(|accepted| session.clues.find(&accepted.document.fleet));
        if let Some((node, _)) = found {
            session.intake.look_at_stage(&node)?;
        }
        Ok(session)
    }

    /// Accepts documents in memory only: for looking without touching.
    #[must_use]
    pub fn without_writing(mut self) -> Self {
        self.intake = self.intake.without_writing();
        self.follower = self.follower.without_writing();
        self
    }

    /// Asks the bucket once: for the document, for how far it may go where this box waits for its wave, and then for the leases
    /// of this box's products.
    pub async fn poll(&mut self) -> Result<Polled, FileError> {
        let mut polled = self.intake.poll(&self.bucket).await?;
        for _ in 0..MOST_QUESTIONS {
            if self.stage()? != Stage::Undecided {
                break;
            }
            match self.intake.poll(&self.bucket).await? {
                // What the first answer brought is the news.
                Polled::Unchanged => {}
                other => polled = other,
            }
        }
        // Who did not answer a moment ago would only be waited for again.
        if !matches!(polled, Polled::Unreachable(_)) {
            let round = self.leases();
            if !round.is_empty() {
                let answers = round.ask(Arc::clone(&self.bucket)).await;
                self.follower.take_answers(answers)?;
            }
        }
        Ok(polled)
    }

    /// Works out whether this box may take the accepted document by now: its wave may have been opened, or its name found. `Taken`
    /// where it is not known which server this is: that is told elsewhere.
    pub fn stage(&mut self) -> Result<Stage, FileError> {
        let accepted = self.intake.accepted();
        let found = accepted.and_then(|accepted| self.clues.find(&accepted.document.fleet));
        match found {
            Some((node, _)) => self.intake.stage(&node),
            None => Ok(Stage::Taken),
        }
    }

    /// What to ask the bucket for the leases of this box's databases. Nothing, where it has none, or where it is not known yet which
    /// server this is.
    pub fn leases(&self) -> Round {
        self.follower.round(&self.lease_names())
    }

    /// Forgets what was read of leases of databases that this box has nothing to do with any more.
    pub fn forget_other_leases(&mut self) {
        let asked = self.leases();
        self.follower.forget_others(&asked);
    }

    /// The leases of this box's databases: one for each cluster, however many products are on it, where that is known.
    fn lease_names(&self) -> Vec<Name> {
        let Some(accepted) = self.intake.accepted() else {
            return Vec::new();
        };
        let fleet = &accepted.document.fleet;
        let Some((node, _)) = self.clues.find(fleet) else {
            return Vec::new();
        };
        let elections = self.follower.elections();
        let clusters = databases::of_server(fleet, &node);
        let mut names = Vec::new();
        for cluster in &clusters {
            let lease = databases::lease(cluster, &elections);
            names.push(lease.clone());
            // A server that might make the first one looks for all that its chain may have; who goes by one of a name that the document
            // does not have any more also looks for the one that it names.
            let mut others = cluster.names();
            if elections.contains_key(lease) {
                let is_named = others.contains(&lease);
                others.truncate(usize::from(!is_named));
            } else if !cluster.has(&node) {
                others.truncate(1);
            }
            names.extend(others.into_iter().filter(|name| *name != lease).cloned());
        }
        names
    }

    /// What the leases tell of the databases of this box's products.
    pub fn databases(&self) -> Vec<DatabaseStatus> {
        let Some(accepted) = self.intake.accepted() else {
            return Vec::new();
        };
        let fleet = &accepted.document.fleet;
        match self.clues.find(fleet) {
            Some((node, _)) => {
                self.follower
                    .database_status(fleet, &node, self.settings.database.port)
            }
            None => Vec::new(),
        }
    }

    /// Like [`Session::leases`], for those that were never asked for since the start. Each is asked once.
    pub fn unheard_leases(&mut self) -> Round {
        let leases = self.lease_names();
        self.follower.first_round(&leases)
    }

    /// Takes over what another process of the agent (`agentd --once`, `agentctl apply`) has accepted since this one last
    /// read or wrote its state. Returns whether there is another document. Only with the lock of runs.
    pub fn catch_up(&mut self) -> Result<bool, FileError> {
        self.follower.catch_up()?;
        let is_new = self.intake.catch_up()?;
        self.undone = Undone::load(self.converger.files())?;
        Ok(is_new)
    }

    /// What this box should converge to, and how its name was found.
    pub fn intent(&self) -> Result<(Intent, String), NotReady> {
        let Some(Accepted { document, .. }) = self.intake.accepted() else {
            return Err(self.no_document());
        };
        let (standing, _) = (self.intake.standing(), self.node_in(document)?);
        let standing = standing.ok_or_else(|| {
            NotReady::new(format!(
                "this box waits for its wave of version {}, and it is not known yet which version it begins with: the bucket is asked. \
                 agentctl fleet rollout status says how far the version is",
                document.id.version
            ))
        })?;
        self.intent_for(standing)
    }

    fn node_in(&self, document: &Document) -> Result<(Name, String), NotReady> {
        let found = self.clues.find(&document.fleet);
        found.ok_or_else(|| NotReady::new(self.clues.not_found(&document.fleet)))
    }

    /// What runs make of this box: the same, or the version before, where a person has taken the present one back.
    pub fn intent_of_runs(&self) -> Result<(Intent, String), NotReady> {
        match self.taken_back() {
            Some(undone) => self.intent_for(&undone.document),
            None => self.intent(),
        }
    }

    /// The document that runs go by: what is said of this box beside its runs (DNS, that it drains) is said by the same one. `None`:
    /// there is none, or it is not known yet which.
    pub fn document_of_runs(&self) -> Option<&Document> {
        let taken_back = self.taken_back().map(|undone| &undone.document);
        taken_back.or_else(|| self.intake.standing())
    }

    /// The present version, where a person has taken it back on this box.
    pub fn taken_back(&self) -> Option<&Undone> {
        let standing = self.intake.standing()?;
        let undone = self.undone.as_ref()?;
        undone.is_of(standing).then_some(undone)
    }

    /// Why no document was ever accepted here: that there is none is said only where the bucket says so.
    fn no_document(&self) -> NotReady {
        let url = self.bucket.url(super::intake::KEY);
        match self.intake.in_vain() {
            Some(InVain::Refused(which)) => NotReady::new(format!(
                "no document was accepted on this box yet: {which} in the bucket was refused"
            )),
            Some(InVain::Unanswered { said, cause }) => NotReady {
                message: format!("no document could be had yet: {said}"),
                cause: cause.clone().map(Cause),
            },
            Some(InVain::Missing) => NotReady::new(format!(
                "there is no document yet: publish one at {url}, or correct fleet in agentd.toml"
            )),
            None => NotReady::new(format!(
                "there is no document on this box yet, and {url} has not been asked for one"
            )),
        }
    }

    /// What this box should converge to if `document` were accepted, and how its name was found.
    pub fn intent_for(&self, document: &Document) -> Result<(Intent, String), NotReady> {
        let (node, found_by) = self.node_in(document)?;
        let intent = Intent {
            document: document.clone(),
            node,
            hosts: self.settings.hosts,
            elections: self.follower.elections(),
            evictions: self.evictions.clone(),
        };
        Ok((intent, found_by))
    }

    /// Servers that were found dead and that this box leaves out.
    pub const fn evictions(&self) -> &Evictions {
        &self.evictions
    }

    /// Leaves these servers out from now on. Where that cannot be kept it counts all the same, until a restart.
    pub fn leave_out(&mut self, evictions: Evictions) -> Result<(), FileError> {
        self.evictions = evictions;
        eviction::save(self.converger.files(), &self.evictions)
    }

    /// The files that others write and that this box reads: of secrets, of certificates with their keys, of standing orders. A change of one is
    /// to reach at once what is made of it.
    pub fn files_read(&self) -> Vec<PathBuf> {
        let orders = Order::ALL.map(Order::path);
        let Ok((intent, _)) = self.intent_of_runs() else {
            return orders.into();
        };
        let fleet = &intent.document.fleet;
        let Some(server) = fleet.servers.get(&intent.node) else {
            return orders.into();
        };
        let files = bundles(fleet, server)
            .into_iter()
            .flat_map(|bundle| bundle.files().values());
        let secrets = files
            .filter(|file| applies(&file.on, server))
            .flat_map(|file| file.secrets.values())
            .filter_map(|secret| secret.file.as_ref());
        let products = server.products.iter();
        let sites = products
            .filter_map(|name| fleet.products.get(name))
            .flat_map(|product| product.sites.values());
        let certificates = sites
            .filter_map(|site| site.tls.as_ref())
            .flat_map(|tls| [&tls.certificate, &tls.key.file]);
        let all = secrets.chain(certificates);
        let all = all.map(|path| path.as_str().into());
        all.chain(orders).collect()
    }

    /// Fetches the archives of releases that are not here: see [`fetch_releases`].
    pub async fn fetch_releases(
        &self,
        intent: &Intent,
        progress: &dyn Fn(&str),
    ) -> Result<(), FileError> {
        let files = self.converger.files().clone();
        let platform = self.settings.platform.clone();
        let bucket = Arc::clone(&self.bucket);
        Box::pin(fetch_releases(
            bucket,
            files,
            platform,
            intent.clone(),
            progress,
        ))
        .await
    }

    /// Takes the lock that every run holds: see [`lock_runs`].
    pub async fn lock(
        &self,
        patience: Duration,
        progress: &dyn Fn(&str),
    ) -> Result<Option<Lock>, FileError> {
        lock_runs(&self.settings.root, patience, progress).await
    }
}

/// Takes the lock that every run holds, waiting at most `patience`. `None`: somebody else's run goes on.
///
/// `progress` is called while waiting, so that a wait does not look like a hang.
pub async fn lock_runs(
    root: &Root,
    patience: Duration,
    progress: &dyn Fn(&str),
) -> Result<Option<Lock>, FileError> {
    let path = Path::new(RUN_DIR).join("run.lock");
    let waiting = || progress("waiting for another run to end");
    Lock::take(root, &path, patience, waiting).await
}
