use std::path::Path;

use super::persisted::PersistedLease;
use super::*;
use crate::bucket::{BucketError, BucketErrorKind};
use crate::database::lease::tests::{lease, successor};
use crate::database::lease::{LeaseState, Previous};
use crate::database::store::Stored;
use crate::fleet::Document;
use crate::node::Elected;
use crate::system::root::Root;

const HEAVY: &str = include_str!("../../../../tests/fleets/heavy.json");

struct Web {
    dir: tempfile::TempDir,
    follower: Follower,
    tags: u32,
}

impl Web {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let follower = Follower::open(&files(dir.path())).unwrap();
        Self {
            dir,
            follower,
            tags: 0,
        }
    }

    fn restarted(mut self) -> Self {
        self.follower = Follower::open(&files(self.dir.path())).unwrap();
        self
    }

    fn hear(&mut self, answer: Result<Read, StoreError>) -> bool {
        let answers = Answers(vec![(shop(), answer)]);
        self.follower.take_answers(answers).unwrap()
    }

    fn sees(&mut self, lease: Lease) -> bool {
        self.tags += 1;
        let tag = Tag(self.tags.to_string());
        self.hear(Ok(Read::Lease(Box::new(Stored { lease, tag }))))
    }

    /// The epoch and the owner that the box goes by: `2 db-2`.
    fn goes_by(&self) -> String {
        match self.follower.elections().get(&shop()) {
            Some(elected) => format!("{} {}", elected.epoch, elected.owner),
            None => "nobody".into(),
        }
    }

    fn status(&self) -> crate::report::DatabaseStatus {
        let fleet = Document::read(HEAVY.as_bytes()).unwrap().fleet;
        let mut all = self
            .follower
            .database_status(&fleet, &"web-1".parse().unwrap(), 3306);
        assert_eq!(all.len(), 1);
        all.remove(0)
    }
}

fn files(dir: &Path) -> Files {
    Files::new(Root::under(dir).unwrap())
}

fn shop() -> Name {
    "shop".parse().unwrap()
}

fn in_state(state: LeaseState, lease: Lease) -> Lease {
    Lease { state, ..lease }
}

fn unavailable() -> StoreError {
    StoreError::from(BucketError {
        operation: "get",
        url: "s3://fleet/leases/shop.json".into(),
        kind: BucketErrorKind::Unavailable,
        source: Some("no complete answer within 10s".into()),
    })
}

#[test]
fn a_lease_is_followed_and_kept_over_a_restart() {
    let mut web = Web::new();
    assert_eq!(web.goes_by(), "nobody");
    assert!(web.sees(lease("shop", "db-1")));
    assert_eq!(web.goes_by(), "1 db-1");
    let renewed = Lease {
        seq: 2,
        ..lease("shop", "db-1")
    };
    assert!(!web.sees(renewed), "a renewal is no news");
    assert!(web.sees(successor("shop", "db-2", 2)));
    let web = web.restarted();
    assert_eq!(web.goes_by(), "2 db-2");
}

#[test]
fn who_is_promoting_is_not_followed_until_he_serves() {
    let mut web = Web::new();
    web.sees(lease("shop", "db-1"));
    assert!(!web.sees(in_state(
        LeaseState::Promoting,
        successor("shop", "db-2", 2)
    )));
    assert_eq!(web.goes_by(), "1 db-1");
    assert!(web.status().notes[0].contains("db-2 has taken over and takes no writes yet"));
    // Not over a restart either; and who only comes now goes by the one before.
    let mut web = web.restarted();
    assert_eq!(web.goes_by(), "1 db-1");
    let mut late = Web::new();
    assert!(late.sees(in_state(
        LeaseState::Promoting,
        successor("shop", "db-2", 2)
    )));
    assert_eq!(late.goes_by(), "1 db-1");
    for web in [&mut web, &mut late] {
        assert!(web.sees(successor("shop", "db-2", 2)));
        assert_eq!(web.goes_by(), "2 db-2");
        assert!(!web.sees(in_state(LeaseState::Released, successor("shop", "db-2", 2))));
    }
}

