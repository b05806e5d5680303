//! `agentctl release`: the releases on this box.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use super::apply::apply;
use super::args::{ApplyArgs, Global, ReleaseCommand};
use super::console::Console;
use super::failure::Failure;
use super::place;
use crate::converge::{self, Session};
use crate::fleet::Name;
use crate::fleet::names::ReleaseVersion;
use crate::report::text::{Paint, ago, headline, shown};
use crate::resource::{
    FAILED, RECORDS, ReleaseRecord, Rollback, list_path, releases_dir, rollbacks, served,
};
use crate::system::archive;
use crate::system::clock;
use crate::system::file::{Files, Found};

/// So many files that are otherwise are named.
const NAMED: usize = 20;

/// Does what is asked.
pub fn release(global: &Global, command: &ReleaseCommand, console: Console) -> Result<u8, Failure> {
    match command {
        ReleaseCommand::List { product } => list(global, product.as_ref(), console),
        ReleaseCommand::Verify { product, version } => {
            verify(global, product, version.as_ref(), console)
        }
        ReleaseCommand::Rollback { product, version } => {
            rollback(global, product, version.as_ref(), console)
        }
    }
}

#[derive(Serialize)]
struct List {
    format: u32,
    products: Vec<OfProduct>,
}

#[derive(Serialize)]
struct OfProduct {
    product: Name,
    /// Those that sites are served from; mostly one.
    in_use: BTreeSet<ReleaseVersion>,
    rollback: Option<Rollback>,
    releases: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    record: ReleaseRecord,
    /// Its directory is there.
    standing: bool,
    /// It is kept for people to look at.
    set_aside: bool,
}

fn list(global: &Global, only: Option<&Name>, console: Console) -> Result<u8, Failure> {
    let settings = place::settings(global)?;
    let files = Files::new(settings.root.clone());
    let mut all = served(&files, &settings.platform.apache);
    let mut rollbacks = rollbacks(&files)?;
    let mut products = Vec::new();
    for name in files.list(Path::new(RECORDS))? {
        let Ok(product) = name.parse::<Name>() else {
            continue;
        };
        if only.is_none_or(|only| *only == product) {
            let in_use = all.remove(&product).unwrap_or_default();
            let rollback = rollbacks.remove(&product);
            products.push(of_product(&files, product, in_use, rollback)?);
        }
    }
    if products.is_empty() {
        console.note("no release is or was on this box");
    }
    let said = List {
        format: 1,
        products,
    };
    let now = clock::now();
    console.print(&said, |paint| text(&said, now, paint))?;
    Ok(0)
}

fn of_product(
    files: &Files,
    product: Name,
    in_use: BTreeSet<ReleaseVersion>,
    rollback: Option<Rollback>,
) -> Result<OfProduct, Failure> {
    let standing = files.list(&releases_dir(&product))?;
    let has = |name: &str| standing.iter().any(|one| one == name);
    let records: BTreeMap<_, _> = ReleaseRecord::load_all(files, &product)?;
    let mut releases: Vec<Row> = records
        .into_values()
        .map(|record| Row {
            standing: has(record.version.as_str()),
            set_aside: has(&format!("{}{FAILED}", record.version)),
            record,
        })
        .collect();
    // Newest first; those that were never unpacked before them.
    releases
        .sort_by_key(|row| std::cmp::Reverse((row.record.unpacked.is_none(), row.record.number)));
    Ok(OfProduct {
        product,
        in_use,
        rollback,
        releases,
    })
}

fn text(list: &List, now: Timestamp, paint: Paint) -> String {
    let mut out = String::new();
    for product in &list.products {
        let _ = writeln!(out, "{}", paint.bold(product.product.as_str()));
        if let Some(rollback) = &product.rollback {
            let _ = writeln!(
                out,
                "  rolled back to {} {}, until the document names another version than {}",
                rollback.to,
                ago(rollback.since, now),
                rollback.from
            );
        }
        for row in &product.releases {
            let record = &row.record;
            let state = state(row, &product.in_use);
            let _ = write!(out, "  {:<24} {state:<10}", record.version.as_str());
            if let Some(at) = record.unpacked {
                let _ = write!(
                    out,
                    " unpacked {}, {} files, {} MiB",
                    ago(at, now),
                    record.entries,
                    record.bytes >> 20
                );
            }
            if record.ran_before.is_some() {
                out.push_str(", ran its command here");
            }
            out.push('\n');
            let why = (record.failed.as_ref().map(|failed| failed.error.as_str()))
                .or(record.trouble.as_deref());
            if let Some(why) = why {
                let _ = writeln!(out, "    {}", paint.dim(&shown(&headline(why))));
            }
            if row.set_aside {
                let aside = releases_dir(&product.product);
                let _ = writeln!(
                    out,
                    "    {}",
                    paint.dim(&format!(
                        "kept in {}/{}{FAILED}",
                        aside.display(),
                        record.version
                    ))
                );
            }
        }
    }
    out
}

