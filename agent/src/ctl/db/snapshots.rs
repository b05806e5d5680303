//! `agentctl db snapshots`.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::super::args::{BucketArgs, Global};
use super::super::console::Console;
use super::super::failure::Failure;
use super::super::place;
use super::bucket;
use crate::bucket::Bucket;
use crate::database::archive::store;
use crate::database::snapshot::SnapshotId;
use crate::database::snapshot::catalog::{self, Found};
use crate::fleet::Name;
use crate::report::text::{ago, size};
use crate::system::clock;

/// What the keys of all snapshots begin with.
const ALL: &str = "snapshots/";

#[derive(Serialize)]
struct Listed {
    format: u32,
    snapshots: Vec<Row>,
    archives: Vec<Archive>,
}

/// The archive of a product's binary log.
#[derive(Serialize)]
struct Archive {
    product: Name,
    /// The last transactions in it.
    gtid: String,
    /// When the newest of it was read from the server's log.
    read: Timestamp,
    /// Since when nothing is missing in it.
    unbroken_since: Timestamp,
}

#[derive(Serialize)]
struct Row {
    product: Name,
    id: SnapshotId,
    time: Timestamp,
    bytes: u64,
    /// A drill has restored and compared it.
    restorable: bool,
}

/// Lists them.
pub fn snapshots(
    global: &Global,
    product: Option<&Name>,
    args: &BucketArgs,
    console: Console,
) -> Result<u8, Failure> {
    let named = bucket::named(global, args)?;
    let (rows, archives) = place::block_on(async {
        let bucket = named.open().await;
        let products = match product {
            Some(product) => vec![named.kept_as(&bucket, product, console).await?],
            None => products(&bucket).await?,
        };
        let (mut rows, mut archives) = (Vec::new(), Vec::new());
        for product in products {
            let found = catalog::list(&bucket, &product).await?;
            rows.extend(found.into_iter().filter_map(|found| row(&product, found)));
            let newest = store::newest(&bucket, &product).await?;
            archives.extend(newest.map(|(_, header)| Archive {
                product,
                gtid: header.to.done.to_string(),
                read: header.read,
                unbroken_since: header.unbroken_since,
            }));
        }
        Ok::<_, Failure>((rows, archives))
    })??;
    if rows.is_empty() {
        let of = product.map_or_else(String::new, |product| format!(" of {product}"));
        return Err(Failure::new(format!("there is no snapshot{of} in the bucket")).hint(
            "the document's `snapshots` of a database says which server takes them: agentctl db status there",
        ));
    }
    let listed = Listed {
        format: 1,
        snapshots: rows,
        archives,
    };
    console.print(&listed, |paint| {
        let now = clock::now();
        let mut text = String::new();
        for row in &listed.snapshots {
            let restorable = if row.restorable {
                paint.green("restorable")
            } else {
                paint.dim("not tried")
            };
            let _ = writeln!(
                text,
                "{:<10} {:<32} {:>10} {:>12}  {restorable}",
                row.product,
                row.id.to_string(),
                size(row.bytes),
                ago(row.time, now)
            );
        }
        for archive in &listed.archives {
            let _ = writeln!(
                text,
                "{:<10} binary log archived up to {}, the last of it {}; nothing is missing since {}",
                archive.product,
                archive.gtid,
                ago(archive.read, now),
                ago(archive.unbroken_since, now)
            );
        }
        text
    })?;
    Ok(0)
}

/// What was never ended is no snapshot.
fn row(product: &Name, found: Found) -> Option<Row> {
    found.has_manifest.then(|| Row {
        product: product.clone(),
        time: found.id.time,
        id: found.id,
        bytes: found.bytes,
        restorable: found.is_proven,
    })
}

/// The products that have any, a request each.
async fn products(bucket: &Bucket) -> Result<Vec<Name>, Failure> {
    let mut products: Vec<Name> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = bucket.list(ALL, after.as_deref(), 1).await?;
        let Some(entry) = page.entries.first() else {
            return Ok(products);
        };
        let rest = entry.key.strip_prefix(ALL).unwrap_or_default();
        let name = rest.split('/').next().unwrap_or_default();
        if let Ok(product) = name.parse() {
            products.push(product);
        }
        // The first key that stands after all of this one's: 0 follows the slash.
        after = Some(format!("{ALL}{name}0"));
    }
}