#[test]
fn a_lower_epoch_is_refused_also_while_the_highest_is_not_serving_and_after_a_restart() {
    let mut web = Web::new();
    web.sees(lease("shop", "db-1"));
    web.sees(in_state(
        LeaseState::Promoting,
        successor("shop", "db-2", 2),
    ));
    let mut web = web.restarted();
    assert!(!web.sees(lease("shop", "db-1")));
    let status = web.status();
    assert!(
        status.alarms[0].contains("epoch 1, and this machine has seen epoch 2"),
        "{status:?}"
    );
    assert_eq!(
        status.lease, None,
        "what is refused is not shown as if it held"
    );
    // And once the right one is there again, all is well.
    assert!(web.sees(successor("shop", "db-2", 2)));
    assert_eq!(web.status().alarms, [""; 0]);
}

#[test]
fn an_epoch_has_one_owner() {
    let mut web = Web::new();
    web.sees(successor("shop", "db-2", 2));
    assert!(!web.sees(successor("shop", "db-3", 2)));
    assert_eq!(web.goes_by(), "2 db-2");
    assert!(web.status().alarms[0].contains("db-3 owns epoch 2, and it was db-2"));
}

#[test]
fn an_owner_outside_of_the_chain_is_told_and_not_led_to() {
    let mut web = Web::new();
    web.sees(successor("shop", "db-77", 2));
    let status = web.status();
    assert_eq!(status.master.unwrap().as_str(), "db-1");
    assert!(status.alarms[0].contains("db-77 does not stand in the chain"));
}

#[test]
fn a_bucket_that_is_away_changes_nothing_and_its_age_is_told() {
    let mut web = Web::new();
    web.sees(successor("shop", "db-2", 2));
    for failures in 1..4 {
        assert!(!web.hear(Err(unavailable())));
        assert_eq!(web.follower.failures(), failures);
    }
    assert_eq!(web.goes_by(), "2 db-2");
    let status = web.status();
    assert_eq!(status.alarms, [""; 0]);
    assert!(
        status
            .lease
            .unwrap()
            .trouble
            .unwrap()
            .why
            .contains("no complete answer")
    );
    assert!(!web.hear(Ok(Read::Unchanged)));
    assert_eq!(web.follower.failures(), 0);
    assert_eq!(web.status().lease.unwrap().trouble, None);
}

#[test]
fn a_deleted_lease_is_told_and_one_that_never_was_is_not() {
    let mut web = Web::new();
    assert!(!web.hear(Ok(Read::Absent)));
    assert_eq!(web.status().alarms, [""; 0]);
    web.sees(successor("shop", "db-2", 2));
    assert!(!web.hear(Ok(Read::Absent)));
    assert_eq!(web.goes_by(), "2 db-2");
    assert!(web.status().alarms[0].contains("somebody has deleted it"));
}

#[test]
fn a_lease_may_be_a_chains_until_the_bucket_says_that_it_is_not() {
    let chain: [Name; 2] = ["db-1", "db-2"].map(|name| name.parse().unwrap());
    let mut box_of = Web::new();
    let may_be = |web: &Web| web.follower.may_be_owned(&shop(), &chain);
    assert!(may_be(&box_of));
    box_of.hear(Err(unavailable()));
    assert!(may_be(&box_of));
    box_of.hear(Ok(Read::Absent));
    assert!(!may_be(&box_of));
    // Who takes over does not serve yet, and is nobody's election.
    box_of.sees(in_state(LeaseState::Promoting, lease("shop", "db-1")));
    assert_eq!(box_of.goes_by(), "nobody");
    assert!(may_be(&box_of));
    let mut other = Web::new();
    other.sees(lease("shop", "db-9"));
    assert!(!may_be(&other));
    other.hear(Err(unavailable()));
    assert!(
        !may_be(&other),
        "an owner does not become another one of a chain that it is none of"
    );
}

#[test]
fn only_what_is_not_known_is_asked_again() {
    let mut web = Web::new();
    let asked = |web: &Web| web.follower.round([&shop()]).0[0].1.clone();
    assert_eq!(asked(&web), None);
    web.sees(lease("shop", "db-1"));
    assert_eq!(asked(&web), Some(Tag("1".into())));
    assert!(web.follower.round([]).is_empty());
}

