//! Promise: sites that were there before the agent's keep serving, and a site counts as served where its visitors come in. On
//! real Apaches, in the layouts of both families.

#![cfg(test)]

use std::time::Duration;

use node_agent_tests::machine::{Fleet, Image};
use node_agent_tests::web::{Run, WebBox};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

/// An Apache with two sites of its administrator's, for these addresses, in a file of this name; no default vhost beside them.
fn web(fleet: &Fleet, image: Image, file: &str, addresses: &str) -> WebBox {
    let web = WebBox::boot(fleet, image, |spec| {
        spec.file("/srv/www/index.html", "the shop")
            .file("/srv/next/index.html", "the next shop")
            .file("/srv/one/index.html", "one")
            .file("/srv/two/index.html", "two")
            .file("/var/www/html/index.html", "the server's own page")
            .file(
                "/etc/agentd/templates/own.conf.j2",
                "<VirtualHost *:{{ port }}>\n    ServerName {{ server_name }}\n{{ probe }}\n</VirtualHost>\n",
            )
    })
    .unwrap();
    if image == Image::Debian {
        web.machine
            .must(&["a2dissite", "--quiet", "000-default"])
            .unwrap();
    }
    let vhost = |name: &str| {
        format!(
            "<VirtualHost {addresses}>\n    ServerName {name}.example.com\n    DocumentRoot /srv/{name}\n    \
             <Directory /srv/{name}>\n        Require all granted\n    </Directory>\n</VirtualHost>\n"
        )
    };
    own(&web, file, &(vhost("one") + &vhost("two")));
    web
}

/// Writes a file of the administrator's and has Apache start with it.
fn own(web: &WebBox, file: &str, text: &str) {
    let dir = match web.machine.image() {
        Image::Debian => "/etc/apache2/sites-enabled",
        Image::CentosLayout => "/etc/httpd/conf.d",
    };
    web.machine
        .write(&format!("{dir}/{file}"), text.as_bytes())
        .unwrap();
    restart(web);
}

fn restart(web: &WebBox) {
    let unit = web.machine.image().apache_unit();
    // So many restarts in a row are none of the box's failures.
    web.machine
        .must(&["systemctl", "reset-failed", unit])
        .unwrap();
    web.machine.must(&["systemctl", "restart", unit]).unwrap();
}

fn shop() -> Value {
    json!({"www": {"domains": ["shop.example.com"], "root": "/srv/www"}})
}

fn published(web: &WebBox, sites: &Value) -> Run {
    web.publish(sites).unwrap();
    web.once().unwrap()
}

/// What a visitor from another machine gets.
fn visit(fleet: &Fleet, host: &str) -> String {
    let host = format!("Host: {host}");
    let curl = [
        "curl",
        "--silent",
        "--max-time",
        "5",
        "--header",
        &host,
        "http://10.77.0.11/",
    ];
    fleet.run(&curl, SOON).unwrap().stdout
}

/// What visitors of the old sites, and of a host that nobody has, get.
fn old_sites(fleet: &Fleet) -> [String; 3] {
    ["one", "two", "nobody"].map(|name| visit(fleet, &format!("{name}.example.com")))
}

/// Nothing was switched, for this reason, and the same version is tried again by itself.
#[track_caller]
fn held(web: &WebBox, run: &Run, reloads: usize, said: &str) {
    assert_eq!(run.code & 4, 4, "{}", run.said);
    assert!(run.said.contains(said), "{}", run.said);
    assert_eq!(web.reloads().unwrap(), reloads);
    assert_eq!(web.generation().unwrap(), "");
    let again = web.once().unwrap();
    assert!(!again.said.contains("QUARANTINED"), "{}", again.said);
}

fn health(web: &WebBox) -> String {
    let status = web.machine.read("/run/agentd/status.json").unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    format!("{} {}", status["health"], status["reasons"])
}

#[test]
fn sites_for_all_addresses_and_ports_keep_serving_on_debian() {
    sites_for_all_addresses_and_ports_keep_serving(Image::Debian);
}

