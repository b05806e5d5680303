//! Readiness: each minute, and after each change, the smoke tests of what this box serves are asked, beside all else that goes on.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::bucket::phase;
use crate::converge::{Verdict, ask_smoke};
use crate::report::{ProductReadiness, Ready};
use crate::resource::ServedProduct;
use crate::system::clock;

/// Between two rounds.
const INTERVAL: Duration = Duration::from_mins(1);
/// How long one product's tests may take together.
const LONGEST: Duration = Duration::from_mins(5);

/// What came of a round: each product, with why it is not ready; `None`: it is. A product without tests is not in it.
pub(super) type Round = Vec<(ServedProduct, Option<String>)>;

/// The round under way, when the next is due, and what is known.
pub(super) struct Readiness {
    round: Option<Pin<Box<dyn Future<Output = Round>>>>,
    next: Instant,
    phased: bool,
    known: Vec<ProductReadiness>,
}

impl Readiness {
    pub(super) fn new() -> Self {
        Self {
            round: None,
            next: Instant::now(),
            phased: false,
            known: Vec::new(),
        }
    }

    /// When the next round is due.
    pub(super) fn due(&self) -> Instant {
        if self.round.is_some() {
            // It ends first.
            return Instant::now() + LONGEST;
        }
        self.next
    }

    /// A run has changed something: what was known is asked anew.
    pub(super) fn soon(&mut self) {
        self.next = Instant::now();
    }

    /// What is known of the products that are `served` now.
    pub(super) fn of(&self, served: &[ServedProduct]) -> Vec<ProductReadiness> {
        let of = |served: &ServedProduct| {
            let known = self
                .known
                .iter()
                .find(|known| known.product == served.product);
            let release = served.release.as_ref().map(ToString::to_string);
            let unknown = |reason: &str| ProductReadiness {
                product: served.product.clone(),
                ready: Ready::Unknown,
                reason: reason.to_owned(),
                since: known.map_or_else(clock::now, |known| known.since),
                checked: None,
                release: release.clone(),
            };
            if served.tests.is_empty() {
                return unknown("the document has no smoke test of it");
            }
            match known.filter(|known| known.checked.is_some()) {
                None => unknown("it has not been asked yet"),
                Some(known) => ProductReadiness {
                    release,
                    ..known.clone()
                },
            }
        };
        served.iter().map(of).collect()
    }

    /// Begins a round, if one is due. `name` spreads the rounds of boxes that booted together.
    pub(super) fn begin(&mut self, served: Vec<ServedProduct>, name: &str) {
        if self.round.is_some() || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + INTERVAL;
        if !std::mem::replace(&mut self.phased, true) {
            self.next += phase(name, INTERVAL);
        }
        self.known
            .retain(|known| served.iter().any(|one| one.product == known.product));
        for one in &served {
            if !self.known.iter().any(|known| known.product == one.product) {
                self.known.push(ProductReadiness {
                    product: one.product.clone(),
                    ready: Ready::Unknown,
                    reason: String::new(),
                    since: clock::now(),
                    checked: None,
                    release: None,
                });
            }
        }
        if served.iter().any(|one| !one.tests.is_empty()) {
            self.round = Some(Box::pin(ask(served)));
        }
    }

    /// Takes the answers of a round in. Returns whether a product is ready that was not, or no longer.
    pub(super) fn take(&mut self, round: Round) -> bool {
        let mut is_news = false;
        let now = clock::now();
        for (served, trouble) in round {
            let Some(known) = self
                .known
                .iter_mut()
                .find(|known| known.product == served.product)
            else {
                continue;
            };
            let ready = if trouble.is_none() {
                Ready::True
            } else {
                Ready::False
            };
            if known.ready != ready {
                known.since = now;
                is_news = true;
                let product = served.product.as_str();
                match &trouble {
                    None => tracing::info!(event = "ready", product, "{product} is ready"),
                    Some(why) => {
                        tracing::warn!(
                            event = "not-ready",
                            product,
                            "{product} is not ready: {why}"
                        );
                    }
                }
            }
            let reason = trouble.unwrap_or_default();
            is_news |= known.reason != reason;
            known.ready = ready;
            known.reason = reason;
            known.checked = Some(now);
        }
        is_news
    }
}

/// Waits for the answers of the round under way; forever, where there is none. May be dropped and called again.
pub(super) async fn answers(readiness: &mut Readiness) -> Round {
    let Some(round) = &mut readiness.round else {
        return std::future::pending().await;
    };
    let answers = round.as_mut().await;
    readiness.round = None;
    answers
}

async fn ask(served: Vec<ServedProduct>) -> Round {
    let mut round = Round::new();
    for product in served {
        if product.tests.is_empty() {
            continue;
        }
        let tests = async {
            for test in &product.tests {
                if let Verdict::Failed(why) = ask_smoke(test, &|| ()).await {
                    return Some(why);
                }
            }
            None
        };
        let trouble = timeout(LONGEST, tests).await.unwrap_or_else(|_| {
            Some(format!(
                "its smoke tests did not end within {} minutes",
                LONGEST.as_secs() / 60
            ))
        });
        round.push((product, trouble));
    }
    round
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(tests: usize) -> ServedProduct {
        let test = crate::resource::Smoke {
            product: "shop".parse().unwrap(),
            release: None,
            test: serde_json::from_str(r#"{"site": "www", "path": "/", "retries": 0}"#).unwrap(),
            at: "127.0.0.1:1".parse().unwrap(),
            tls: false,
            host: "shop.example.com".into(),
        };
        ServedProduct {
            product: "shop".parse().unwrap(),
            release: None,
            tests: vec![test; tests],
        }
    }

    #[test]
    fn what_was_not_asked_and_what_has_no_test_is_not_known() {
        let readiness = Readiness::new();
        for (tests, why) in [(0, "no smoke test"), (1, "not been asked")] {
            let known = readiness.of(&[served(tests)]);
            assert_eq!(known[0].ready, Ready::Unknown);
            assert!(known[0].reason.contains(why), "{known:?}");
        }
    }

    #[tokio::test]
    async fn readiness_is_what_the_last_round_says() {
        let mut readiness = Readiness::new();
        readiness.begin(vec![served(1)], "web-1");
        let round = answers(&mut readiness).await;
        assert!(readiness.take(round.clone()), "nobody listens there");
        let known = readiness.of(&[served(1)]);
        assert_eq!(known[0].ready, Ready::False);
        assert!(known[0].reason.contains("shop.example.com/"), "{known:?}");
        assert!(!readiness.take(round), "the same again is no news");
        let passed = vec![(served(1), None)];
        assert!(readiness.take(passed));
        assert_eq!(readiness.of(&[served(1)])[0].ready, Ready::True);
        assert!(readiness.of(&[]).is_empty());
    }
}
