//! Promise: a site of the document speaks TLS with the certificate that lies on the machine, sends who comes by plain HTTP on to it,
//! and takes a renewed one by itself. A pair that does not fit is told before Apache hears of it. On real Apaches of both layouts.

#![cfg(test)]

use std::time::Duration;

use node_agent_tests::machine::{Fleet, Image, run};
use node_agent_tests::web::WebBox;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);
const TLS_DIR: &str = "/etc/agentd/tls";

/// Certificates as people get theirs: of an authority of their own.
struct Authority {
    dir: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let authority = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        authority.openssl(&[
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=ca",
            "-keyout", "ca.key", "-out", "ca.pem",
        ]);
        authority
    }

    fn openssl(&self, arguments: &[&str]) {
        let dir = self.dir.path().to_str().unwrap();
        let argv = [&["env", "-C", dir, "openssl"], arguments].concat();
        let output = run(&argv, b"", SOON).unwrap();
        assert!(output.success(), "{output:?}");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    /// A certificate for these names, so many days long, with its key: their texts.
    fn issue(&self, names: &[&str], days: &str) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let names = format!("subjectAltName={}", names.join(","));
        self.openssl(&[
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=site", "-addext", &names,
            "-keyout", "site.key", "-out", "site.csr",
        ]);
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            "site.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-copy_extensions",
            "copy",
            "-days",
            days,
            "-out",
            "site.pem",
        ]);
        (
            self.read("site.pem") + &self.read("ca.pem"),
            self.read("site.key"),
        )
    }

    /// What a browser on the fleet's network gets: the status and where it is sent, or the page.
    fn visit(&self, fleet: &Fleet, url: &str, more: &[&str]) -> String {
        let host = url
            .split("://")
            .nth(1)
            .unwrap()
            .split(['/', ':'])
            .next()
            .unwrap();
        let ca = self.dir.path().join("ca.pem").display().to_string();
        let resolve: Vec<String> = [80, 443, 8443]
            .iter()
            .map(|port| format!("{host}:{port}:10.77.0.11"))
            .collect();
        let mut argv = vec![
            "curl",
            "--silent",
            "--show-error",
            "--max-time",
            "5",
            "--cacert",
            &ca,
        ];
        for one in &resolve {
            argv.extend(["--resolve", one]);
        }
        argv.extend(["--write-out", " %{http_code} %{redirect_url}"]);
        argv.extend(more);
        argv.push(url);
        let said = fleet.run(&argv, SOON).unwrap();
        (said.stdout + &said.stderr).trim().to_owned()
    }
}

fn put(web: &WebBox, name: &str, text: &str) {
    web.machine
        .write(&format!("{TLS_DIR}/{name}"), text.as_bytes())
        .unwrap();
}

fn boot(fleet: &Fleet, image: Image) -> WebBox {
    WebBox::boot(fleet, image, |spec| {
        spec.file("/srv/www/index.html", "the shop")
            .file("/srv/plain/index.html", "the plain one")
            .file(&format!("{TLS_DIR}/README"), "Certificates.\n")
    })
    .unwrap()
}

/// As an administrator would.
fn load_modules(web: &WebBox) {
    let unit = web.machine.image().apache_unit();
    match web.machine.image() {
        Image::Debian => {
            let a2enmod = ["a2enmod", "--quiet", "ssl", "headers", "rewrite", "http2"];
            web.machine.must(&a2enmod).unwrap();
        }
        Image::CentosLayout => {
            let main = web.machine.read(web.main_config()).unwrap();
            let missing = ["socache_shmcb", "ssl", "headers", "rewrite", "http2"]
                .into_iter()
                .filter(|module| !main.contains(&format!("LoadModule {module}_module")));
            let lines: Vec<String> = missing
                .map(|module| format!("LoadModule {module}_module modules/mod_{module}.so\n"))
                .collect();
            web.machine
                .write("/etc/httpd/conf.d/00-tls.conf", lines.concat().as_bytes())
                .unwrap();
        }
    }
    web.machine.must(&["systemctl", "restart", unit]).unwrap();
}

fn sites() -> Value {
    json!({
        "www": {
            "domains": ["shop.example.com", "www.shop.example.com", "*.img.example.com"],
            "root": "/srv/www",
            "tls": {
                "certificate": format!("{TLS_DIR}/shop.pem"),
                "key": {"secret": {"file": format!("{TLS_DIR}/shop.key")}},
                "redirect": true,
                "hsts": "30d"
            }
        },
        "plain": {"domains": ["plain.example.com"], "root": "/srv/plain"}
    })
}

