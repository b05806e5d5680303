//! What is to become of the names of this box, by what the loop knows. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;

use crate::dns::NameWish;
use crate::fleet::{EvictPart, Name};
use crate::node::eviction::Evictions;
use crate::report::{ProductReadiness, Ready};
use crate::resource::ServedProduct;

/// Smoke tests must fail for so long before the box leaves: one bad answer empties no name.
const PATIENCE_SECS: i64 = 180;

/// What is to become of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::daemon) enum Course {
    /// This box's addresses are to be there.
    Join,
    /// They are to go, unless they are the last ones: why.
    Leave(String),
    /// What is there stays: why it is not known better.
    Stay(String),
}

/// A name, and what is to become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::daemon) struct Aim {
    pub(in crate::daemon) wish: NameWish,
    pub(in crate::daemon) course: Course,
}

/// What is to become of all names of this box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::daemon) struct Aims {
    pub(in crate::daemon) names: Vec<Aim>,
    /// Addresses of other servers that take visitors: they are left there, whoever put them.
    pub(in crate::daemon) of_others: BTreeSet<IpAddr>,
    /// Addresses of servers that were found dead, by product: who stands at a name itself takes them away there.
    pub(in crate::daemon) of_dead: BTreeMap<Name, BTreeSet<IpAddr>>,
}

/// What the loop knows of a box.
#[derive(Debug, Clone, Copy)]
pub(in crate::daemon) struct Known<'a> {
    /// This box.
    pub(in crate::daemon) node: &'a Name,
    /// The products that it serves.
    pub(in crate::daemon) served: &'a [ServedProduct],
    /// What their smoke tests say.
    pub(in crate::daemon) readiness: &'a [ProductReadiness],
    /// The step of the sites fails, or Apache does not run.
    pub(in crate::daemon) sites_fail: bool,
    /// In which words a person has it drain.
    pub(in crate::daemon) drained: Option<&'a str>,
    /// Who is left out of which product: this box itself may be.
    pub(in crate::daemon) evictions: &'a Evictions,
    /// Products of which that is not known yet.
    pub(in crate::daemon) unknown: &'a BTreeSet<Name>,
    pub(in crate::daemon) now: Timestamp,
}

