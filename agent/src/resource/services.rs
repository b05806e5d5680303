//! Services of others: whether they run, and whether they start at boot. A step each, so that one that does not start holds up
//! no other.
//!
//! A unit has one owner. Apache is started and reloaded by the sites, of memcached's instances the caches are the owners: a
//! service that contradicts them is held, and one that agrees is no more than what they do anyway.

use std::collections::BTreeMap;

use super::database_units::is_database_server;
use super::{Desired, LineOrigin, ObserveError, Phase, Resource, Step, Thing, Want, Wish};
use crate::fleet::AtBoot;
use crate::node::{ServiceView, View};
use crate::report::{Kind, StepName};
use crate::system::file::Files;
use crate::system::platform::Platform;
use crate::system::systemd;

/// The services of a box.
#[derive(Debug, Clone, Copy, Default)]
pub struct Services;

/// What units are really called here: of an alias that is another name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServicesFacts {
    /// By the name that the platform table has. What systemd does not know is not in it.
    pub names: BTreeMap<String, String>,
}

impl Resource for Services {
    type Facts = ServicesFacts;

    fn kind(&self) -> Kind {
        Kind::Services
    }

    async fn observe(
        &self,
        view: &View,
        platform: &Platform,
        files: &Files,
    ) -> Result<ServicesFacts, ObserveError> {
        if view.services.is_empty() || !files.root().is_machine() {
            return Ok(ServicesFacts::default());
        }
        let units: Vec<String> = (view.services.iter())
            .map(|service| platform.unit(service.name.as_str()))
            .collect();
        Ok(ServicesFacts {
            names: systemd::real_names(platform, &units).await?,
        })
    }

    fn desired(&self, view: &View, platform: &Platform, facts: &ServicesFacts) -> Desired {
        let mut desired = Desired::default();
        let mut seen: BTreeMap<String, &ServiceView> = BTreeMap::new();
        for service in &view.services {
            let named = platform.unit(service.name.as_str());
            let unit = facts.names.get(&named).unwrap_or(&named).clone();
            let step = StepName(format!("services/{}", service.name));
            let origin = service.origins.first().cloned();
            if let Some(first) = seen.get(&unit) {
                let (one, other) = (&first.service, &service.service);
                if (one.running, one.enabled) != (other.running, other.enabled) {
                    desired.hold(
                        Kind::Services,
                        step,
                        format!(
                            "{} and {} are one unit here, {unit}, and the document wants different things of them: what it says of {} counts",
                            first.name, service.name, first.name
                        ),
                        origin,
                    );
                }
                continue;
            }
            seen.insert(unit.clone(), service);
            let thing = Thing::Unit(unit.clone());
            if let Some(message) = why_not(service, &unit, view, platform) {
                desired.claims.push(thing);
                desired.hold(Kind::Services, step, message, origin);
                continue;
            }
            let mut wanted = Step::new(Kind::Services, step);
            wanted.wants.push(Want {
                thing,
                wish: Wish::Service {
                    running: service.service.running,
                    enabled: service.service.enabled,
                },
                phase: Phase::Activate,
                shown_as: None,
                origins: (service.origins.iter())
                    .map(|pointer| LineOrigin {
                        line: None,
                        pointer: pointer.clone(),
                    })
                    .collect(),
            });
            desired.steps.push(wanted);
        }
        desired
    }
}

/// Why a service is not stopped though the document says so. `None`: nothing speaks against what it says.
fn why_not(service: &ServiceView, unit: &str, view: &View, platform: &Platform) -> Option<String> {
    let said = &service.service;
    let stops = said.running == Some(false) || said.enabled == Some(AtBoot::Masked);
    if !stops {
        return None;
    }
    if let Some(product) = view.masters.first().filter(|_| is_database_server(unit)) {
        return Some(format!(
            "{unit} is not stopped: this box is the master of {product}'s database. Switch over first (agentctl db switchover {product}); then it is done by itself"
        ));
    }
    let pools = view.php.len();
    if unit == platform.unit("php-fpm") && pools > 0 {
        return Some(format!(
            "{unit} is not stopped: the document has PHP pools for this box ({pools}). Take them away, or let it run"
        ));
    }
    let sites = view.sites.len();
    (unit == platform.apache.unit && sites > 0).then(|| {
        format!(
            "{unit} is not stopped: the document has {sites} sites for this box. Take them away, or let it run"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Pointer;
    use crate::resource::fixtures;

    fn view(services: &[(&str, &str)]) -> View {
        let services = services.iter().map(|(name, json)| ServiceView {
            name: name.parse().unwrap(),
            service: serde_json::from_str(json).unwrap(),
            origins: vec![Pointer(format!("/signed/roles/web/services/{name}"))],
        });
        View {
            services: services.collect(),
            ..fixtures::view()
        }
    }

    fn told(desired: &Desired) -> String {
        let steps = desired.steps.iter().map(|step| {
            let wants = step.wants.iter();
            let wants = wants.map(|want| format!("{} {:?}", want.thing, want.wish));
            format!("{}: {}", step.name, wants.collect::<Vec<_>>().join(", "))
        });
        let problems = desired
            .problems
            .iter()
            .map(|problem| problem.message.clone());
        steps.chain(problems).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn units_have_their_names_here_and_those_behind_an_alias() {
        let view = view(&[
            ("httpd", r#"{"running": true, "enabled": true}"#),
            ("mysqld", r#"{"enabled": "masked"}"#),
        ]);
        let facts = ServicesFacts {
            names: [("mysql.service".into(), "mariadb.service".into())].into(),
        };
        let debian = Platform::of(crate::system::platform::Family::Debian);
        insta::assert_snapshot!(told(&Services.desired(&view, &debian, &facts)), @"
        services/httpd: unit:apache2.service Service { running: Some(true), enabled: Some(Enabled) }
        services/mysqld: unit:mariadb.service Service { running: None, enabled: Some(Masked) }
        ");
    }

    #[test]
    fn two_names_of_one_unit_are_one_service() {
        let facts = ServicesFacts {
            names: [("mysqld.service".into(), "mariadb.service".into())].into(),
        };
        let told = |of_mysqld| {
            let view = view(&[("mariadb", r#"{"running": true}"#), ("mysqld", of_mysqld)]);
            told(&Services.desired(&view, &fixtures::platform(), &facts))
        };
        insta::assert_snapshot!(told(r#"{"running": true}"#), @"services/mariadb: unit:mariadb.service Service { running: Some(true), enabled: None }");
        assert!(told(r#"{"running": false}"#).contains("are one unit here"));
    }

    #[test]
    fn a_master_s_database_and_a_server_of_sites_are_not_stopped() {
        let platform = fixtures::platform();
        let facts = ServicesFacts::default();
        for said in [r#"{"running": false}"#, r#"{"enabled": "masked"}"#] {
            let mut view = view(&[("mariadb", said)]);
            assert_eq!(Services.desired(&view, &platform, &facts).problems, []);
            view.masters = vec![fixtures::name("shop")];
            let desired = Services.desired(&view, &platform, &facts);
            assert!(told(&desired).contains("is the master of shop's database"));
            assert!(desired.steps.is_empty());
        }
        let mut view = view(&[("mariadb", r#"{"enabled": false}"#)]);
        view.masters = vec![fixtures::name("shop")];
        assert_eq!(Services.desired(&view, &platform, &facts).problems, []);
    }
}
