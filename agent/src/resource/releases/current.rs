//! The links `/srv/PRODUCT/current`, for cron and people: they follow what the sites are served from. Nothing that serves reads
//! them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{ProductReleases, served};
use crate::fleet::Name;
use crate::fleet::names::ReleaseVersion;
use crate::fleet::release::home;
use crate::node::View;
use crate::report::{Kind, StepName};
use crate::resource::{
    Desired, LineOrigin, ObserveError, Phase, Resource, Step, Thing, Want, Wish,
};
use crate::system::file::Files;
use crate::system::platform::Platform;

/// The links of a box.
#[derive(Debug, Clone, Copy, Default)]
pub struct CurrentLinks;

/// Which releases are in use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CurrentLinksFacts {
    /// By product. `None`: nobody has looked.
    pub in_use: Option<BTreeMap<Name, ReleaseVersion>>,
}

impl Resource for CurrentLinks {
    type Facts = CurrentLinksFacts;

    fn kind(&self) -> Kind {
        Kind::Releases
    }

    async fn observe(
        &self,
        view: &View,
        platform: &Platform,
        files: &Files,
    ) -> Result<CurrentLinksFacts, ObserveError> {
        let mut in_use = BTreeMap::new();
        if !view.releases.is_empty() {
            let mut all = served(files, &platform.apache);
            for release in &view.releases {
                let product = &release.product;
                let served = all.remove(product).unwrap_or_default();
                let is_served_here = view
                    .sites
                    .iter()
                    .any(|site| site.product == *product && site.release.is_some());
                let version = if served.contains(&release.version) {
                    Some(release.version.clone())
                } else if !served.is_empty() {
                    served.into_iter().next_back()
                } else if is_served_here {
                    None
                } else {
                    // Nothing of it is served here: it is in use as soon as it is whole.
                    let known = ProductReleases::look(files, product, served);
                    known
                        .is_ready(&release.version)
                        .then(|| release.version.clone())
                };
                if let Some(version) = version {
                    in_use.insert(product.clone(), version);
                }
            }
        }
        Ok(CurrentLinksFacts {
            in_use: Some(in_use),
        })
    }

    fn desired(&self, view: &View, _: &Platform, facts: &CurrentLinksFacts) -> Desired {
        let mut desired = Desired::default();
        for release in &view.releases {
            let name = StepName(format!("current/{}", release.product));
            let version = match &facts.in_use {
                None => Some(&release.version),
                Some(in_use) => in_use.get(&release.product),
            };
            // Until there is one in use, what stands there stays.
            let Some(version) = version else {
                desired.keep.push(name);
                continue;
            };
            let mut step = Step::new(Kind::Releases, name);
            step.wants = vec![Want {
                thing: Thing::Path(PathBuf::from(home(&release.product)).join("current")),
                wish: Wish::Link {
                    target: PathBuf::from(format!("releases/{version}")),
                },
                phase: Phase::Commit,
                shown_as: None,
                origins: vec![LineOrigin {
                    line: None,
                    pointer: release.origin.clone(),
                }],
            }];
            desired.steps.push(step);
        }
        desired
    }
}
