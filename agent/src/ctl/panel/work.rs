//! What the pages share, and the one who works for them: a thread with the desk, the bucket and the key, which does one thing after the
//! other. Signing asks a person and may take minutes; pages are shown meanwhile.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::super::args::FamilyName;
use super::super::console::Console;
use super::super::failure::Failure;
use super::super::fleet::{Desk, Glance, planned};
use super::super::place;
use super::door::Door;
use super::draft::DraftFile;
use crate::fleet::Document;
use crate::report::fleet_status::FleetStatus;
use crate::report::text::{Paint, Row};

/// What was seen so recently is not looked at again.
const RECENT: Duration = Duration::from_secs(10);
/// How long a page waits for the desk: less than a request may take.
const PATIENCE: Duration = Duration::from_secs(40);
/// The most that waits to be done.
const WAITING: usize = 32;
/// Between two lines with a link in the terminal: whoever has none could fill it.
const INVITE_PAUSE: Duration = Duration::from_secs(30);

/// The worker's own things.
pub(super) struct Worker {
    pub desk: Desk,
    pub glance: Glance,
    /// The last plan, and of which documents: of a large fleet it takes longer than a page waits.
    pub plan: Option<((String, String), Vec<Row>)>,
}

impl Worker {
    /// What a document would change on each server that stands on another one.
    pub fn rows(&mut self, document: Document, before: Document) -> Result<Vec<Row>, Failure> {
        let of = (document.id.digest.clone(), before.id.digest.clone());
        if let Some((planned, rows)) = &self.plan
            && *planned == of
        {
            return Ok(rows.clone());
        }
        let desk = planned("the draft", document, Some(before), FamilyName::default());
        let rows = desk.rows()?;
        self.plan = Some((of, rows.clone()));
        Ok(rows)
    }
}

/// Work that borrows the worker for as long as it takes.
pub(super) type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + 'a>>;
type Job = Box<dyn for<'a> FnOnce(&'a mut Worker) -> Pin<Box<dyn Future<Output = ()> + 'a>> + Send>;

/// The fleet as it was seen.
#[derive(Debug)]
pub(super) struct View {
    pub status: FleetStatus,
    pub document: Document,
    /// The published document, byte for byte.
    pub bytes: Vec<u8>,
    at: Instant,
}

/// How the last publication goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Publishing {
    Nothing,
    UnderWay,
    Done(String),
    Failed(String),
}

/// What all pages are made from.
pub(super) struct Panel {
    pub door: Door,
    pub draft: DraftFile,
    pub read_only: bool,
    console: Console,
    jobs: mpsc::Sender<Job>,
    view: Mutex<Option<Arc<View>>>,
    publishing: Mutex<Publishing>,
    invited: Mutex<Option<Instant>>,
    /// One look at a time: who waits for it takes what it has found.
    looking: tokio::sync::Mutex<()>,
    /// Something was published here since the last look.
    changed: AtomicBool,
}

/// What a page shows, and what is wrong with it.
pub(super) struct Seen {
    pub view: Arc<View>,
    /// Why it is not of now.
    pub stale: Option<String>,
}