#[test]
fn sites_for_all_addresses_and_ports_keep_serving_on_centos() {
    sites_for_all_addresses_and_ports_keep_serving(Image::CentosLayout);
}

fn sites_for_all_addresses_and_ports_keep_serving(image: Image) {
    for addresses in ["*", "*:*", "_default_", "10.77.0.11:80", "10.77.0.11"] {
        let fleet = Fleet::new().unwrap();
        let web = web(&fleet, image, "one.conf", addresses);
        assert_eq!(old_sites(&fleet), ["one", "two", "one"], "{addresses}");
        let mut sites = shop();
        let run = published(&web, &sites);
        assert_eq!(run.code, 2, "{addresses}: {}", run.said);
        assert_eq!(old_sites(&fleet), ["one", "two", "one"], "{addresses}");
        assert_eq!(visit(&fleet, "shop.example.com"), "the shop", "{addresses}");
        assert!(
            health(&web).starts_with("\"converged\""),
            "{}",
            health(&web)
        );
        // Another change, and all of it gone.
        sites["next"] = json!({"domains": ["next.example.com"], "root": "/srv/next"});
        let run = published(&web, &sites);
        assert_eq!(run.code, 2, "{addresses}: {}", run.said);
        assert_eq!(visit(&fleet, "next.example.com"), "the next shop");
        assert_eq!(old_sites(&fleet), ["one", "two", "one"], "{addresses}");
        web.publish_with(&json!({}), true).unwrap();
        assert_eq!(web.once().unwrap().code, 2);
        assert_eq!(old_sites(&fleet), ["one", "two", "one"], "{addresses}");
    }
}

#[test]
fn where_both_cannot_be_served_the_old_sites_are() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        // On two ports: a site beside them would be reached on both.
        let web = web(&fleet, image, "one.conf", "*");
        own(&web, "ports.conf", "Listen 81\n");
        let reloads = web.reloads().unwrap();
        let run = published(&web, &shop());
        held(&web, &run, reloads, "names no port");
        assert_eq!(old_sites(&fleet), ["one", "two", "one"]);
        // A template that takes the address for itself.
        own(&web, "ports.conf", "");
        let reloads = web.reloads().unwrap();
        let mut sites = shop();
        sites["www"]["template"] = json!("own");
        let run = published(&web, &sites);
        held(&web, &run, reloads, "one.example.com (");
        assert_eq!(old_sites(&fleet), ["one", "two", "one"]);
        // The same version comes true once that is mended.
        let mended = "<VirtualHost {{ listen }}>\n    ServerName {{ server_name }}\n{{ probe }}\n    DocumentRoot {{ root }}\n    <Directory {{ root }}>\n        Require all granted\n    </Directory>\n</VirtualHost>\n";
        web.machine
            .write("/etc/agentd/templates/own.conf.j2", mended.as_bytes())
            .unwrap();
        let run = web.once().unwrap();
        assert_eq!(run.code, 2, "{}", run.said);
        assert_eq!(visit(&fleet, "shop.example.com"), "the shop");
        assert_eq!(old_sites(&fleet), ["one", "two", "one"]);
    }
}

#[test]
fn sites_that_are_read_after_the_agents_are_not_put_behind_them() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = web(&fleet, image, "zzz.conf", "*:80");
        let reloads = web.reloads().unwrap();
        let run = published(&web, &shop());
        held(&web, &run, reloads, "is read after the agent's");
        assert_eq!(old_sites(&fleet), ["one", "two", "one"]);
    }
}

