use super::*;
use crate::resource::fixtures;
use jiff::Timestamp;

fn version(text: &str) -> ReleaseVersion {
    text.parse().unwrap()
}

fn view() -> View {
    let release = serde_json::from_str(
        r#"{"version": "2", "object": "releases/shop/2.tar.zst", "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "user": "shop", "before": {"command": ["bin/migrate", "--all"], "timeout": "2m"}}"#,
    );
    View {
        releases: vec![ReleaseView {
            product: fixtures::name("shop"),
            release: release.unwrap(),
            version: version("2"),
            runs_before: true,
            origin: crate::fleet::Pointer("/signed/products/shop/release".into()),
        }],
        ..fixtures::view()
    }
}

fn known(change: impl FnOnce(&mut ReleaseRecord, &mut ProductReleases)) -> ReleasesFacts {
    let view = view();
    let mut record =
        ReleaseRecord::new(version("2"), "o", view.releases[0].release.sha256.as_str());
    let mut known = ProductReleases::default();
    change(&mut record, &mut known);
    known.records.insert(version("2"), record);
    ReleasesFacts {
        products: Some([(fixtures::name("shop"), known)].into()),
    }
}

fn said(facts: &ReleasesFacts) -> String {
    let desired = Releases.desired(&view(), &fixtures::platform(), facts);
    let problems = desired
        .problems
        .iter()
        .map(|problem| problem.message.clone());
    let steps = desired.steps.iter().map(|step| step.name.to_string());
    problems.chain(steps).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_release_is_made_when_its_archive_is_here_and_not_again_when_it_failed() {
    let sha256 = view().releases[0].release.sha256.to_string();
    assert!(said(&known(|_, _| ())).contains("is not on this box yet"));
    let troubled = known(|record, _| record.trouble = Some("the bucket is away".into()));
    assert!(said(&troubled).ends_with("could not be fetched: the bucket is away"));
    let fetched = known(|_, known| known.archives.extend([sha256.clone()]));
    assert_eq!(said(&fetched), "release/shop");
    let failed = known(|record, known| {
        known.archives.insert(sha256.clone());
        record.failed = Some(ReleaseFailure {
            since: Timestamp::UNIX_EPOCH,
            error: "its smoke test failed".into(),
        });
    });
    assert!(said(&failed).contains("is not tried again: its smoke test failed"));
    let stands = known(|record, known| {
        record.unpacked = Some(Timestamp::UNIX_EPOCH);
        known.standing.insert(version("2"));
    });
    assert_eq!(said(&stands), "release/shop");
    let other = known(|record, known| {
        record.sha256 = "0".repeat(64);
        known.standing.insert(version("2"));
    });
    assert!(said(&other).contains("what has other content is another version"));
    let planted = known(|_, known| known.unseen = Some("a link".into()));
    assert!(said(&planted).contains("cannot be looked at: a link"));
    // At a desk nobody has looked.
    assert_eq!(said(&ReleasesFacts::default()), "release/shop");
}

#[test]
fn the_command_is_run_in_the_release_by_its_account() {
    let desired = Releases.desired(&view(), &fixtures::platform(), &ReleasesFacts::default());
    let Wish::Release(wish) = &desired.steps[0].wants[0].wish else {
        panic!("{desired:?}");
    };
    let command = wish.before.as_ref().unwrap();
    insta::assert_snapshot!(command.to_string(), @r#"/usr/sbin/runuser -u shop -- /bin/sh -c cd -- "$0" && exec "$@" /srv/shop/releases/2 /srv/shop/releases/2/bin/migrate --all"#);
    assert_eq!(command.deadline_ms, 120_000);
}

#[test]
fn what_serves_may_go_on_serving_whatever_became_of_its_record() {
    let mut known = ProductReleases::default();
    assert!(!known.can_serve(&version("1")));
    known.served.insert(version("1"));
    assert!(known.can_serve(&version("1")) && !known.is_ready(&version("1")));
}

#[test]
fn one_goes_back_only_to_another_one_that_was_shown_to_work_and_is_whole() {
    let with = |change: fn(&mut ReleaseRecord)| {
        let mut known = ProductReleases::default();
        let mut record = ReleaseRecord::new(version("1"), "o", "s");
        record.ready = true;
        record.proven = Some(Timestamp::UNIX_EPOCH);
        change(&mut record);
        known.standing.insert(version("1"));
        known.records.insert(version("1"), record);
        known
    };
    let good = with(|_| ());
    assert!(good.has_another(&version("2")));
    assert!(!good.has_another(&version("1")), "it is no other one");
    assert!(!with(|record| record.proven = None).has_another(&version("2")));
    assert!(!with(|record| record.ready = false).has_another(&version("2")));
    let mut gone = good;
    gone.standing.clear();
    assert!(!gone.has_another(&version("2")));
}

#[test]
fn the_link_follows_what_is_in_use_and_stays_until_something_is() {
    let link = |in_use: &[&str]| {
        let facts = CurrentLinksFacts {
            in_use: Some(
                in_use
                    .iter()
                    .map(|one| (fixtures::name("shop"), version(one)))
                    .collect(),
            ),
        };
        CurrentLinks.desired(&view(), &fixtures::platform(), &facts)
    };
    let desired = link(&["1"]);
    let target = Wish::Link {
        target: "releases/1".into(),
    };
    assert_eq!(desired.steps[0].wants[0].wish, target);
    let none = link(&[]);
    assert!(none.steps.is_empty() && none.keep.len() == 1);
}
