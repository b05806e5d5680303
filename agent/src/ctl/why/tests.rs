//! Looking up, on a scratch root with a ledger as a run leaves it.

use std::path::Path;

use super::lookup::Lookup;
use super::text::answer;
use crate::converge::ledger::{Form, Ledger, Owned};
use crate::fleet::Pointer;
use crate::report::text::Paint;
use crate::report::{Kind, StepName};
use crate::resource::{BLOCK_BEGIN, BLOCK_END, LineOrigin, Thing};
use crate::system::digest::sha256_hex;
use crate::system::file::Files;
use crate::system::root::Root;

struct Box {
    dir: tempfile::TempDir,
    ledger: Ledger,
}

const HOSTS: &str = "10.77.0.11 web-1\n10.77.0.31 mysql-master\n";

fn origin(line: Option<u32>, pointer: &str) -> LineOrigin {
    LineOrigin {
        line,
        pointer: Pointer(pointer.into()),
    }
}

fn owned(kind: Kind, step: &str, form: Form, content: &str, origins: Vec<LineOrigin>) -> Owned {
    Owned {
        kind,
        step: StepName(step.into()),
        form,
        digest: sha256_hex(content.as_bytes()),
        shown_as: None,
        origins,
        adopted: false,
        secret: false,
        attributes: None,
        original: None,
        groups: Vec::new(),
        run: 17,
        written: "2026-11-23T02:57:00Z".parse().unwrap(),
        version: 42,
    }
}

fn prepared() -> Box {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a scratch file of a test")]
        std::fs::write(path, text).unwrap();
    };
    put(
        "etc/hosts",
        &format!(
            "127.0.0.1 localhost\n10.0.0.9 mysql-master # by hand\n{BLOCK_BEGIN}\n{HOSTS}{BLOCK_END}\n"
        ),
    );
    put(
        "etc/httpd/agentd/7d1f/shop_www.conf",
        "<VirtualHost *:80>\n",
    );
    put("etc/cron.d/agentd-shop_tick", "edited\n");
    std::os::unix::fs::symlink("7d1f", dir.path().join("etc/httpd/agentd/current")).unwrap();
    let mut ledger = Ledger::default();
    ledger.things.insert(
        Thing::Path("/etc/hosts".into()),
        owned(
            Kind::Hosts,
            "hosts",
            Form::Block,
            HOSTS,
            vec![
                origin(Some(1), "/signed/servers/web-1"),
                origin(Some(2), "/signed/products/shop/database/aliases/master/0"),
            ],
        ),
    );
    ledger.things.insert(
        Thing::Path("/etc/httpd/agentd/7d1f/shop_www.conf".into()),
        Owned {
            shown_as: Some("/etc/httpd/agentd/current/shop_www.conf".into()),
            ..owned(
                Kind::Sites,
                "sites",
                Form::File,
                "<VirtualHost *:80>\n",
                vec![origin(None, "/signed/products/shop/sites/www")],
            )
        },
    );
    ledger.things.insert(
        Thing::Path("/etc/httpd/agentd/current".into()),
        owned(Kind::Sites, "sites", Form::Link, "7d1f", vec![]),
    );
    ledger.things.insert(
        Thing::Path("/etc/cron.d/agentd-shop_tick".into()),
        owned(
            Kind::Cron,
            "cron/shop_tick",
            Form::File,
            "as written\n",
            vec![origin(None, "/signed/products/shop/cron/tick")],
        ),
    );
    ledger.things.insert(
        Thing::Path("/etc/agentd/memcached/shop".into()),
        owned(
            Kind::Cache,
            "cache/shop",
            Form::File,
            "PORT=11211\n",
            vec![origin(None, "/signed/products/shop/cache")],
        ),
    );
    ledger.things.insert(
        Thing::Unit("agentd-memcached@shop.service".into()),
        owned(Kind::Cache, "cache/shop", Form::Unit, "", vec![]),
    );
    Box { dir, ledger }
}

impl Box {
    fn why(&self, subject: &str, name: Option<&str>) -> String {
        let files = Files::new(Root::under(self.dir.path()).unwrap());
        let lookup = Lookup::new(&files, &self.ledger).unwrap();
        let now = "2026-11-23T03:00:00Z".parse().unwrap();
        answer(&lookup.find(subject, name), now, Paint::PLAIN)
    }
}

