//! Releases of a product's code, made and switched to by the real agent with a real Apache: all of one comes true, or the one
//! before goes on serving.

#![cfg(test)]

use node_agent::system::clock::boottime;
use node_agent_tests::machine::{Fleet, Image, built};
use node_agent_tests::web::{Run, WebBox};
use serde_json::{Value, json};

const HOST: &str = "shop.example.com";
const RELEASES: &str = "/srv/shop/releases";

/// Packs a release of `shop` in the machine, puts it into its bucket, and returns its SHA-256. `more`: what is done in the
/// directory before it is packed.
fn pack(web: &WebBox, version: &str, more: &str) -> String {
    let script = format!(
        "set -e; rm -rf /tmp/pack; mkdir -p /tmp/pack/public /tmp/pack/bin /srv/bucket/releases/shop; cd /tmp/pack
         echo 'release {version}' > public/index.html; echo 'ok {version}' > public/health
         printf '#!/bin/sh\\ntrue\\n' > bin/migrate; chmod 755 bin/migrate
         {more}
         tar -czf /srv/bucket/releases/shop/{version}.tar.gz --exclude=./outside .
         sha256sum /srv/bucket/releases/shop/{version}.tar.gz | cut -d' ' -f1"
    );
    let said = web.machine.must(&["bash", "-c", &script]).unwrap();
    said.trim().to_owned()
}

/// The shop, at this release, and what a test adds to `release`.
fn shop(version: &str, sha256: &str, more: Value) -> Value {
    let mut release = json!({
        "version": version, "object": format!("releases/shop/{version}.tar.gz"), "sha256": sha256,
        "user": "shop", "shared": ["storage"],
    });
    if let (Value::Object(release), Value::Object(more)) = (&mut release, more) {
        release.extend(more);
    }
    json!({
        "groups": {"shop": {"gid": 1510}},
        "users": {"shop": {"uid": 1510, "group": "shop", "home": "/srv/shop", "shell": "/sbin/nologin"}},
        "sites": {"www": {"domains": [HOST], "root": "/srv/shop/current/public"}},
        "release": release,
        "smoke": [{"site": "www", "path": "/health", "contains": "ok", "within": "2s", "retries": 0}],
    })
}

fn boot(fleet: &Fleet, image: Image) -> WebBox {
    WebBox::boot(fleet, image, |spec| spec).unwrap()
}

fn published(web: &WebBox, product: &Value) -> Run {
    web.publish_product(product, false).unwrap();
    web.once().unwrap()
}

/// Packs and publishes the next release, which is to go out.
#[track_caller]
fn goes_out(web: &WebBox, version: &str) {
    let sha256 = pack(web, version, "");
    let run = published(web, &shop(version, &sha256, json!({})));
    assert_eq!(run.code, 2, "{}", run.said);
    serves(web, version);
}

#[track_caller]
fn serves(web: &WebBox, version: &str) {
    let page = web.ask(80, HOST, "/");
    assert_eq!(page, Some((200, format!("release {version}\n"))));
    let current = web
        .machine
        .must(&["readlink", "/srv/shop/current"])
        .unwrap();
    assert_eq!(current.trim(), format!("releases/{version}"));
    let text = web.machine.must(&[
        "sh",
        "-c",
        &format!("cat {}/agentd/current/*.conf", web.apache_dir()),
    ]);
    let text = text.unwrap();
    assert!(
        text.contains(&format!("DocumentRoot \"{RELEASES}/{version}/public\"")),
        "{text}"
    );
    assert!(!text.contains("/srv/shop/current"), "{text}");
}

fn standing(web: &WebBox) -> Vec<String> {
    let listed = web.machine.must(&["ls", "-A", RELEASES]).unwrap();
    listed.lines().map(str::to_owned).collect()
}

#[test]
fn a_release_goes_out_is_served_and_older_ones_are_pruned() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = boot(&fleet, image);
        goes_out(&web, "1");
        let owner = [
            "stat",
            "-c",
            "%U %a",
            "/srv/shop/releases/1/public/index.html",
        ];
        assert_eq!(web.machine.must(&owner).unwrap().trim(), "shop 644");
        let link = ["readlink", "-f", "/srv/shop/releases/1/storage"];
        assert_eq!(
            web.machine.must(&link).unwrap().trim(),
            "/srv/shop/shared/storage"
        );
        // Nothing to do, and nothing is done.
        let reloads = web.reloads().unwrap();
        let again = web.once().unwrap();
        assert_eq!(
            (again.code, web.reloads().unwrap()),
            (0, reloads),
            "{}",
            again.said
        );
        for version in ["2", "3", "4"] {
            goes_out(&web, version);
        }
        assert_eq!(standing(&web), ["2", "3", "4"]);
        let archives = web.machine.must(&[
            "sh",
            "-c",
            "ls /var/lib/agentd/archives 2>/dev/null || true",
        ]);
        assert_eq!(archives.unwrap(), "");
    }
}