#[test]
fn renewals_write_nothing() {
    let mut web = Web::new();
    web.sees(lease("shop", "db-1"));
    let path = web.dir.path().join("var/lib/agentd/epochs.json");
    let stamp = || std::fs::metadata(&path).unwrap().modified().unwrap();
    let before = stamp();
    let inode =
        |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let file = inode(&path);
    web.sees(Lease {
        seq: 2,
        ..lease("shop", "db-1")
    });
    assert_eq!((stamp(), inode(&path)), (before, file));
    insta::assert_snapshot!(std::fs::read_to_string(&path).unwrap(), @r#"{"format":1,"products":{"shop":{"highest":{"epoch":1,"owner":"db-1"},"elected":{"epoch":1,"owner":"db-1"}}}}"#);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn any_lease() -> impl Strategy<Value = Lease> {
        let state = prop::sample::select(vec![
            LeaseState::Serving,
            LeaseState::Promoting,
            LeaseState::Switching,
            LeaseState::Released,
        ]);
        (1..6u64, 1..4u8, 1..4u8, state).prop_map(|(epoch, owner, before, state)| Lease {
            epoch,
            state,
            previous: (epoch > 1).then(|| Previous {
                owner: format!("db-{before}").parse().unwrap(),
                epoch: epoch - 1,
                gtid: String::new(),
                complete: false,
            }),
            ..lease("shop", &format!("db-{owner}"))
        })
    }

    proptest! {
        /// Whatever the bucket shows, in whatever order: nobody goes back, and an epoch has one owner.
        #[test]
        fn nobody_ever_goes_back(leases in prop::collection::vec(any_lease(), 1..12)) {
            let mut kept: Option<PersistedLease> = None;
            let mut owners: BTreeMap<u64, Name> = BTreeMap::new();
            for lease in leases {
                let LeaseJudgement::Believed(next) = judge(kept.as_ref(), &lease) else { continue };
                if let Some(before) = &kept {
                    prop_assert!(next.highest.epoch >= before.highest.epoch);
                    let epoch = |kept: &PersistedLease| kept.elected.as_ref().map(|one| one.epoch);
                    prop_assert!(epoch(&next) >= epoch(before));
                }
                let Elected { epoch, owner } = next.highest.clone();
                prop_assert_eq!(owners.entry(epoch).or_insert_with(|| owner.clone()), &owner);
                kept = Some(next);
            }
        }
    }
}

#[test]
fn it_is_restless_while_a_change_is_under_way_or_a_lease_is_overdue() {
    let mut web = Web::new();
    let restless = |web: &Web, after: u64| {
        let then = Instant::now() + Duration::from_secs(after);
        web.follower.unrest(then) != Unrest::None
    };
    assert!(!restless(&web, 60), "there is no lease");
    web.sees(lease("shop", "db-1"));
    assert!(!restless(&web, 2));
    assert!(restless(&web, 4), "of ten seconds to live");
    web.hear(Ok(Read::Unchanged));
    assert!(
        restless(&web, 4),
        "the bucket answers, the owner does not renew"
    );
    let announced = Lease {
        to: Some("db-2".parse().unwrap()),
        ..lease("shop", "db-1")
    };
    web.sees(announced);
    assert!(restless(&web, 0));
    for state in [
        LeaseState::Switching,
        LeaseState::Released,
        LeaseState::Promoting,
    ] {
        web.sees(Lease {
            state,
            ..lease("shop", "db-1")
        });
        assert!(restless(&web, 0), "{state}");
    }
    // Where the bucket does not answer, haste is of no use.
    web.hear(Err(unavailable()));
    assert!(!restless(&web, 60));
    web.sees(lease("shop", "db-1"));
    assert!(!restless(&web, 0));
}

#[test]
fn a_lease_that_may_not_be_read_is_an_alarm_at_once_and_one_that_is_late_is_not() {
    let mut web = Web::new();
    web.hear(Err(unavailable()));
    assert_eq!(web.status().alarms, [""; 0]);
    let StoreError::Bucket(mut denied) = unavailable() else {
        panic!("another error");
    };
    denied.error.kind = BucketErrorKind::Denied;
    web.hear(Err(StoreError::Bucket(denied)));
    let alarms = web.status().alarms;
    assert_eq!(alarms.len(), 1);
    assert!(
        alarms[0].contains("would not be followed here")
            && alarms[0].contains("access denied")
            && alarms[0].contains("get leases/shop.json"),
        "{alarms:?}"
    );
    web.sees(lease("shop", "db-1"));
    assert_eq!(web.status().alarms, [""; 0]);
}
