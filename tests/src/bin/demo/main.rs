//! The demonstration: the real daemon, a bucket that speaks S3, and a day in the life of one web server.
//!
//! Everything lies in a scratch directory and on loopback; nothing of the machine is changed.

mod stage;

use std::error::Error;

use stage::Stage;

const SAMPLE: &str = include_str!("../../../fleets/heavy.json");

fn main() -> Result<(), Box<dyn Error>> {
    let mut stage = Stage::build()?;

    stage.scene(
        "A box that knows nothing yet",
        "The bucket holds the fleet document: who is who, and what each product needs. This box is baked as\n\
         web-1. Its disk has an ordinary /etc/hosts, with a line that somebody once wrote by hand.",
    );
    stage.write("/etc/hosts", "127.0.0.1\tlocalhost\n192.0.2.44\tprinter\n")?;
    stage.show("/etc/hosts")?;
    stage.publish(SAMPLE)?;
    stage.start_agent()?;
    stage.wait_for_run(1)?;
    Stage::say(
        "agentd read the document, found web-1 in it, and made the box so. It owns these files now:",
    );
    stage.tree("/etc")?;
    stage.show("/etc/hosts")?;
    stage.show("/etc/shop/memcached.json")?;
    stage.show("/etc/httpd/agentd/current/shop_www.conf")?;
    stage.show("/etc/cron.d/agentd-shop_digest")?;
    Stage::say("Every line can say who asked for it:");
    stage.ctl(&["why", "/etc/hosts", "mysql-master"])?;

    stage.scene(
        "A memcached node leaves",
        "cache-2 is to be replaced. The operator marks it as draining and publishes version 2.",
    );
    let document = stage.edit(
        SAMPLE,
        &[(
            r#""roles": ["memcached"], "products": ["shop"]}"#,
            r#""roles": ["memcached"], "products": ["shop"], "state": "draining"}"#,
        )],
    )?;
    stage.publish_and_wait(&document)?;
    stage.ctl(&["show", "last"])?;

    stage.scene(
        "Another database becomes the master",
        "db-2 goes first in the chain: mysql-master must mean db-2 on every box, at once.",
    );
    let document = stage.edit(
        &document,
        &[(r#"["db-1", "db-2", "db-3"]"#, r#"["db-2", "db-1", "db-3"]"#)],
    )?;
    stage.publish_and_wait(&document)?;
    stage.ctl(&["show", "last"])?;

    stage.scene(
        "A new site",
        "The shop gets a host of its own for pictures. First at the desk: what would this change on web-1?\n\
         Nothing is published yet; the plan needs neither the box nor the bucket.",
    );
    let site = r#""sites": {
          "img":   {"domains": ["img.shop.example.com"], "root": "/srv/shop/current/img", "headers": {"Cache-Control": "public, max-age=86400"}},
          "www":   {"domains": ["shop.example.com""#;
    let old = "\"sites\": {\n          \"www\":   {\"domains\": [\"shop.example.com\"";
    let next = stage.edit(&document, &[(old, site)])?;
    let (now, then) = (
        stage.file("now.json", &document)?,
        stage.file("next.json", &next)?,
    );
    stage.ctl(&[
        "plan",
        "--as",
        "web-1",
        "--document",
        &then,
        "--against",
        &now,
    ])?;
    Stage::say("That is what was meant. Publish it:");
    stage.publish_and_wait(&next)?;
    stage.ctl(&["history"])?;

    stage.scene(
        "A broken document",
        "Somebody is in a hurry: a misspelt field, a server that does not exist, an impossible schedule.",
    );
    let broken = stage.edit(
        &next,
        &[
            (r#""port": 8080"#, r#""prot": 8080"#),
            (
                r#"["db-2", "db-1", "db-3"]"#,
                r#"["db-2", "db-1", "db-33"]"#,
            ),
            (r#""30 6 * * 1-5""#, r#""75 6 * * 1-5""#),
        ],
    )?;
    Stage::say("The same check runs at the desk, before anything is published:");
    let file = stage.file("broken.json", &broken)?;
    stage.ctl(&["validate", &file])?;
    Stage::say("Published all the same, it reaches no file; the box keeps version 4 and says so:");
    let before = stage.fingerprint()?;
    stage.publish(&broken)?;
    stage.wait_for_refusal()?;
    stage.ctl(&["status"])?;
    stage.expect_unchanged(&before)?;
    stage.publish(&next)?;
    stage.wait_converged()?;

    stage.scene(
        "Somebody edits a managed file on the box",
        "At 3 a.m., by hand, and forgotten: the node list is emptied.",
    );
    stage.write("/etc/shop/memcached.json", "[]\n")?;
    let took = stage.wait_for_text("/etc/shop/memcached.json", "10.77.0.21")?;
    Stage::say(&format!(
        "Repaired {} ms later, without waiting for a poll; what had been written there was kept:",
        took.as_millis()
    ));
    stage.ctl(&["show", "last"])?;

    stage.scene(
        "The bucket goes away",
        "The box goes on with its last good document, and says how old it is.",
    );
    stage.stop_bucket();
    stage.write("/etc/hosts", "")?;
    stage.wait_for_text("/etc/hosts", "mysql-master")?;
    stage.wait_for_bucket_error()?;
    Stage::say(
        "Emptied meanwhile, /etc/hosts was repaired all the same. The state of the box, as whoever is on call sees it:",
    );
    stage.ctl(&["status"])?;

    stage.scene(
        "The bucket is back",
        "And all is well. `agentctl help` knows more; docs/architecture.md tells how it works.",
    );
    stage.start_bucket(&next)?;
    stage.wait_converged()?;
    stage.ctl(&["status"])?;
    stage.finish()
}
