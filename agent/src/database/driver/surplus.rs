//! What this server has and the master lacks, kept for people: in a file here, and in the bucket.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use super::context::Context;
use super::local_server::LocalServer;
use super::peers::Peer;
use crate::bucket::Bucket;
use crate::database::server::{idle_writes, surplus};

/// The most bytes of a surplus that go into the bucket; a longer one stays on the machine.
const LIMIT: u64 = 256 * 1024 * 1024;
/// One question, one reading of the binary logs, one upload. Nothing waits for it but a server that is kept out.
const PATIENCE: Duration = Duration::from_mins(15);

/// What prints binary logs: the server's own tool, by its new name or the old one.
const TOOLS: [&str; 3] = [
    "/usr/bin/mariadb-binlog",
    "/usr/bin/mysqlbinlog",
    "/usr/local/bin/mysqlbinlog",
];

/// Saves what `peer`, the master of `epoch`, lacks. Whether it changes nothing that people have.
pub(super) async fn keep(
    local: &LocalServer,
    peer: &Peer,
    context: &Context,
    epoch: u64,
) -> Result<bool, String> {
    let text = |error: &dyn std::error::Error| crate::system::chain(error);
    let seen = peer.server.observe(Duration::from_secs(10)).await;
    let other = seen.map_err(|error| text(&error))?;
    let dir = context.state_dir.join("surplus");
    // It holds the product's data.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .map_err(|error| error.to_string())?;
    let file = dir.join(format!("{}-{epoch}.sql", context.product));
    let tool = TOOLS.iter().map(Path::new).find(|path| path.exists());
    let tool = tool.ok_or_else(|| format!("none of {} is there", TOOLS.join(", ")))?;
    surplus::save(local.server(), &other.executed, tool, &file, PATIENCE)
        .await
        .map_err(|error| text(&error))?;
    let length = std::fs::metadata(&file)
        .map_err(|error| error.to_string())?
        .len();
    tracing::warn!(
        event = "database-surplus-saved",
        product = %context.product,
        file = %file.display(),
        bytes = length,
        "{}: transactions that the master lacks were saved in {} ({length} bytes)",
        context.product,
        file.display()
    );
    let idle = idle_writes::change_nothing(&file).map_err(|error| error.to_string())?;
    if length > LIMIT {
        return Ok(idle);
    }
    let bytes = std::fs::read(&file).map_err(|error| error.to_string())?;
    let key = format!("surplus/{}/{epoch}-{}.sql", context.product, context.me);
    // Not with the protocol's own client: its second is for leases.
    let mut s3 = context.s3.clone();
    s3.timeout = PATIENCE;
    let bucket = Bucket::open(&context.bucket, &s3).await;
    let put = bucket.put(&key, bytes, None).await;
    put.map(|_| idle).map_err(|error| text(&error))
}
