//! The releases that sites are served from: whether they are there, what a generation says of them, what shows that they work.

use std::net::SocketAddr;

use super::facts::ApacheFacts;
use super::names;
use super::vhost_files::{Piece, whole};
use crate::node::{SiteView, View};
use crate::resource::releases::SERVED;
use crate::resource::{ProductReleases, ServedProduct, Smoke};

/// Why a site cannot be served from its release yet.
pub(super) fn not_ready(site: &SiteView, facts: &ApacheFacts) -> Option<String> {
    let version = site.release.as_ref()?;
    let known = known(site, facts)?;
    (!known.can_serve(version)).then(|| {
        format!(
            "site {} of {} waits for the release {version}, which cannot be switched to (see release/{})",
            site.name, site.product, site.product
        )
    })
}

/// The file of a generation that says from which release a site is served.
pub(super) fn piece(site: &SiteView) -> Option<Piece> {
    let version = site.release.as_ref()?;
    Some(Piece {
        name: format!("{}{SERVED}", names::stem(site)),
        text: format!("{version}\n"),
        origins: whole(site),
    })
}

/// What is asked after a switch: the smoke tests of products that go from a release that works to one of which that is not
/// known. Where there is nothing to go back to, a failure would leave visitors with less: it is told, and nothing else.
pub(super) fn smoke(view: &View, facts: &ApacheFacts) -> Vec<Smoke> {
    let tests = tests(view, facts).into_iter();
    tests
        .filter(|smoke| {
            let sites = view.sites.iter();
            let mut of_it = sites.filter(|site| site.product == smoke.product);
            let released = of_it.find(|site| site.release.is_some());
            released.is_some_and(|site| {
                let version = site.release.as_ref();
                known(site, facts)
                    .zip(version)
                    .is_some_and(|(known, version)| {
                        !known.is_proven(version) && known.has_another(version)
                    })
            })
        })
        .collect()
}

/// The products that a box serves, with all of their smoke tests.
pub(super) fn serves(view: &View, facts: &ApacheFacts) -> Vec<ServedProduct> {
    let all = tests(view, facts);
    let mut served: Vec<ServedProduct> = Vec::new();
    for site in &view.sites {
        match served.iter_mut().find(|one| one.product == site.product) {
            Some(known) => known.release = known.release.take().or_else(|| site.release.clone()),
            None => served.push(ServedProduct {
                product: site.product.clone(),
                release: site.release.clone(),
                tests: (all.iter())
                    .filter(|test| test.product == site.product)
                    .cloned()
                    .collect(),
            }),
        }
    }
    served
}

/// All smoke tests of a box, as they are asked on it.
fn tests(view: &View, facts: &ApacheFacts) -> Vec<Smoke> {
    let tests = view.smoke.iter().filter_map(|wanted| {
        let site = (view.sites.iter())
            .find(|site| site.product == wanted.product && site.name == wanted.test.site)?;
        let port = site.site.ports().next()?.get();
        let mut of_product = view
            .sites
            .iter()
            .filter(|other| other.product == site.product);
        Some(Smoke {
            product: wanted.product.clone(),
            release: of_product.find_map(|site| site.release.clone()),
            test: wanted.test.clone(),
            at: SocketAddr::new(facts.ask_at(port), port),
            tls: site.site.tls.is_some(),
            host: site.site.domains.first()?.to_string(),
        })
    });
    tests.collect()
}

fn known<'f>(site: &SiteView, facts: &'f ApacheFacts) -> Option<&'f ProductReleases> {
    facts.releases.as_ref()?.get(&site.product)
}
