//! The releases of a box's products, and the sites that are served from them.

use std::collections::BTreeMap;

use super::View;
use crate::fleet::names::{DirectoryPath, ReleaseVersion};
use crate::fleet::release::{below_current, home};
use crate::fleet::{CronRun, Name, Pointer, Product, Release, Server, Site, SmokeTest, applies};

/// The release of a product on one box.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleaseView {
    /// The product.
    pub product: Name,
    /// What the document says.
    pub release: Release,
    /// The version that the box is to have: the document's, unless a person or what failed says another.
    pub version: ReleaseVersion,
    /// Whether the command before the switch is run here.
    pub runs_before: bool,
    /// Where it stands.
    pub origin: Pointer,
}

impl ReleaseView {
    /// Whether it is the document's own version.
    pub fn is_documents(&self) -> bool {
        self.version == self.release.version
    }
}

/// What shows that a product works on one box.
#[derive(Debug, Clone, PartialEq)]
pub struct SmokeView {
    /// The product.
    pub product: Name,
    /// What the document says.
    pub test: SmokeTest,
    /// Where it stands.
    pub origin: Pointer,
}

/// Where a release of a product stands: `/srv/shop/releases/42`.
pub fn release_dir(product: &Name, version: &ReleaseVersion) -> String {
    format!("{}/releases/{version}", home(product))
}

/// The product's release here; `None`: it has none, or it is for other servers. `among`: the product's active servers, by name.
pub(super) fn release<'n>(
    (name, product, origin): (&Name, &Product, &Pointer),
    (node, server): (&Name, &Server),
    among: impl IntoIterator<Item = (&'n Name, &'n Server)>,
) -> Option<ReleaseView> {
    let release = product.release.as_ref()?;
    if !applies(&release.on, server) {
        return None;
    }
    let runs_before = release
        .before
        .as_ref()
        .is_some_and(|before| match before.run {
            CronRun::Each => true,
            CronRun::One => {
                let mut among = among.into_iter();
                among
                    .find(|(_, server)| applies(&release.on, server))
                    .is_some_and(|(first, _)| first == node)
            }
        });
    Some(ReleaseView {
        product: name.clone(),
        release: release.clone(),
        version: release.version.clone(),
        runs_before,
        origin: origin.then("release"),
    })
}

/// Has all that a site serves from below `current` served from the release itself: a link alone would have PHP run old code
/// for minutes. Returns whether there was anything.
pub(super) fn resolve(site: &mut Site, product: &Name, version: &ReleaseVersion) -> bool {
    let dir = release_dir(product, version);
    let mut any = false;
    let directories = site.root.iter_mut().chain(site.aliases.values_mut());
    for directory in directories {
        let real = below_current(directory, product).map(|rest| format!("{dir}{rest}"));
        if let Some(real) = real.and_then(|real| real.parse::<DirectoryPath>().ok()) {
            *directory = real;
            any = true;
        }
    }
    any
}

impl View {
    /// Has products stay at other releases than the document's.
    pub fn pin_releases(&mut self, pins: &BTreeMap<Name, ReleaseVersion>) {
        for view in &mut self.releases {
            let Some(pin) = pins.get(&view.product) else {
                continue;
            };
            let from = release_dir(&view.product, &view.version);
            let to = release_dir(&view.product, pin);
            view.version = pin.clone();
            let sites = self.sites.iter_mut();
            for site in sites.filter(|site| site.product == view.product) {
                if site.release.is_none() {
                    continue;
                }
                site.release = Some(pin.clone());
                let wish = &mut site.site;
                for directory in wish.root.iter_mut().chain(wish.aliases.values_mut()) {
                    let rest = directory.as_str().strip_prefix(&from);
                    let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with('/'));
                    let real = rest.map(|rest| format!("{to}{rest}"));
                    if let Some(real) = real.and_then(|real| real.parse().ok()) {
                        *directory = real;
                    }
                }
            }
        }
    }
}