#[test]
fn a_file_tells_who_asked_for_each_line() {
    insta::assert_snapshot!(prepared().why("/etc/hosts", None), @"
    /etc/hosts: the lines between the node-agent markers are the agent's (hosts)
      asked for by  version 42 of the document
      written by    run 17, 2026-11-23 02:57:00Z (3 min ago)
      now           as the agent wrote it
          4  10.77.0.11 web-1         /signed/servers/web-1
          5  10.77.0.31 mysql-master  /signed/products/shop/database/aliases/master/0
    ");
}

#[test]
fn a_name_picks_its_lines_and_shows_those_that_are_not_ours() {
    insta::assert_snapshot!(prepared().why("/etc/hosts", Some("mysql-master")), @"
    /etc/hosts: the lines between the node-agent markers are the agent's (hosts)
      asked for by  version 42 of the document
      written by    run 17, 2026-11-23 02:57:00Z (3 min ago)
      now           as the agent wrote it
          2  10.0.0.9 mysql-master # by hand  not the agent's: it stands outside the markers
          5  10.77.0.31 mysql-master          /signed/products/shop/database/aliases/master/0
    ");
    insta::assert_snapshot!(prepared().why("/etc/hosts", Some("nobody")), @"
    /etc/hosts: the lines between the node-agent markers are the agent's (hosts)
      asked for by  version 42 of the document
      written by    run 17, 2026-11-23 02:57:00Z (3 min ago)
      now           as the agent wrote it
      no line says nobody
    ");
}

#[test]
fn a_word_is_looked_up_everywhere() {
    let all = prepared();
    assert_eq!(
        all.why("mysql-master", None),
        all.why("/etc/hosts", Some("mysql-master"))
    );
    assert!(
        all.why("mysql", None)
            .contains("no file, line, unit, package, service or account")
    );
}

#[test]
fn a_vhost_is_found_by_every_name_it_has() {
    let all = prepared();
    let shown = all.why("/etc/httpd/agentd/current/shop_www.conf", None);
    insta::assert_snapshot!(shown, @"
    /etc/httpd/agentd/current/shop_www.conf: the whole file is the agent's (sites)
      stands at     /etc/httpd/agentd/7d1f/shop_www.conf
      asked for by  version 42 of the document: /signed/products/shop/sites/www
      written by    run 17, 2026-11-23 02:57:00Z (3 min ago)
      now           as the agent wrote it
    ");
    assert_eq!(shown, all.why("/etc/httpd/agentd/7d1f/shop_www.conf", None));
    assert_eq!(
        shown,
        all.why("/etc/httpd//x/../agentd/current/./shop_www.conf", None)
    );
    let outside = all
        .dir
        .path()
        .join("etc/httpd/agentd/current/shop_www.conf");
    assert_eq!(shown, all.why(outside.to_str().unwrap(), None));
}

#[test]
fn a_link_of_somebody_elses_is_followed() {
    let all = prepared();
    let link = all.dir.path().join("etc/jobs");
    std::os::unix::fs::symlink("/etc/cron.d", link).unwrap();
    let told = all.why("/etc/jobs/agentd-shop_tick", None);
    assert!(told.starts_with("/etc/cron.d/agentd-shop_tick: "), "{told}");
    std::os::unix::fs::symlink("loop", all.dir.path().join("etc/loop")).unwrap();
    assert!(all.why("/etc/loop/x", None).contains("not the agent's"));
}

#[test]
fn drift_and_loss_are_told() {
    let all = prepared();
    insta::assert_snapshot!(all.why("/etc/cron.d/agentd-shop_tick", None), @"
    /etc/cron.d/agentd-shop_tick: the whole file is the agent's (cron/shop_tick)
      asked for by  version 42 of the document: /signed/products/shop/cron/tick
      written by    run 17, 2026-11-23 02:57:00Z (3 min ago)
      now           CHANGED by somebody else since; the next run repairs it (agentctl plan shows how)
    ");
    insta::assert_snapshot!(all.why("/etc/agentd/memcached/shop", None), @"
    /etc/agentd/memcached/shop: the whole file is the agent's (cache/shop)
      asked for by  version 42 of the document: /signed/products/shop/cache
      written by    run 17, 2026-11-23 02:57:00Z (3 min ago)
      now           GONE; the next run puts it back (agentctl plan shows how)
    ");
}

#[test]
fn a_step_shows_all_its_paths() {
    let told = prepared().why("sites", None);
    assert!(told.contains("/etc/httpd/agentd/current: the link is the agent's (sites)"));
    assert!(told.contains("/etc/httpd/agentd/current/shop_www.conf: the whole file"));
    assert!(
        prepared()
            .why("cron/shop_tick", None)
            .starts_with("/etc/cron.d/")
    );
}

#[test]
fn a_unit_tells_what_it_belongs_to() {
    let all = prepared();
    let told = all.why("agentd-memcached@shop.service", None);
    insta::assert_snapshot!(told, @"
    agentd-memcached@shop.service: the agent keeps it enabled and running (cache/shop)
      asked for by  /signed/products/shop/cache
      its files     /etc/agentd/memcached/shop
      how it is     systemctl status agentd-memcached@shop.service
    ");
    assert_eq!(told, all.why("agentd-memcached@shop", None));
}

#[test]
fn what_is_not_ours_is_said_so_with_the_nearest_that_is() {
    let all = prepared();
    insta::assert_snapshot!(all.why("/etc/cron.d/agentd-shop-tick", None), @"
    /etc/cron.d/agentd-shop-tick: not the agent's: it did not write it, and will not touch it
    the nearest that are the agent's:
      /etc/cron.d/agentd-shop_tick
    ");
    insta::assert_snapshot!(all.why("/etc/httpd/agentd", None), @"
    /etc/httpd/agentd: not the agent's: it did not write it, and will not touch it
    the nearest that are the agent's:
      /etc/httpd/agentd/current
      /etc/httpd/agentd/current/shop_www.conf
    ");
    insta::assert_snapshot!(all.why("/opt/thing", None), @"
    /opt/thing: not the agent's: it did not write it, and will not touch it
    ");
    assert!(Path::new("/opt").is_absolute());
}
