//! The certificates of this box's sites: until when they are good, looked at after a run that changed something and each ten minutes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::converge::Intent;
use crate::node;
use crate::report::CertificateStatus;
use crate::system::certificate;
use crate::system::root::Root;

/// Whoever renews them tells nobody.
const INTERVAL: Duration = Duration::from_mins(10);
/// So many are told, those that end first.
const TOLD: usize = 20;

/// When they are looked at next.
#[derive(Debug, Default)]
pub(super) struct CertificateWatch {
    next: Option<Instant>,
}

impl CertificateWatch {
    /// Those that this box's sites are served with, the one that ends first first. `None`: it is not time to look.
    pub(super) fn look(
        &mut self,
        intent: &Intent,
        root: &Root,
        changed: bool,
    ) -> Option<Vec<CertificateStatus>> {
        let now = Instant::now();
        if !changed && self.next.is_some_and(|next| now < next) {
            return None;
        }
        self.next = Some(now + INTERVAL);
        Some(of(intent, root))
    }
}

/// None under a root: there the paths are those of the machine to come. One that cannot be read is not among them: the step of the sites tells of it.
pub(super) fn of(intent: &Intent, root: &Root) -> Vec<CertificateStatus> {
    if !root.is_machine() {
        return Vec::new();
    }
    let view = node::view(
        &intent.document.fleet,
        &intent.node,
        intent.hosts,
        &intent.elections,
        &intent.evictions,
    );
    let mut files: BTreeMap<PathBuf, (String, usize)> = BTreeMap::new();
    for site in view.iter().flat_map(|view| &view.sites) {
        if let Some(tls) = &site.site.tls {
            let (file, _) = tls.files();
            let first = || (format!("{}/{}", site.product, site.name), 0);
            files.entry(file).or_insert_with(first).1 += 1;
        }
    }
    let mut certificates: Vec<CertificateStatus> = files
        .into_iter()
        .filter_map(|(file, (site, sites))| {
            Some(CertificateStatus {
                until: certificate::good_until(&file).ok()?,
                file,
                site,
                sites,
            })
        })
        .collect();
    certificates.sort_by(|a, b| (a.until, &a.file).cmp(&(b.until, &b.file)));
    certificates.truncate(TOLD);
    certificates
}