/// Publishes a release that does not work: the old one serves on, this one is set aside or never comes, and is not tried again.
#[track_caller]
fn does_not_go_out(web: &WebBox, old: &str, product: &Value, said: &str) {
    let version = product["release"]["version"].as_str().unwrap();
    let run = published(web, product);
    assert_eq!(run.code & 4, 4, "{}", run.said);
    assert!(run.said.contains(said), "{said} is not in: {}", run.said);
    serves(web, old);
    assert!(
        !standing(web).contains(&version.to_owned()),
        "{:?}",
        standing(web)
    );
    // Neither fetched nor switched nor run again.
    let reloads = web.reloads().unwrap();
    let again = web.once().unwrap();
    assert_eq!(
        (again.code, web.reloads().unwrap()),
        (4, reloads),
        "{}",
        again.said
    );
    assert!(again.said.contains("is not tried again"), "{}", again.said);
    serves(web, old);
    let listed = web
        .machine
        .must(&["agentctl", "release", "list", "shop"])
        .unwrap();
    assert!(
        listed.contains("failed") && listed.contains("in use"),
        "{listed}"
    );
}

#[test]
fn a_release_that_does_not_work_leaves_the_one_before_serving() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = boot(&fleet, image);
        goes_out(&web, "1");

        // Its smoke test: switched, asked, put back, set aside.
        let sha256 = pack(
            &web,
            "bad-smoke",
            "echo 'Warning: no database' > public/health",
        );
        let product = shop("bad-smoke", &sha256, json!({}));
        does_not_go_out(&web, "1", &product, "lacks \"ok\"");
        assert!(
            standing(&web).contains(&"bad-smoke.failed".to_owned()),
            "{:?}",
            standing(&web)
        );

        // Its command.
        let sha256 = pack(
            &web,
            "bad-hook",
            "printf '#!/bin/sh\\necho no database >&2; exit 3\\n' > bin/migrate",
        );
        let before = json!({"before": {"command": ["bin/migrate", "--force"]}});
        does_not_go_out(&web, "1", &shop("bad-hook", &sha256, before), "no database");
        let aside: Vec<_> = standing(&web)
            .into_iter()
            .filter(|name| name.ends_with(".failed"))
            .collect();
        assert_eq!(aside, ["bad-hook.failed"]);

        // Another archive than the document says.
        let sha256 = pack(&web, "other", "");
        let wrong = sha256.replace(|c: char| c.is_ascii_digit(), "0");
        does_not_go_out(
            &web,
            "1",
            &shop("other", &wrong, json!({})),
            "it is another archive",
        );

        // One that would reach out of its directory.
        let sha256 = pack(&web, "hostile", "ln -s /etc/shadow public/shadow.txt");
        does_not_go_out(
            &web,
            "1",
            &shop("hostile", &sha256, json!({})),
            "leads out of the release",
        );

        // A mended one goes out, and a person can have a failed one tried again.
        goes_out(&web, "2");
        let sha256 = pack(&web, "late", "echo later > public/health");
        let product = shop("late", &sha256, json!({}));
        does_not_go_out(&web, "2", &product, "smoke test failed");
        let mut product = product;
        product["smoke"][0]["contains"] = json!("later");
        web.publish_product(&product, false).unwrap();
        let held = web.once().unwrap();
        assert_eq!(held.code, 4, "{}", held.said);
        let again = web.machine.run(&["agentctl", "apply", "--retry"]).unwrap();
        assert_eq!(again.code, Some(2), "{again:?}");
        serves(&web, "late");
    }
}

