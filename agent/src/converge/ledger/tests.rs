use serde_json::json;

use super::*;

fn read(value: &Value) -> Ledger {
    Ledger::read(&serde_json::to_vec(value).unwrap()).unwrap()
}

/// What is on disk after this version has written it.
fn written(ledger: &Ledger) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(crate::system::root::Root::under(dir.path()).unwrap());
    ledger.save(&files).unwrap();
    let Found::File { bytes, .. } = files.read(&state::path(FILE)).unwrap() else {
        panic!("no ledger");
    };
    serde_json::from_slice(&bytes).unwrap()
}

fn owned(kind: &str, form: &str) -> Value {
    json!({
        "kind": kind, "step": "hosts", "form": form, "digest": "d", "origins": [], "run": 1,
        "written": "2026-11-22T20:00:00Z", "version": 1,
    })
}

#[test]
fn what_the_first_release_wrote_is_read() {
    let old = json!({
        "paths": {"/etc/hosts": {
            "kind": "hosts", "step": "hosts", "form": "block", "digest": "d", "shown_as": null, "origins": [],
            "adopted": false, "run": 1, "written": "2026-11-22T20:00:00Z", "version": 1,
        }},
        "units": {"agentd-memcached@shop.service": "cache/shop/instance"},
        "steps": {"hosts": {"kind": "hosts", "activate": []}, "cache/shop/instance": {"kind": "cache", "activate": []}},
        "lists": {"hosts": ["db-1"]}, "dirs": ["/etc/shop"], "good": "g",
    });
    let ledger = read(&old);
    assert_eq!(
        ledger.path(Path::new("/etc/hosts")).unwrap().form,
        Form::Block
    );
    let (unit, owned) = ledger.units().next().unwrap();
    assert_eq!(
        (unit, owned.step.0.as_str()),
        ("agentd-memcached@shop.service", "cache/shop/instance")
    );
    assert_eq!(
        (ledger.lists.len(), ledger.dirs.len(), ledger.steps.len()),
        (1, 1, 2)
    );
    assert_eq!(ledger.foreign(), None);
    // From here on it is of this format, and read at once.
    assert_eq!(written(&ledger)["format"], 2);
    assert_eq!(read(&written(&ledger)), ledger);
}

#[test]
fn origins_are_short_texts_and_were_once_objects() {
    let origin = |line, pointer: &str| LineOrigin {
        line,
        pointer: crate::fleet::Pointer(pointer.into()),
    };
    let mut thing = owned("hosts", "block");
    thing["origins"] = json!([
        {"line": null, "pointer": "/signed/servers"},
        {"line": 12, "pointer": "/signed/servers/web-1"},
        "/signed/a:b", "3:/signed/products/4:5",
    ]);
    let ledger = read(&json!({
        "format": 2, "things": {"path:/etc/hosts": thing}, "steps": {}, "lists": {}, "dirs": [], "good": null,
    }));
    let expected = [
        origin(None, "/signed/servers"),
        origin(Some(12), "/signed/servers/web-1"),
        origin(None, "/signed/a:b"),
        origin(Some(3), "/signed/products/4:5"),
    ];
    let things = |ledger: &Ledger| {
        ledger
            .path(Path::new("/etc/hosts"))
            .unwrap()
            .origins
            .clone()
    };
    assert_eq!(things(&ledger), expected);
    assert_eq!(ledger.foreign(), None);
    assert_eq!(things(&read(&written(&ledger))), expected);
    let text = written(&ledger)["things"]["path:/etc/hosts"]["origins"][1].clone();
    assert_eq!(text, "12:/signed/servers/web-1");
}

#[test]
fn what_a_newer_version_wrote_is_kept_told_and_written_back() {
    let newer = json!({
        "format": 3,
        "things": {
            "path:/etc/hosts": owned("hosts", "block"),
            "path:/etc/motd": owned("banners", "file"),
            "user:deploy": {"kind": "users", "step": "users", "uid": 1520},
            "unit:web.service": {"kind": "cache", "step": "hosts", "form": "unit", "digest": "d", "origins": [], "run": 1,
                "written": "2026-11-22T20:00:00Z", "version": 1, "masked": true},
        },
        "steps": {"hosts": {"kind": "hosts", "activate": []}, "users": {"kind": "users", "activate": []}},
        "lists": {"hosts": ["db-1"], "users": {"what": "accounts"}},
        "dirs": [], "good": null,
        "pins": {"httpd": "2.4"},
    });
    let mut ledger = read(&newer);
    let mine: Vec<String> = ledger.things.keys().map(ToString::to_string).collect();
    assert_eq!(mine, ["path:/etc/hosts", "unit:web.service"]);
    let said = ledger.foreign().unwrap();
    assert!(
        said.contains("path:/etc/motd") && said.contains("user:deploy") && said.contains("pins"),
        "{said}"
    );
    // This version goes on with what is its own, and the rest stands there as it did.
    ledger.things.remove(&Thing::Unit("web.service".into()));
    ledger.good = Some("g".into());
    let back = written(&ledger);
    let mut wanted = newer;
    wanted["format"] = 2.into();
    wanted["good"] = "g".into();
    wanted["things"]
        .as_object_mut()
        .unwrap()
        .remove("unit:web.service");
    assert_eq!(back, wanted);
}

#[test]
fn members_too_many_of_a_known_thing_are_kept_with_it() {
    let mut newer = owned("hosts", "block");
    newer["acl"] = "u:deploy:r".into();
    let all = json!({"format": 3, "things": {"path:/etc/hosts": newer}});
    let ledger = read(&all);
    assert_eq!(ledger.things.len(), 1);
    assert_eq!(
        written(&ledger)["things"]["path:/etc/hosts"]["acl"],
        "u:deploy:r"
    );
}

#[test]
fn what_is_no_ledger_is_damaged() {
    for text in ["", "{\"things\":", "[]", "17"] {
        assert!(Ledger::read(text.as_bytes()).is_err(), "{text}");
    }
}