fn state(row: &Row, in_use: &BTreeSet<ReleaseVersion>) -> &'static str {
    if in_use.contains(&row.record.version) {
        "in use"
    } else if row.record.failed.is_some() {
        "failed"
    } else if row.record.ready && row.standing {
        "ready"
    } else if row.standing {
        "unfinished"
    } else {
        "not here"
    }
}

#[derive(Serialize)]
struct Verified<'v> {
    format: u32,
    product: &'v Name,
    version: &'v ReleaseVersion,
    looked_at: u64,
    otherwise: Vec<Otherwise>,
}

#[derive(Serialize)]
struct Otherwise {
    path: String,
    what: String,
}

fn verify(
    global: &Global,
    product: &Name,
    version: Option<&ReleaseVersion>,
    console: Console,
) -> Result<u8, Failure> {
    let settings = place::settings(global)?;
    let files = Files::new(settings.root.clone());
    let in_use = served(&files, &settings.platform.apache).remove(product);
    let in_use = in_use.and_then(|versions| versions.into_iter().next_back());
    let hint = format!("agentctl release list {product}");
    let version = version.cloned().or(in_use).ok_or_else(|| {
        Failure::new(format!("no site is served from a release of {product}")).hint(hint.as_str())
    })?;
    let Found::File { bytes, .. } = files.read(&list_path(product, &version))? else {
        return Err(Failure::new(format!(
            "there is no list of what was unpacked for the release {version} of {product}"
        ))
        .hint(hint));
    };
    let list = String::from_utf8_lossy(&bytes);
    let at = releases_dir(product).join(version.as_str());
    let (looked_at, deviations) = archive::compare(&files, &at, &list, NAMED)?;
    let said = Verified {
        format: 1,
        product,
        version: &version,
        looked_at,
        otherwise: deviations
            .into_iter()
            .map(|one| Otherwise {
                path: one.path,
                what: one.what,
            })
            .collect(),
    };
    console.print(&said, |paint| {
        let mut out = String::new();
        for one in &said.otherwise {
            let _ = writeln!(out, "{} {}", paint.alarm(&shown(&one.path)), one.what);
        }
        if said.otherwise.is_empty() {
            let _ = writeln!(
                out,
                "{product} {version}: all {looked_at} files and links are as they were unpacked"
            );
        }
        out
    })?;
    Ok(u8::from(!said.otherwise.is_empty()))
}

fn rollback(
    global: &Global,
    product: &Name,
    version: Option<&ReleaseVersion>,
    console: Console,
) -> Result<u8, Failure> {
    let settings = place::settings(global)?;
    let files = Files::new(settings.root.clone());
    let platform = settings.platform.clone();
    let session = place::block_on(Session::open(settings))??;
    let Some(accepted) = session.intake.accepted() else {
        return Err(Failure::new("there is no document on this box yet"));
    };
    let fleet = &accepted.document.fleet;
    let done = converge::roll_back(&files, &platform, fleet, product, version);
    let done =
        done.map_err(|why| Failure::new(why).hint(format!("agentctl release list {product}")))?;
    let holds = if done.to == done.from {
        format!("{product} is to be at {}, as the document says", done.to)
    } else {
        format!(
            "{product} goes back to {}, until the document names another version than {}",
            done.to, done.from
        )
    };
    console.note(&holds);
    for later in &done.ran_before {
        console.note(&format!(
            "the release {later} ran a command here before it was switched to; what that did (to a database?) is not undone, and {} must cope with it",
            done.to
        ));
    }
    let now = ApplyArgs {
        retry: false,
        simple_exit: false,
        verbose: false,
    };
    apply(global, &now, console)
}