#[test]
fn a_command_runs_once_by_the_releases_account_and_a_rollback_says_that_it_did() {
    let fleet = Fleet::new().unwrap();
    let web = boot(&fleet, Image::Debian);
    goes_out(&web, "1");
    let script = "printf '#!/bin/sh\\nid -un >> ../../shared/storage/ran; pwd >> ../../shared/storage/ran\\n' > bin/migrate; chmod 755 bin/migrate";
    let sha256 = pack(&web, "2", script);
    let before = json!({"before": {"command": ["bin/migrate"], "run": "one"}});
    let run = published(&web, &shop("2", &sha256, before.clone()));
    assert_eq!(run.code, 2, "{}", run.said);
    serves(&web, "2");
    assert_eq!(web.once().unwrap().code, 0);
    let ran = web.machine.read("/srv/shop/shared/storage/ran").unwrap();
    assert_eq!(ran, "shop\n/srv/shop/releases/2\n");

    let verified = ["agentctl", "release", "verify", "shop"];
    assert!(
        web.machine
            .must(&verified)
            .unwrap()
            .contains("as they were unpacked")
    );
    web.machine
        .must(&[
            "sh",
            "-c",
            "echo x >> /srv/shop/releases/2/public/index.html",
        ])
        .unwrap();
    let verified = web.machine.run(&verified).unwrap();
    assert_eq!(verified.code, Some(1), "{verified:?}");
    assert!(
        verified.stdout.contains("public/index.html"),
        "{verified:?}"
    );

    let back = web
        .machine
        .run(&["agentctl", "release", "rollback", "shop"])
        .unwrap();
    assert_eq!(back.code, Some(2), "{back:?}");
    assert!(
        back.stderr.contains("the release 2 ran a command"),
        "{back:?}"
    );
    serves(&web, "1");
    // It holds, also for a document that says something else of the product.
    let mut product = shop("2", &sha256, before);
    product["sites"]["www"]["headers"] = json!({});
    product["cron"] = json!({"tick": {"schedule": "0 4 * * *", "user": "shop", "command": "true"}});
    let run = published(&web, &product);
    assert_eq!(run.code, 2, "{}", run.said);
    serves(&web, "1");
    assert_eq!(web.once().unwrap().code, 0);
    // Until it names another version.
    goes_out(&web, "3");
}

/// The account owns the directory in which its releases stand: it could have root run whatever it likes.
#[test]
fn root_runs_no_command_from_a_directory_that_an_account_may_change() {
    let fleet = Fleet::new().unwrap();
    let web = boot(&fleet, Image::Debian);
    goes_out(&web, "1");
    let script = "printf '#!/bin/sh\\nid -un >/tmp/ran-as\\n' > bin/migrate; chmod 755 bin/migrate";
    let sha256 = pack(&web, "2", script);
    let before = json!({"before": {"command": ["bin/migrate"]}});
    let mut product = shop("2", &sha256, before);
    product["release"].as_object_mut().unwrap().remove("user");
    let run = published(&web, &product);
    assert!(
        run.code & 4 == 4 && run.said.contains("/srv/shop is not root's alone"),
        "{}",
        run.said
    );
    serves(&web, "1");
    assert!(!web.machine.exists("/tmp/ran-as"));
    // It is this machine's fault, and made good by itself.
    web.machine
        .must(&["chown", "-R", "root:root", "/srv/shop"])
        .unwrap();
    product["users"]["shop"]["home"] = json!("/srv/home-of-shop");
    web.machine
        .must(&["usermod", "--home", "/srv/home-of-shop", "shop"])
        .unwrap();
    let run = published(&web, &product);
    assert_eq!(run.code & 4, 0, "{}", run.said);
    serves(&web, "2");
    assert_eq!(web.machine.read("/tmp/ran-as").unwrap(), "root\n");
}

#[test]
fn what_the_account_plants_in_its_directory_leads_nowhere() {
    let fleet = Fleet::new().unwrap();
    let web = boot(&fleet, Image::Debian);
    goes_out(&web, "1");
    let sha256 = pack(&web, "2", "");
    web.machine
        .must(&["sh", "-c", "mkdir /etc/trap && mv /srv/shop/releases /srv/shop/away && ln -s /etc/trap /srv/shop/releases"])
        .unwrap();
    let run = published(&web, &shop("2", &sha256, json!({})));
    assert_eq!(run.code & 4, 4, "{}", run.said);
    assert_eq!(web.machine.must(&["ls", "-A", "/etc/trap"]).unwrap(), "");
    web.machine
        .must(&["sh", "-c", "rm /srv/shop/releases && mv /srv/shop/away /srv/shop/releases && rm -rf /srv/shop/shared && ln -s /etc/trap /srv/shop/shared"])
        .unwrap();
    let run = web.once().unwrap();
    assert_eq!(run.code & 4, 4, "{}", run.said);
    assert_eq!(web.machine.must(&["ls", "-A", "/etc/trap"]).unwrap(), "");
    web.machine.must(&["rm", "/srv/shop/shared"]).unwrap();
    let run = web.once().unwrap();
    assert_eq!(run.code, 2, "{}", run.said);
    serves(&web, "2");
}

