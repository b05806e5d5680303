//! The demonstration: the real daemon, a bucket that speaks S3, and a day in the life of one web server.
//!
//! Everything lies in a scratch directory and on loopback; nothing of the machine is changed.

mod stage;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use stage::{Pace, Stage};

const SAMPLE: &str = include_str!("../../../fleets/heavy.json");

/// A day in the life of one web server, in eight steps: the real daemon, and a bucket that speaks S3.
///
/// Everything lies in a scratch directory and on loopback, and is gone afterwards; nothing of this machine is changed,
/// and root is not needed.
#[derive(Debug, Parser)]
#[command(name = "cargo demo --", bin_name = "cargo demo --")]
struct Options {
    /// Wait for the Enter key after each step
    #[arg(long, conflicts_with = "fast")]
    pause: bool,

    /// Do not wait between the steps (on a terminal, three seconds are the default)
    #[arg(long)]
    fast: bool,

    /// Show files and answers whole, and the daemon's log where something fails
    #[arg(long, short)]
    verbose: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match Stage::build(Pace::new(options.pause, options.fast), options.verbose).and_then(play) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Stage::complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn play(mut stage: Stage) -> Result<(), Box<dyn Error>> {
    stage.scene(
        "A box that knows nothing yet",
        "The bucket holds the fleet document: who is who, and what each product needs. The operator signs it with an SSH key,\n\
         which the box trusts. This box is web-1, with an ordinary /etc/hosts.",
    );
    stage.write("/etc/hosts", "127.0.0.1\tlocalhost\n192.0.2.44\tprinter\n")?;
    stage.begin(SAMPLE)?;
    stage.start_agent()?;
    stage.wait_for_run(1)?;
    stage.tree("/etc", 3)?;
    for file in [
        "/etc/hosts",
        "/etc/shop/memcached.json",
        "/etc/httpd/agentd/current/shop_www.conf",
        "/etc/cron.d/agentd-shop_digest",
    ] {
        stage.show_if_verbose(file)?;
    }
    stage.grep("mysql-master", "/etc/hosts")?;
    stage.ctl(&["why", "/etc/hosts", "mysql-master"], 3)?;
    stage.seen("the box made itself a web server, and every line can say who asked for it.");

    stage.scene(
        "A memcached node leaves",
        "cache-2 is to be replaced: the operator marks it as draining and publishes version 2.",
    );
    let document = stage.edit(
        SAMPLE,
        &[(
            r#""roles": ["memcached"], "products": ["shop"]}"#,
            r#""roles": ["memcached"], "products": ["shop"], "state": "draining"}"#,
        )],
    )?;
    stage.publish_and_wait(&document)?;
    stage.ctl(&["show", "last"], 4)?;
    stage.seen("one edit of the document, and the list of nodes is another on every web server.");

    stage.scene(
        "Another database becomes the master",
        "db-2 goes first in the chain: mysql-master must mean db-2 on every box, at once.",
    );
    let document = stage.edit(
        &document,
        &[(r#"["db-1", "db-2", "db-3"]"#, r#"["db-2", "db-1", "db-3"]"#)],
    )?;
    stage.publish_and_wait(&document)?;
    stage.grep("mysql-master", "/etc/hosts")?;
    stage.seen(
        "mysql-master is db-2 now. On database machines this happens by itself when a master dies.",
    );

    stage.scene(
        "A new site",
        "First at the desk: what would it change on web-1? A plan needs neither the box nor the bucket.",
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
    stage.ctl(
        &[
            "plan",
            "--as",
            "web-1",
            "--document",
            &then,
            "--against",
            &now,
        ],
        5,
    )?;
    stage.publish_and_wait(&next)?;
    stage.ctl(&["history"], 5)?;
    stage.seen("what was planned is what was done. (No Apache runs here: on a real box it tests the new state and is asked for the page.)");

    stage.scene(
        "A broken document",
        "Somebody is in a hurry: a misspelt field, a server that does not exist, an impossible schedule. The desk would not sign\n\
         that, so it is copied into the bucket by hand.",
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
    let file = stage.file("broken.json", &broken)?;
    stage.ctl(&["validate", &file], 3)?;
    let before = stage.fingerprint()?;
    let published = stage.published()?;
    stage.publish_by_hand(&broken)?;
    stage.wait_for_refusal()?;
    stage.ctl(&["status"], 2)?;
    stage.expect_unchanged(&before)?;
    stage.seen("the desk finds it first; and what nobody signed changes not one byte under /etc.");
    stage.put_back(&published)?;
    stage.wait_converged()?;

    stage.scene(
        "Somebody edits a managed file on the box",
        "At 3 a.m., by hand, and forgotten: the node list is emptied.",
    );
    stage.write("/etc/shop/memcached.json", "[]\n")?;
    let took = stage.wait_for_text("/etc/shop/memcached.json", "10.77.0.21")?;
    stage.ctl(&["show", "last"], 5)?;
    stage.seen(&format!(
        "repaired {} ms later, without waiting for a poll; what had been written was kept.",
        took.as_millis()
    ));

    stage.scene(
        "The bucket goes away",
        "The box goes on with its last good document, and mends /etc/hosts, emptied meanwhile, all the same.",
    );
    stage.stop_bucket();
    stage.write("/etc/hosts", "")?;
    stage.wait_for_text("/etc/hosts", "mysql-master")?;
    stage.wait_for_bucket_error()?;
    stage.ctl(&["status"], 3)?;
    stage.seen(
        "nothing is lost while the bucket is away, and the box says how old its document is.",
    );

    stage.scene("The bucket is back", "And all is well.");
    stage.start_bucket(&published)?;
    stage.wait_converged()?;
    stage.ctl(&["status"], 4)?;
    stage.seen("it came back by itself.");
    stage.finish()
}