const NAMES: [&str; 3] = [
    "shop.example.com",
    "www.shop.example.com",
    "*.img.example.com",
];

#[test]
fn a_site_speaks_tls_on_debian() {
    a_site_speaks_tls(Image::Debian);
}

#[test]
fn a_site_speaks_tls_on_centos() {
    a_site_speaks_tls(Image::CentosLayout);
}

fn a_site_speaks_tls(image: Image) {
    let fleet = Fleet::new().unwrap();
    let web = boot(&fleet, image);
    let authority = Authority::new();
    let (certificate, key) = authority.issue(&NAMES, "20");
    put(&web, "shop.pem", &certificate);

    // Without the module, and without the key, the other site comes true and this one is told.
    web.publish(&sites()).unwrap();
    let run = web.once().unwrap();
    let said = if image == Image::Debian {
        "a2enmod ssl"
    } else {
        "LoadModule ssl_module"
    };
    assert!(run.code & 4 == 4 && run.said.contains(said), "{}", run.said);
    load_modules(&web);
    let run = web.once().unwrap();
    assert!(run.said.contains("shop.key is not there"), "{}", run.said);
    assert_eq!(
        authority.visit(&fleet, "http://plain.example.com/", &[]),
        "the plain one 200"
    );
    let (_, foreign) = authority.issue(&["other.example.com"], "20");
    put(&web, "shop.key", &foreign);
    let run = web.once().unwrap();
    assert!(
        run.said.contains("is not that of the certificate"),
        "{}",
        run.said
    );

    put(&web, "shop.key", &key);
    let run = web.once().unwrap();
    assert_eq!(run.code, 2, "{}", run.said);
    assert!(
        run.said.contains("every account of this machine can read"),
        "{}",
        run.said
    );
    let key_file = format!("{TLS_DIR}/shop.key");
    web.machine.must(&["chmod", "600", &key_file]).unwrap();
    let said = web.once().unwrap().said;
    assert!(!said.contains("every account"), "{said}");
    let visit = |url: &str, more: &[&str]| authority.visit(&fleet, url, more);
    for host in [
        "shop.example.com",
        "www.shop.example.com",
        "a.img.example.com",
    ] {
        assert_eq!(visit(&format!("https://{host}/"), &[]), "the shop 200");
        let sent = visit(
            &format!("http://{host}/a/b?c=d"),
            &["--output", "/dev/null"],
        );
        assert_eq!(sent, format!("301 https://{host}/a/b?c=d"));
    }
    let headers = visit("https://shop.example.com/", &["--head", "--http2"]);
    assert!(
        headers
            .to_lowercase()
            .contains("strict-transport-security: max-age=2592000"),
        "{headers}"
    );
    assert!(headers.starts_with("HTTP/2 200"), "{headers}");
    assert!(visit("https://shop.example.com/", &["--tls-max", "1.1"]).contains("000"));
    // Hosts that no site has get no site's pages.
    let unknown = visit("https://nobody.example.com/", &["--insecure"]);
    assert!(!unknown.contains("the shop"), "{unknown}");
    assert_eq!(visit("http://plain.example.com/", &[]), "the plain one 200");
    assert_eq!(web.once().unwrap().code, 0);

    // A renewed one is read; one that is for other names, or about to end, is told.
    let (renewed, key) = authority.issue(&["shop.example.com"], "3");
    put(&web, "shop.key", &key);
    put(&web, "shop.pem", &renewed);
    let run = web.once().unwrap();
    assert!(
        run.said
            .contains("not for www.shop.example.com, *.img.example.com"),
        "{}",
        run.said
    );
    assert!(run.said.contains("ends in "), "{}", run.said);
    assert_eq!(visit("https://shop.example.com/", &[]), "the shop 200");
    let refused = visit("https://www.shop.example.com/", &[]);
    assert!(
        refused.contains("no alternative certificate subject name matches"),
        "{refused}"
    );

    // A damaged one harms nobody: Apache goes on with what it has read.
    put(&web, "shop.pem", "-----BEGIN CERTIFICATE-----\nhalf");
    let run = web.once().unwrap();
    assert!(
        run.code & 4 == 4 && run.said.contains("shop.pem"),
        "{}",
        run.said
    );
    assert_eq!(visit("https://shop.example.com/", &[]), "the shop 200");
}