impl Panel {
    /// Begins to work.
    pub fn start(
        worker: Worker,
        door: Door,
        draft: DraftFile,
        read_only: bool,
        console: Console,
    ) -> Result<Self, Failure> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(WAITING);
        let mut worker = worker;
        std::thread::Builder::new()
            .name("desk".into())
            .spawn(move || {
                let worked = place::block_on(async {
                    while let Some(job) = waiting.recv().await {
                        job(&mut worker).await;
                    }
                });
                // Where there is no runtime, each page says that nobody works.
                drop(worked);
            })
            .map_err(|error| Failure::because("cannot start a thread", error))?;
        Ok(Self {
            door,
            draft,
            read_only,
            console,
            jobs,
            view: Mutex::new(None),
            publishing: Mutex::new(Publishing::Nothing),
            invited: Mutex::new(None),
            looking: tokio::sync::Mutex::new(()),
            changed: AtomicBool::new(false),
        })
    }

    /// Shows the link in the terminal, now and then.
    pub fn invite(&self) {
        let renewed = self.door.renew().unwrap_or(false);
        let mut invited = self.invited.lock().unwrap_or_else(PoisonError::into_inner);
        let recently = invited.is_some_and(|at| at.elapsed() < INVITE_PAUSE);
        if recently && !renewed {
            return;
        }
        *invited = Some(Instant::now());
        if let Some(link) = self.door.link() {
            // The one line that a program reads: data, and it goes to standard output.
            let _ = self.console.print_text(&format!("{link}\n"));
        }
    }

    /// Says something in the terminal.
    pub fn tell(&self, message: &str) {
        self.console.note(message);
    }

    /// Has something done at the desk for a page; its failure is a text for that page. What takes long is done all the same.
    pub async fn ask<T: Send + 'static>(
        &self,
        work: impl for<'a> FnOnce(&'a mut Worker) -> Work<'a, T> + Send + 'static,
    ) -> Result<T, String> {
        let asked = tokio::time::timeout(PATIENCE, self.ask_for_long(work));
        asked.await.unwrap_or_else(|_| {
            Err("this takes long: load the page again in a while. Is a signature waited for, in the terminal of the panel?".into())
        })
    }

    /// The same, for what asks a person.
    pub async fn ask_for_long<T: Send + 'static>(
        &self,
        work: impl for<'a> FnOnce(&'a mut Worker) -> Work<'a, T> + Send + 'static,
    ) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |worker| {
            Box::pin(async move {
                let done = work(worker).await;
                // Whoever asked may have gone away.
                let _ = reply.send(done.map_err(|failure| failure.text(Paint::PLAIN)));
            })
        });
        let busy = || {
            "the desk is busy: is a signature waited for, in the terminal of the panel?".to_owned()
        };
        self.jobs.try_send(job).map_err(|_| busy())?;
        answer.await.map_err(|_| busy())?
    }

    /// The fleet, not older than some seconds; or as it was seen last, and why.
    pub async fn look(&self) -> Result<Seen, String> {
        let _one = self.looking.lock().await;
        let last = self.last();
        // While somebody signs, nobody looks: the page says so itself.
        let changed = self.changed.swap(false, Ordering::Relaxed);
        if let Some(view) = &last
            && !changed
            && (view.at.elapsed() < RECENT || self.publishing() == Publishing::UnderWay)
        {
            return Ok(Seen {
                view: Arc::clone(view),
                stale: None,
            });
        }
        let look = self.ask(|worker| {
            Box::pin(async move {
                // Others may sign by now.
                worker.desk.walk().await?;
                let status = worker.glance.look(&worker.desk).await?;
                view_of(worker, status)
            })
        });
        let why = match look.await {
            Ok(view) => {
                let view = Arc::new(view);
                self.keep(&view);
                return Ok(Seen { view, stale: None });
            }
            Err(why) => why,
        };
        if changed {
            self.forget();
        }
        last.map(|view| Seen {
            view,
            stale: Some(why.clone()),
        })
        .ok_or(why)
    }

    /// Remembers a first look.
    pub async fn seen(&self, status: FleetStatus) {
        let view = self.ask(|worker| Box::pin(async move { view_of(worker, status) }));
        if let Ok(view) = view.await {
            self.keep(&Arc::new(view));
        }
    }

    /// What was seen last.
    pub fn last(&self) -> Option<Arc<View>> {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        view.clone()
    }

    /// The next page looks again.
    pub fn forget(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    fn keep(&self, view: &Arc<View>) {
        let mut kept = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(Arc::clone(view));
    }

    /// How the last publication goes.
    pub fn publishing(&self) -> Publishing {
        let publishing = self
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        publishing.clone()
    }

    /// Notes how it goes. Whether it did: none is begun while another one is under way.
    pub fn set_publishing(&self, to: Publishing) -> bool {
        let mut publishing = self
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *publishing == Publishing::UnderWay && to == Publishing::UnderWay {
            return false;
        }
        *publishing = to;
        true
    }
}

fn view_of(worker: &Worker, status: FleetStatus) -> Result<View, Failure> {
    let published = worker.glance.published();
    let published = published.ok_or_else(|| Failure::new("nothing is published"))?;
    Ok(View {
        document: published.good("what is published")?.clone(),
        bytes: published.bytes.clone(),
        status,
        at: Instant::now(),
    })
}