#[test]
fn a_name_that_an_older_site_has_is_told_with_its_file_and_innocent_sites_come_true() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = web(&fleet, image, "one.conf", "*:80");
        let mut sites = shop();
        sites["other"] = json!({"domains": ["two.example.com"], "root": "/srv/next"});
        let run = published(&web, &sites);
        assert_eq!(run.code, 6, "{}", run.said);
        assert!(
            run.said.contains("go to two.example.com (/etc/") && run.said.contains("one.conf:8"),
            "{}",
            run.said
        );
        assert_eq!(visit(&fleet, "shop.example.com"), "the shop");
        assert_eq!(old_sites(&fleet), ["one", "two", "one"]);
        // The same where it is not the first of a site's names.
        sites["other"]["domains"] = json!(["other.example.com", "two.example.com"]);
        let reloads = web.reloads().unwrap();
        let run = published(&web, &sites);
        assert_eq!(run.code & 4, 4, "{}", run.said);
        assert!(
            run.said
                .contains("requests for two.example.com at 10.77.0.11:80 go to two.example.com"),
            "{}",
            run.said
        );
        assert_eq!(web.reloads().unwrap(), reloads);
        assert_ne!(visit(&fleet, "other.example.com"), "the next shop");
        assert_eq!(old_sites(&fleet), ["one", "two", "one"]);
    }
}

#[test]
fn a_site_is_not_called_served_while_nobody_gets_it() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = web(&fleet, image, "one.conf", "*:80");
        let mut sites = shop();
        sites["www"]["root"] = json!("/srv/late");
        let run = published(&web, &sites);
        assert_eq!(run.code, 6, "{}", run.said);
        assert!(
            run.said.contains("its root /srv/late is not there"),
            "{}",
            run.said
        );
        assert!(health(&web).contains("/srv/late"), "{}", health(&web));
        web.machine.must(&["mkdir", "/srv/late"]).unwrap();
        let run = web.once().unwrap();
        assert_eq!(run.code, 0, "{}", run.said);
        assert!(
            health(&web).starts_with("\"converged\""),
            "{}",
            health(&web)
        );

        // There, and closed to the account that Apache serves as.
        let closed = |mode: &str| {
            web.machine.must(&["chmod", mode, "/srv/late"]).unwrap();
            web.once().unwrap()
        };
        let run = closed("700");
        let said = "its root /srv/late is closed to ";
        assert!(run.code & 4 == 4 && run.said.contains(said), "{}", run.said);
        assert!(run.said.contains("chmod o+x /srv/late"), "{}", run.said);
        assert!(health(&web).contains(said), "{}", health(&web));
        let run = closed("755");
        assert_eq!(run.code, 0, "{}", run.said);

        // Apache stopped: nobody is served, so it is started. Masked, it is meant to stand still: that is told.
        let unit = image.apache_unit();
        web.machine.must(&["systemctl", "stop", unit]).unwrap();
        web.once().unwrap();
        assert!(web.machine.is_active(unit), "{}", health(&web));
        web.machine
            .must(&["systemctl", "mask", "--now", "--runtime", unit])
            .unwrap();
        web.once().unwrap();
        assert!(health(&web).contains("does not run"), "{}", health(&web));
        web.machine
            .must(&["systemctl", "unmask", "--runtime", unit])
            .unwrap();

        // For this machine alone.
        let ports = match image {
            Image::Debian => "/etc/apache2/ports.conf",
            Image::CentosLayout => web.main_config(),
        };
        let listen = ["sed", "-i", "s/^Listen 80$/Listen 127.0.0.1:80/", ports];
        web.machine.must(&listen).unwrap();
        restart(&web);
        let run = web.once().unwrap();
        let said = "listens on port 80 at 127.0.0.1 only";
        assert!(run.code & 4 == 4 && run.said.contains(said), "{}", run.said);
        assert!(health(&web).contains(said), "{}", health(&web));
    }
}