#[test]
fn a_full_disk_leaves_the_release_before_serving_and_no_half_of_the_next_one() {
    let fleet = Fleet::new().unwrap();
    let web = WebBox::boot(&fleet, Image::Debian, |spec| spec.data("/srv", 64)).unwrap();
    goes_out(&web, "1");
    let sha256 = pack(&web, "2", "head -c 6000000 /dev/urandom > public/large");
    // Room for a part of it.
    web.machine
        .must(&[
            "sh",
            "-c",
            "free=$(df --output=avail -k /srv | tail -1); head -c $(((free - 3000) * 1024)) /dev/zero > /srv/full",
        ])
        .unwrap();
    let product = shop("2", &sha256, json!({}));
    let run = published(&web, &product);
    assert_eq!(run.code & 4, 4, "{}", run.said);
    let said = run.said.to_lowercase();
    assert!(
        said.contains("space") || said.contains("room"),
        "{}",
        run.said
    );
    serves(&web, "1");
    assert!(
        !standing(&web).contains(&"2".to_owned()),
        "{:?}",
        standing(&web)
    );
    // What was begun takes no room from others, and nobody has to say that it may be tried again.
    let left = web.machine.must(&["du", "-sk", RELEASES]).unwrap();
    let left: u64 = left.split_whitespace().next().unwrap().parse().unwrap();
    assert!(left < 1000, "{left} KiB");
    web.machine.must(&["rm", "/srv/full"]).unwrap();
    let run = web.once().unwrap();
    assert_eq!(run.code, 2, "{}", run.said);
    serves(&web, "2");
}

#[test]
fn killed_at_each_step_one_whole_release_serves() {
    let fleet = Fleet::new().unwrap();
    let web = boot(&fleet, Image::Debian);
    goes_out(&web, "1");
    let sha256 = pack(&web, "2", "");
    web.publish_product(&shop("2", &sha256, json!({})), false)
        .unwrap();
    let mut kills = 0;
    // A sample of the points: all of them take three minutes.
    for point in (1..).step_by(3) {
        assert!(point < 200, "it never ends");
        let run = web.once_killed_at(point).unwrap();
        let page = web.ask(80, HOST, "/").map(|(_, body)| body);
        let page = page.unwrap_or_default();
        assert!(
            page == "release 1\n" || page == "release 2\n",
            "point {point}: {page:?}, {}",
            run.said
        );
        if run.code != 137 {
            assert!(run.code & 4 == 0, "{}", run.said);
            break;
        }
        kills += 1;
        // Each kill is of a whole run: what it had done is taken back, so that all points come again.
        let run = web.once().unwrap();
        assert!(
            run.code == 2 || run.code == 0,
            "point {point}: {}",
            run.said
        );
        serves(&web, "2");
        goes_back(&web, point);
    }
    assert!(kills > 5, "only {kills} points");
    serves(&web, "2");
}

/// The box as it was before the release: the first one in use, nothing of the second one there.
fn goes_back(web: &WebBox, point: u32) {
    let sha256 = web.machine.must(&[
        "sh",
        "-c",
        "sha256sum /srv/bucket/releases/shop/1.tar.gz | cut -d' ' -f1",
    ]);
    let sha256 = sha256.unwrap().trim().to_owned();
    let run = published(web, &shop("1", &sha256, json!({"keep": 1})));
    assert_eq!(run.code & 4, 0, "point {point}: {}", run.said);
    serves(web, "1");
    let sha256 = web.machine.must(&[
        "sh",
        "-c",
        "sha256sum /srv/bucket/releases/shop/2.tar.gz | cut -d' ' -f1",
    ]);
    web.publish_product(&shop("2", sha256.unwrap().trim(), json!({})), false)
        .unwrap();
}

#[test]
fn ten_switches_under_load_cost_no_request_and_serve_no_old_code() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = boot(&fleet, image);
        goes_out(&web, "0");
        let visitors = built("visitors").unwrap();
        let at = format!("{}:80", web.machine.address());
        let visitors = fleet
            .spawn_in_net(&[visitors.to_str().unwrap(), &at, HOST, "/", "6"], &[])
            .unwrap();
        let mut switched: Vec<(u128, String)> = Vec::new();
        for version in 1..=10 {
            let version = version.to_string();
            goes_out(&web, &version);
            switched.push((boottime().as_micros(), version));
        }
        visitors.stop().unwrap();
        let said = visitors.said();
        let mut requests = 0;
        let mut failed = Vec::new();
        let mut old = Vec::new();
        let lines: Vec<&str> = said.lines().collect();
        // The last line may be cut off.
        for line in lines.iter().take(lines.len().saturating_sub(1)) {
            let mut words = line.splitn(3, ' ');
            let sent: u128 = words.next().unwrap().parse().unwrap();
            let (verdict, body) = (words.next().unwrap(), words.next().unwrap_or_default());
            requests += 1;
            if verdict != "ok" {
                failed.push(*line);
                continue;
            }
            let newest = switched.iter().rev().find(|(at, _)| *at <= sent);
            let served: u32 = body.trim_start_matches("release ").parse().unwrap();
            if newest.is_some_and(|(_, version)| served < version.parse().unwrap()) {
                old.push(*line);
            }
        }
        println!("{image:?}: {requests} requests over ten switches");
        assert!(requests > 1000, "{requests}");
        assert!(
            failed.is_empty(),
            "{} of {requests}: {:?}",
            failed.len(),
            failed.first()
        );
        assert!(
            old.is_empty(),
            "{} of {requests}: {:?}",
            old.len(),
            old.first()
        );
    }
}
