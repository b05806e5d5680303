//! What checks look at: the settings and files of this box, what its bucket says, what it should be.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;

use super::super::args::Global;
use super::super::failure::Failure;
use super::super::place;
use crate::bucket::{BucketError, Fetched};
use crate::converge::Session;
use crate::converge::intake::{KEY, Polled};
use crate::converge::ledger::Ledger;
use crate::fleet::{Document, ServerState};
use crate::node::{self, View};
use crate::settings::{BucketUrl, Settings, SettingsError};
use crate::system::command::{self, CommandLine, Output};
use crate::system::file::Files;
use crate::system::platform::Platform;
use crate::system::root::Root;
use crate::system::{chain, clock, systemd};

/// A request takes no longer, whatever the settings say: somebody waits for the answer.
const REQUEST: Duration = Duration::from_secs(5);
/// A command that only tells something.
const ASK: Duration = Duration::from_secs(10);

/// The box that is examined.
#[derive(Debug)]
pub struct ExaminedBox {
    /// Where everything lies.
    pub root: Root,
    /// Its files.
    pub files: Files,
    /// Its settings, or what is wrong with them.
    pub settings: Result<Settings, SettingsError>,
    /// Its paths and units.
    pub platform: Platform,
    bucket_state: OnceLock<Option<BucketState>>,
}

/// What the bucket and the kept state say.
#[derive(Debug)]
pub struct BucketState {
    /// What the agent's own poll brings.
    pub polled: Result<Polled, String>,
    /// The document that the box stands on, or would.
    pub document: Option<Document>,
    /// Which server this box is, and how that was found; or why that is not known.
    pub identity: Option<Result<String, String>>,
    /// What the box should be.
    pub view: Option<View>,
    /// Whether asking "has it changed?" is answered with "no" right after it was fetched.
    pub conditional: Option<bool>,
    /// The bucket's clock, and this box's at that moment.
    pub clocks: Option<(Timestamp, Timestamp)>,
}

impl ExaminedBox {
    /// This box, as the flags say. Only a root that is no directory is an error.
    pub fn new(global: &Global) -> Result<Self, Failure> {
        let root = place::root(global)?;
        let settings = place::plain_settings(global);
        Ok(Self::with(root, settings))
    }

    /// A box with these settings.
    pub fn with(root: Root, settings: Result<Settings, SettingsError>) -> Self {
        let platform = match &settings {
            Ok(settings) => settings.platform.clone(),
            Err(_) => Platform::detect(&root),
        };
        Self {
            files: Files::new(root.clone()),
            root,
            settings,
            platform,
            bucket_state: OnceLock::new(),
        }
    }

    /// What bucket and state say; asked once, by the first check that wants it. `None` without usable settings.
    pub fn bucket_state(&self) -> Option<&BucketState> {
        self.bucket_state
            .get_or_init(|| {
                let mut settings = self.settings.as_ref().ok()?.clone();
                settings.s3.timeout = settings.s3.timeout.min(REQUEST);
                place::block_on(consult(settings)).ok().flatten()
            })
            .as_ref()
    }

    /// What the box should be, where that is known.
    pub fn view(&self) -> Option<&View> {
        self.bucket_state()?.view.as_ref()
    }

    /// How many things of the agent's are left, where the document retires this box.
    pub fn retired(&self) -> Option<usize> {
        if self.view()?.server.state != ServerState::Retired {
            return None;
        }
        let ledger = Ledger::load(&self.files).ok()?;
        Some(ledger.things.len())
    }

    /// Runs a command that only tells something. An error in a line, also where it ended badly.
    pub fn ask(&self, argv: &[&str]) -> Result<String, String> {
        let output = self.run(argv.iter().copied(), ASK)?;
        if output.success {
            return Ok(output.stdout);
        }
        let (command, ended) = (argv.join(" "), output.ended());
        Err(format!("{command} ({ended}): {}", output.said()))
    }

    /// Runs a command, however it ends.
    pub fn run<'a>(
        &self,
        argv: impl IntoIterator<Item = &'a str>,
        deadline: Duration,
    ) -> Result<Output, String> {
        if !self.root.is_machine() {
            return Err("under --root no command is run".into());
        }
        let command = CommandLine::new(argv, deadline);
        place::block_on(command::run(&command))
            .map_err(|failure| failure.to_string())?
            .map_err(|error| chain(&error))
    }

    /// Properties of a unit, as `systemctl show` has them.
    pub fn unit(&self, unit: &str) -> Result<Unit, String> {
        let systemctl = self.platform.systemctl.display().to_string();
        self.ask(&[&systemctl, "show", "--", unit]).map(Unit)
    }

    /// Whether there is anything at a path; links are followed.
    pub fn has(&self, path: &Path) -> bool {
        self.root.real(path).exists()
    }

    /// A readable file's text.
    pub fn text(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(self.root.real(path))
    }
}

async fn consult(settings: Settings) -> Option<BucketState> {
    let limit = settings.document_limit;
    let hosts = settings.hosts;
    let on_network = matches!(settings.bucket, BucketUrl::S3 { .. });
    let mut session = Session::open(settings).await.ok()?.without_writing();
    let polled = session.poll().await.map_err(|error| chain(&error));

    // Beside the agent's own question: that one may be answered from what is kept.
    let fetched = session.bucket.get(KEY, None, limit).await;
    let tag = match &fetched {
        Ok(Fetched::Object { tag, .. }) => Some(tag.clone()),
        _ => None,
    };
    let conditional = match &tag {
        Some(tag) => asked_again(&session.bucket.get(KEY, Some(tag), limit).await),
        None => None,
    };
    let clocks = if on_network {
        let there = session.bucket.date(KEY, tag.as_ref()).await;
        there.map(|there| (there, clock::now()))
    } else {
        None
    };

    let document = session
        .intake
        .accepted()
        .map(|accepted| accepted.document.clone());
    let intent = document.as_ref().map(|_| session.intent());
    let view = match (&document, &intent) {
        (Some(document), Some(Ok((intent, _)))) => node::view(
            &document.fleet,
            &intent.node,
            hosts,
            &intent.elections,
            &intent.evictions,
        ),
        _ => None,
    };
    Some(BucketState {
        polled,
        document,
        identity: intent.map(|intent| match intent {
            Ok((intent, found_by)) => Ok(format!("{}, by {found_by}", intent.node)),
            Err(why) => Err(why.message),
        }),
        view,
        conditional,
        clocks,
    })
}

fn asked_again(answer: &Result<Fetched, BucketError>) -> Option<bool> {
    match answer {
        Ok(Fetched::Unchanged) => Some(true),
        Ok(Fetched::Object { .. }) => Some(false),
        Err(_) => None,
    }
}

/// What systemd says of a unit.
#[derive(Debug)]
pub struct Unit(pub String);

impl Unit {
    /// A property's value; empty where it has none.
    pub fn get(&self, property: &str) -> &str {
        systemd::property(&self.0, property).unwrap_or_default()
    }

    /// Whether there is such a unit that can be used.
    pub fn is_loaded(&self) -> bool {
        self.get("LoadState") == "loaded"
    }

    /// Whether it runs.
    pub fn is_active(&self) -> bool {
        matches!(
            self.get("ActiveState"),
            "active" | "reloading" | "refreshing"
        )
    }

    /// Whether something starts it at boot. One without `[Install]` is started by others.
    pub fn is_enabled(&self) -> bool {
        matches!(
            self.get("UnitFileState"),
            "enabled" | "enabled-runtime" | "static" | "alias" | "indirect" | "generated"
        )
    }
}