#[test]
fn more_sites_than_apache_can_open_logs_for_are_held() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = web(&fleet, image, "one.conf", "*:80");
        let unit = image.apache_unit();
        let drop_in = format!("/etc/systemd/system/{unit}.d/files.conf");
        let limited = |files: u32| {
            let text = format!(
                "[Service]\nLimitNOFILE={files}\nEnvironment=\"APACHE_ULIMIT_MAX_FILES=ulimit -n {files}\"\n"
            );
            web.machine.write(&drop_in, text.as_bytes()).unwrap();
            web.machine.must(&["systemctl", "daemon-reload"]).unwrap();
            restart(&web);
        };
        limited(1024);
        let reloads = web.reloads().unwrap();
        let site = |n: usize| {
            let site = json!({"domains": [format!("s{n}.example.com")], "root": "/srv/www"});
            (format!("s{n}"), site)
        };
        let sites: serde_json::Map<String, Value> = (0..700).map(site).collect();
        let run = published(&web, &Value::Object(sites));
        held(&web, &run, reloads, "LimitNOFILE=4096");
        assert_eq!(old_sites(&fleet), ["one", "two", "one"]);
        limited(4096);
        let run = web.once().unwrap();
        println!("{image:?}: 700 sites {:?}", run.took);
        assert_eq!(run.code, 2, "{}", run.said);
        assert_eq!(visit(&fleet, "s699.example.com"), "the shop");
    }
}

#[test]
fn a_configuration_that_keeps_sites_from_being_served_is_told_as_what_it_is() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = web(&fleet, image, "one.conf", "*:80");
        let main = web.main_config();
        let text = web.machine.read(main).unwrap();
        let change = |text: &str| {
            web.machine.write(main, text.as_bytes()).unwrap();
            restart(&web);
        };
        // Words of Apache 2.2.
        let closed = text.replacen(
            "Require all denied\n",
            "Order deny,allow\n    Deny from all\n",
            1,
        );
        assert_ne!(closed, text);
        change(&closed);
        let reloads = web.reloads().unwrap();
        let run = published(&web, &shop());
        held(&web, &run, reloads, "says `Deny from all` of everything");

        // The agent's file is not read.
        let unread = text.replace(
            "IncludeOptional sites-enabled/*.conf",
            "IncludeOptional sites-enabled/one.conf",
        );
        let unread = unread.replace(
            "IncludeOptional conf.d/*.conf",
            "IncludeOptional conf.d/one.conf",
        );
        assert_ne!(unread, text);
        change(&unread);
        let reloads = web.reloads().unwrap();
        let run = web.once().unwrap();
        held(&web, &run, reloads, "does not include");

        // What nobody sees before it is tried: the right virtual host refuses, and its log says why.
        change(&text);
        own(
            &web,
            "closes.conf",
            "<LocationMatch \"^/\">\n    Order deny,allow\n    Deny from all\n</LocationMatch>\n",
        );
        let run = web.once().unwrap();
        println!("{image:?}: refused after {:?}", run.took);
        assert_eq!(run.code, 4, "{}", run.said);
        assert!(
            run.said
                .contains("it is the right virtual host that refuses")
                && run.said.contains("AH01797"),
            "{}",
            run.said
        );
        assert_eq!(web.generation().unwrap(), "");

        // Mended, the same version comes true by itself.
        own(&web, "closes.conf", "");
        let run = web.once().unwrap();
        assert_eq!(run.code, 2, "{}", run.said);
        assert_eq!(visit(&fleet, "shop.example.com"), "the shop");
        assert_eq!(old_sites(&fleet), ["one", "two", "one"]);
    }
}

#[test]
fn a_server_that_only_a_proxy_may_speak_to_is_asked_as_one() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = web(&fleet, image, "one.conf", "*:80");
        if image == Image::Debian {
            let enable = ["a2enmod", "--quiet", "remoteip"];
            web.machine.must(&enable).unwrap();
        }
        own(&web, "proxy.conf", "RemoteIPProxyProtocol On\n");
        assert_eq!(visit(&fleet, "one.example.com"), "");
        let run = published(&web, &shop());
        println!("{image:?}: behind a proxy {:?}", run.took);
        assert_eq!(run.code, 2, "{}", run.said);
        let host = "Host: shop.example.com";
        let url = "http://10.77.0.11/";
        let curl = [
            "curl",
            "--silent",
            "--haproxy-protocol",
            "--max-time",
            "5",
            "--header",
            host,
            url,
        ];
        assert_eq!(fleet.run(&curl, SOON).unwrap().stdout, "the shop");
    }
}
