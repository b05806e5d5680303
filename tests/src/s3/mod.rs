//! An S3-protocol server for tests and demos: one bucket in memory, path style, signatures checked.
//!
//! Its conditional requests answer as AWS documents them: 304 without a body, 412, 404 for If-Match on a
//! missing key, 409 for a conditional write that overlaps another. Each request is atomic.

mod backend;
mod objects;
mod serve;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use node_agent::bucket::Bucket;
use tokio::sync::oneshot;

use crate::store::Store;
pub use objects::Mistake;
use objects::Objects;

/// One request that the server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, `PUT`, `POST`, `DELETE`.
    pub method: String,
    /// The key; empty for requests about the bucket.
    pub key: String,
    /// The status of the answer.
    pub status: u16,
    /// How many bytes the answer's body had.
    pub sent: u64,
}

/// Whom the server lets in, and to what.
#[derive(Debug, Clone)]
pub struct Access {
    /// The one bucket.
    pub bucket: String,
    /// The one access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            bucket: "fleet".into(),
            access_key: "AKIATESTONLY00000000".into(),
            secret_key: "only-for-tests-on-loopback".into(),
        }
    }
}

/// What the server and its handle share.
#[derive(Debug, Default)]
struct Shared {
    objects: Mutex<Objects>,
    requests: Mutex<Vec<Request>>,
}

impl Shared {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running server, in threads of this process. Dropped: stopped, its connections cut.
#[derive(Debug)]
pub struct S3Server {
    /// `http://address:port`.
    pub endpoint: String,
    /// The access key that it knows.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// The bucket that it has.
    pub bucket: String,
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl S3Server {
    /// Starts a server on a free port of 127.0.0.1.
    pub fn start() -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), Access::default())
    }

    /// Starts a server at `address`: for machines in network namespaces, and to come back on the same port.
    pub fn start_at(address: SocketAddr, access: Access) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel();
        let serve = serve::serve(listener, access.clone(), Arc::clone(&shared), stopped);
        let thread = std::thread::Builder::new()
            .name("s3-server".into())
            .spawn(move || runtime.block_on(serve))?;
        Ok(Self {
            endpoint: format!("http://{address}"),
            access_key: access.access_key,
            secret_key: access.secret_key,
            bucket: access.bucket,
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The environment that a client of this server needs: credentials, a region, and no instance metadata.
    pub fn env(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ACCESS_KEY_ID", self.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key.clone()),
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_EC2_METADATA_DISABLED", "true".into()),
        ]
    }

    /// How it is asked.
    pub fn store(&self) -> Store {
        Store {
            endpoint: self.endpoint.clone(),
            bucket: self.bucket.clone(),
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.clone(),
        }
    }

    /// The server's bucket through the agent's own client, asking `endpoint`: the server itself or a proxy before it.
    pub fn client(&self, endpoint: &str, timeout: Duration) -> Bucket {
        let store = Store {
            endpoint: endpoint.into(),
            ..self.store()
        };
        store.agent(timeout)
    }

    /// Puts an object as if by another client; not in the log of requests. Returns its `ETag`, with quotes.
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) -> String {
        format!("\"{}\"", self.shared.objects().put(key, bytes.into()))
    }

    /// Deletes an object as if by another client.
    pub fn delete(&self, key: &str) {
        self.shared.objects().delete(key);
    }

    /// The present content of an object.
    pub fn get(&self, key: &str) -> Option<Bytes> {
        Some(self.shared.objects().get(key)?.bytes.clone())
    }

    /// All contents that an object ever had, oldest first.
    pub fn history(&self, key: &str) -> Vec<Bytes> {
        self.shared.objects().history(key)
    }

    /// The keys, sorted.
    pub fn keys(&self) -> Vec<String> {
        self.shared.objects().keys()
    }

    /// The requests that were answered, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests().clone()
    }

    /// The requests that were answered since this was last called.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.shared.requests())
    }

    /// Makes this mistake from now on.
    pub fn mistake(&self, mistake: Mistake) {
        self.shared.objects().mistake = mistake;
    }

    /// Lets the next conditional write meet another one that is under way: 409, and nothing is written.
    pub fn conflict_once(&self) {
        self.shared.objects().conflict_once = true;
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It only panics where a test has panicked already.
            let _ = thread.join();
        }
    }
}