/// What is to become of the names of this box, by what the loop knows. Pure.
///
/// A product that is not among `served` is not served yet.
pub(in crate::daemon) fn aims(wishes: Vec<NameWish>, known: &Known<'_>) -> Vec<Aim> {
    let Known {
        served,
        readiness,
        drained,
        now,
        ..
    } = *known;
    let course = |wish: &NameWish| {
        if !wish.active {
            return Course::Leave("the document has this server take no visitors".into());
        }
        if let Some(why) = drained {
            return Course::Leave(format!("a person has this box drain {why}"));
        }
        let product = &wish.product;
        let here = served.iter().find(|one| one.product == *product);
        let ready = readiness.iter().find(|ready| ready.product == *product);
        let out = known.evictions.get(product);
        let out = out.and_then(|left| left.of(EvictPart::Web).get(known.node));
        if let Some(out) = out {
            return Course::Leave(format!(
                "this box was found dead by {} at {}: it comes back when it has been well for a while",
                out.by_whom(),
                out.since
            ));
        }
        if known.unknown.contains(product) {
            return Course::Stay(format!(
                "it is not known yet whether others have taken this box out of {product}"
            ));
        }
        let (Some(here), Some(ready)) = (here, ready) else {
            return Course::Stay(format!("{product} is not served here yet"));
        };
        match ready.ready {
            Ready::True => Course::Join,
            Ready::False => {
                let since = now.as_second().saturating_sub(ready.since.as_second());
                let why = format!("{product} is not ready: {}", ready.reason);
                if since >= PATIENCE_SECS {
                    Course::Leave(why)
                } else {
                    Course::Stay(why)
                }
            }
            // Without tests, that its sites came up is all there is to go by.
            Ready::Unknown if here.tests.is_empty() && !known.sites_fail => Course::Join,
            Ready::Unknown if here.tests.is_empty() => Course::Stay(format!(
                "{product} has no smoke tests, and sites of this box fail"
            )),
            Ready::Unknown => Course::Stay(format!("{product}: {}", ready.reason)),
        }
    };
    wishes
        .into_iter()
        .map(|wish| Aim {
            course: course(&wish),
            wish,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(active: bool) -> NameWish {
        NameWish {
            product: "shop".parse().unwrap(),
            name: "www.example.com".parse().unwrap(),
            zone: "example.com".parse().unwrap(),
            ttl: 60,
            addresses: ["198.51.100.11".parse().unwrap()].into(),
            server: None,
            key: None,
            active,
        }
    }

    fn at(text: &str) -> Timestamp {
        format!("2026-11-30T{text}Z").parse().unwrap()
    }

    fn ready(ready: Ready, since: &str) -> Vec<ProductReadiness> {
        vec![ProductReadiness {
            product: "shop".parse().unwrap(),
            ready,
            reason: if ready == Ready::True {
                ""
            } else {
                "GET /health: 503"
            }
            .into(),
            since: at(since),
            checked: None,
            release: None,
        }]
    }

    fn served(tests: usize) -> Vec<ServedProduct> {
        let test = crate::resource::Smoke {
            product: "shop".parse().unwrap(),
            release: None,
            test: serde_json::from_str(r#"{"site": "www", "path": "/"}"#).unwrap(),
            at: "127.0.0.1:1".parse().unwrap(),
            tls: false,
            host: "shop.example.com".into(),
        };
        vec![ServedProduct {
            product: "shop".parse().unwrap(),
            release: None,
            tests: vec![test; tests],
        }]
    }

    /// What becomes of the name at 14:10.
    fn course<'k>(
        active: bool,
        served: &'k [ServedProduct],
        readiness: &'k [ProductReadiness],
        change: impl FnOnce(&mut Known<'k>),
    ) -> Course {
        let mut known = Known {
            served,
            readiness,
            sites_fail: false,
            drained: None,
            node: Box::leak(Box::new("web-1".parse().unwrap())),
            evictions: Box::leak(Box::default()),
            unknown: Box::leak(Box::default()),
            now: at("14:10:00"),
        };
        change(&mut known);
        aims(vec![wish(active)], &known).remove(0).course
    }

    #[test]
    fn a_box_joins_when_it_is_ready_and_leaves_when_it_has_not_been_for_a_while() {
        let same = |_: &mut Known<'_>| ();
        let tested = served(1);
        let course = |ready: &[ProductReadiness]| course(true, &tested, ready, same);
        assert_eq!(course(&ready(Ready::True, "14:09:59")), Course::Join);
        assert!(matches!(
            course(&ready(Ready::False, "14:08:00")),
            Course::Stay(_)
        ));
        assert!(
            matches!(course(&ready(Ready::False, "14:07:00")), Course::Leave(why) if why.contains("503"))
        );
        // What is not known takes nothing away, and puts nothing there.
        assert!(matches!(
            course(&ready(Ready::Unknown, "13:00:00")),
            Course::Stay(_)
        ));
        assert!(matches!(course(&[]), Course::Stay(_)));
    }

    #[test]
    fn a_person_and_the_document_have_it_leave_whatever_the_tests_say() {
        let (tested, good) = (served(1), ready(Ready::True, "13:00:00"));
        let drained = course(true, &tested, &good, |known| {
            known.drained = Some("until 15:00");
        });
        assert!(matches!(drained, Course::Leave(why) if why.contains("until 15:00")));
        let by_document = course(false, &tested, &good, |_| ());
        assert!(matches!(by_document, Course::Leave(_)));
        // Also where nothing is served any more: a retired server.
        assert!(matches!(course(false, &[], &[], |_| ()), Course::Leave(_)));
    }

    #[test]
    fn a_box_that_others_found_dead_stays_away_until_it_is_back_and_joins_nothing_before_that_is_known()
     {
        let (tested, good) = (served(1), ready(Ready::True, "13:00:00"));
        let out = r#"{"shop": {"web": {"web-1": {"since": "2026-11-30T14:00:00Z", "by": []}}}}"#;
        let evictions: Evictions = serde_json::from_str(out).unwrap();
        let shop: BTreeSet<Name> = ["shop".parse().unwrap()].into();
        let left = course(true, &tested, &good, |known| known.evictions = &evictions);
        assert!(matches!(left, Course::Leave(why) if why.contains("found dead")));
        let unknown = course(true, &tested, &good, |known| known.unknown = &shop);
        assert!(matches!(unknown, Course::Stay(_)));
        // The document and a person have it leave all the same.
        let drained = course(true, &tested, &good, |known| {
            (known.unknown, known.drained) = (&shop, Some("until 15:00"));
        });
        assert!(matches!(drained, Course::Leave(_)));
    }

    #[test]
    fn without_tests_that_its_sites_came_up_counts() {
        let (untested, unknown) = (served(0), ready(Ready::Unknown, "13:00:00"));
        assert_eq!(course(true, &untested, &unknown, |_| ()), Course::Join);
        let failing = course(true, &untested, &unknown, |known| known.sites_fail = true);
        assert!(matches!(failing, Course::Stay(_)));
    }
}
