//! What hosters ask of a site, as real Apaches do it in the layouts of both families: each field of the document is published,
//! and what visitors get is looked at.

use std::time::Duration;

use node_agent_tests::machine::{Fleet, Image, MachineSpec, TEST_ADDRESS};
use node_agent_tests::web::WebBox;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

/// What a PHP server would run: here a program that says so.
const PROGRAM: &str = "#!/bin/sh\nprintf '\\nran here'\n";

#[cfg(test)]
fn boot(fleet: &Fleet, image: Image) -> WebBox {
    WebBox::boot(fleet, image, server).unwrap()
}

fn server(spec: MachineSpec) -> MachineSpec {
    spec.file("/srv/www/index.html", "the shop")
        .file("/srv/www/dir/index.html", "a directory")
        .file("/srv/www/list/one.txt", "one")
        .file(
            "/srv/www/ht/.htaccess",
            "Header set X-Ht yes\nErrorDocument 404 \"from .htaccess\"\n",
        )
        .file("/srv/www/closed/.htaccess", "Require all denied\n")
        .file("/srv/www/closed/a.txt", "a secret")
        .file("/srv/www/errors/403.html", "our page for 403")
        .file("/srv/www/errors/404.html", "our page for 404")
        .file("/srv/other/index.html", "the other")
        .file("/srv/all/index.html", "everything else")
        .file("/srv/My Sites/new shop/index.html", "a root with spaces")
        .file("/srv/My Media/a b.txt", "media with spaces")
        .file("/var/www/html/index.html", "the server's own page")
}

/// Has Apache load a module, as an administrator would.
#[cfg(test)]
fn enable(web: &WebBox, modules: &[&str]) {
    if web.machine.image() == Image::Debian {
        let a2enmod = [&["a2enmod", "--quiet"], modules].concat();
        web.machine.must(&a2enmod).unwrap();
        web.machine
            .must(&["systemctl", "restart", "apache2.service"])
            .unwrap();
    }
}

/// Publishes these sites and has them come true.
#[cfg(test)]
#[track_caller]
fn served(web: &WebBox, sites: &Value) {
    web.publish(sites).unwrap();
    let run = web.once().unwrap();
    assert_eq!(run.code, 2, "{}", run.said);
}

/// What a visitor on the fleet's network gets: the status, then the body.
#[cfg(test)]
fn visit(fleet: &Fleet, port: u16, host: &str, path: &str, more: &[&str]) -> (u16, String) {
    let (url, host) = (
        format!("http://10.77.0.11:{port}{path}"),
        format!("Host: {host}"),
    );
    let curl = ["curl", "--silent", "--max-time", "5", "--path-as-is"];
    let form = [
        "--write-out",
        "\n%{http_code} %{redirect_url}",
        "--header",
        &host,
    ];
    let argv = [&curl[..], &form[..], more, &[url.as_str()]].concat();
    let said = fleet.run(&argv, SOON).unwrap().stdout;
    let (body, status) = said.rsplit_once('\n').unwrap();
    let (code, location) = status.split_once(' ').unwrap();
    let body = if location.is_empty() { body } else { location };
    (code.parse().unwrap(), body.to_owned())
}

#[cfg(test)]
fn page(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

#[test]
fn exact_names_go_before_wildcards_and_wildcards_before_the_rest() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = boot(&fleet, image);
        // The names of the sites would have it the other way round.
        served(
            &web,
            &json!({
                "a-all": {"domains": ["all.example.com", "*"], "root": "/srv/all"},
                "b-wide": {"domains": ["wide.example.com", "*.example.com", "x.shop.example.com"], "root": "/srv/www"},
                "c-shop": {"domains": ["shop.example.com", "*.shop.example.com", "mine.example.com"], "root": "/srv/other", "ports": [80, 8080]},
            }),
        );
        let get = |port, host: &str| visit(&fleet, port, host, "/", &[]);
        assert_eq!(get(80, "wide.example.com"), page("the shop"));
        assert_eq!(get(80, "any.example.com"), page("the shop"));
        assert_eq!(get(80, "x.shop.example.com"), page("the shop"));
        assert_eq!(get(80, "shop.example.com"), page("the other"));
        assert_eq!(get(80, "mine.example.com"), page("the other"));
        assert_eq!(get(80, "y.shop.example.com"), page("the other"));
        assert_eq!(get(80, "a.b.shop.example.com"), page("the other"));
        assert_eq!(get(80, "all.example.com"), page("everything else"));
        assert_eq!(get(80, "nobody.example.org"), page("everything else"));
        assert_eq!(get(80, "192.0.2.1"), page("everything else"));
        // Several ports, and only on them.
        assert_eq!(get(8080, "shop.example.com"), page("the other"));
        assert_eq!(get(8080, "y.shop.example.com"), page("the other"));
        assert_eq!(get(8080, "wide.example.com").0, 404);
        // A balancer that sends no name is answered all the same.
        let health = "/.well-known/node-agent";
        assert_eq!(
            visit(&fleet, 80, "192.0.2.1", health, &[]),
            page("serving\n")
        );
        // Apache says of each which it is, wildcards included.
        for (port, host, site) in [
            (80, "any.example.org", "a-all"),
            (80, "any.example.com", "b-wide"),
            (8080, "z.shop.example.com", "c-shop"),
        ] {
            assert!(web.proves(port, host, site).unwrap(), "{site}");
        }
        assert_eq!(web.once().unwrap().code, 0);
    }
}

#[test]
fn a_site_that_only_redirects_takes_everybody_along() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = boot(&fleet, image);
        served(
            &web,
            &json!({
                "moved": {"domains": ["old.example.com", "*.old.example.com"], "redirect": {"to": "https://new.example.com/shop/", "status": 308}},
                "gone": {"domains": ["gone.example.com"], "redirect": {"to": "https://new.example.com/?from=gone&now=1", "keep_path": false}},
                "www": {"domains": ["shop.example.com"], "root": "/srv/www"},
            }),
        );
        let get = |host: &str, path: &str| visit(&fleet, 80, host, path, &[]);
        let to = |status, url: &str| (status, format!("https://new.example.com/{url}"));
        assert_eq!(get("old.example.com", "/"), to(308, "shop/"));
        assert_eq!(
            get("a.old.example.com", "/a%20b/c.html?x=1&y=2"),
            to(308, "shop/a%20b/c.html?x=1&y=2")
        );
        assert_eq!(
            get("old.example.com", "/.git/config"),
            to(308, "shop/.git/config")
        );
        // Neither another host nor another header can be asked for.
        assert_eq!(
            get("old.example.com", "/%0d%0aX-Evil:%201"),
            to(308, "shop/%0d%0aX-Evil:%201")
        );
        assert!(
            get("old.example.com", "//evil.example.com/")
                .1
                .starts_with("https://new.example.com/shop/")
        );
        assert_eq!(
            get("gone.example.com", "/any/where"),
            to(302, "?from=gone&now=1")
        );
        assert_eq!(get("shop.example.com", "/"), page("the shop"));
        assert!(web.proves(80, "old.example.com", "moved").unwrap());
    }
}

#[test]
fn behind_a_balancer_the_site_sees_the_visitor() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = boot(&fleet, image);
        let sites = json!({
            "www": {
                "domains": ["shop.example.com"], "root": "/srv/www", "scheme": "https",
                "trusted_proxies": ["10.77.0.0/24"], "allow": ["203.0.113.0/24", "10.5.0.0/16"],
                "access_log": "%a %{c}a \"%r\" %>s",
            },
            "other": {"domains": ["other.example.com"], "root": "/srv/other"},
        });
        if image == Image::Debian {
            // Debian loads mod_remoteip only when asked to: without it `allow` would see the balancer.
            web.publish(&sites).unwrap();
            let run = web.once().unwrap();
            assert_eq!(run.code, 6, "{}", run.said);
            assert!(run.said.contains("a2enmod remoteip"), "{}", run.said);
            assert_eq!(
                visit(&fleet, 80, "shop.example.com", "/", &[]),
                page("the server's own page")
            );
            assert_eq!(
                visit(&fleet, 80, "other.example.com", "/", &[]),
                page("the other")
            );
            enable(&web, &["remoteip"]);
            // Nobody has to ask for it again.
            assert_eq!(web.once().unwrap().code, 2);
        } else {
            served(&web, &sites);
        }
        let from = |client: &str, path: &str| {
            let header = format!("X-Forwarded-For: {client}");
            visit(&fleet, 80, "shop.example.com", path, &["--header", &header])
        };
        assert_eq!(from("203.0.113.7", "/"), page("the shop"));
        assert_eq!(from("10.5.1.1", "/"), page("the shop"));
        assert_eq!(from("198.51.100.1", "/").0, 403);
        // What a client says of itself before the balancer's word counts for nothing.
        assert_eq!(from("203.0.113.7, 198.51.100.1", "/").0, 403);
        // Without a word of who it is, the balancer is nobody to let in.
        assert_eq!(visit(&fleet, 80, "shop.example.com", "/", &[]).0, 403);
        // Redirects of Apache's own are to what the visitor typed.
        assert_eq!(
            from("203.0.113.7", "/dir"),
            (301, "https://shop.example.com/dir/".to_owned())
        );
        let log = format!("{}/shop_www-access.log", web.log_dir());
        let log = web.machine.read(&log).unwrap();
        let line = format!("203.0.113.7 {TEST_ADDRESS} \"GET / HTTP/1.1\" 200");
        assert!(log.contains(&line), "{log}");
        assert!(web.proves(80, "shop.example.com", "www").unwrap());
        // Who is not the balancer is believed nothing.
        let mut elsewhere = sites.clone();
        elsewhere["www"]["trusted_proxies"] = json!(["192.0.2.0/24"]);
        served(&web, &elsewhere);
        assert_eq!(from("203.0.113.7", "/").0, 403);
    }
}

#[test]
fn no_php_runs_or_shows_where_uploads_land() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let handler = "LoadModule cgid_module MODULES/mod_cgid.so\nScriptSock /run/cgid.sock\n<FilesMatch \"\\.php$\">\n    SetHandler cgi-script\n</FilesMatch>\nAddHandler cgi-script .php5\n<Directory /srv>\n    Options +ExecCGI\n</Directory>\n";
        let (conf, modules) = match image {
            Image::Debian => (
                "/etc/apache2/conf-enabled/php.conf",
                "/usr/lib/apache2/modules",
            ),
            Image::CentosLayout => ("/etc/httpd/conf.d/php.conf", "modules"),
        };
        let web = WebBox::boot(&fleet, image, |spec| {
            server(spec)
                .file(conf, handler.replace("MODULES", modules))
                .file("/srv/www/uploads/.htaccess", "Options +ExecCGI\nSetHandler cgi-script\nAddHandler cgi-script .jpg\n<FilesMatch .>\n    Require all granted\n    SetHandler cgi-script\n</FilesMatch>\n")
                .file("/srv/www/files/in/.htaccess", "Require all denied\n")
                .file("/srv/www/files/in/a.txt", "closed")
                .file("/srv/www/uploads/a.jpg", "a picture")
                .file("/srv/media/b.jpg", "media")
        })
        .unwrap();
        for path in [
            "www/a.php",
            "www/uploads/a.php",
            "www/uploads/a.PHP",
            "www/uploads/a.php5.txt",
            "www/uploads/sub/a.phtml",
            "www/uploads/fake.jpg",
            "media/a.php",
            "media/b.phar",
        ] {
            let path = format!("/srv/{path}");
            web.machine.write(&path, PROGRAM.as_bytes()).unwrap();
            web.machine.must(&["chmod", "755", &path]).unwrap();
        }
        let mut site = json!({"www": {
            "domains": ["shop.example.com"], "root": "/srv/www", "aliases": {"/uploads/media": "/srv/media"},
            "options": ["FollowSymLinks", "ExecCGI"],
        }});
        served(&web, &site);
        let get = |path: &str| visit(&fleet, 80, "shop.example.com", path, &[]);
        assert_eq!(get("/a.php"), page("ran here"));
        assert_eq!(get("/uploads/a.php"), page("ran here"));
        assert_eq!(get("/uploads/fake.jpg"), page("ran here"));

        site["www"]["no_php"] = json!(["/uploads/", "/files"]);
        served(&web, &site);
        assert_eq!(get("/a.php"), page("ran here"));
        for path in [
            "a.php",
            "a.php/x.jpg",
            "/a.php",
            "a.PHP",
            "a.php5.txt",
            "sub/a.phtml",
            "media/a.php",
            "media/b.phar",
            "../uploads/a.php",
        ] {
            let (code, body) = get(&format!("/uploads/{path}"));
            assert!(
                code == 403 && !body.contains("ran here") && !body.contains("printf"),
                "{path}: {code} {body}"
            );
        }
        // What is no PHP is served, whatever an uploaded .htaccess says of it, and never run.
        assert_eq!(get("/uploads/a.jpg"), page("a picture"));
        assert_eq!(get("/uploads/media/b.jpg"), page("media"));
        assert_eq!(get("/uploads/fake.jpg"), page(PROGRAM));
        // What an .htaccess closes stays closed.
        assert_eq!(get("/files/in/a.txt").0, 403);
    }
}

#[test]
fn overrides_options_and_pages_for_errors_are_as_written() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = boot(&fleet, image);
        enable(&web, &["headers"]);
        let mut site = json!({"www": {
            "domains": ["shop.example.com"], "root": "/srv/www",
            "error_documents": {"403": "/errors/403.html", "404": "/errors/404.html"},
        }});
        served(&web, &site);
        let get = |path: &str| visit(&fleet, 80, "shop.example.com", path, &[]);
        assert_eq!(get("/none"), (404, "our page for 404".to_owned()));
        assert_eq!(get("/ht/none"), (404, "from .htaccess".to_owned()));
        assert_eq!(get("/closed/a.txt"), (403, "our page for 403".to_owned()));
        assert_eq!(get("/list/").0, 403);

        site["www"]["options"] = json!(["FollowSymLinks", "Indexes"]);
        site["www"]["allow_override"] = json!([]);
        served(&web, &site);
        let (code, body) = get("/list/");
        assert!(code == 200 && body.contains("one.txt"), "{code} {body}");
        assert_eq!(get("/ht/none"), (404, "our page for 404".to_owned()));
        assert_eq!(get("/closed/a.txt"), page("a secret"));

        site["www"]["allow_override"] = json!(["AuthConfig", "FileInfo"]);
        served(&web, &site);
        assert_eq!(get("/ht/none"), (404, "from .htaccess".to_owned()));
        assert_eq!(get("/closed/a.txt").0, 403);

        // Who may not come in sees the page that says so, and nothing else.
        site["www"]["allow"] = json!(["203.0.113.0/24"]);
        served(&web, &site);
        assert_eq!(get("/"), (403, "our page for 403".to_owned()));
        assert_eq!(
            get("/errors/404.html"),
            (403, "our page for 403".to_owned())
        );
    }
}

#[test]
fn a_password_is_asked_for_by_the_file() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = boot(&fleet, image);
        let mut sites = json!({
            "www": {
                "domains": ["shop.example.com"], "root": "/srv/www",
                "auth": {"file": "/etc/shop/users", "realm": "The shop's office"},
            },
            "other": {"domains": ["other.example.com"], "root": "/srv/other"},
        });
        let get = |more: &[&str]| visit(&fleet, 80, "shop.example.com", "/", more);
        // A file that is not there, or that Apache cannot read, would answer everybody with an error.
        web.publish(&sites).unwrap();
        let run = web.once().unwrap();
        assert_eq!(run.code, 6, "{}", run.said);
        assert!(
            run.said.contains("/etc/shop/users is not there"),
            "{}",
            run.said
        );
        assert_eq!(get(&[]), page("the server's own page"));
        let password = fleet.run(&["openssl", "passwd", "-apr1", "secret"], SOON);
        let line = format!("bob:{}\n", password.unwrap().stdout.trim());
        web.machine
            .write("/etc/shop/users", line.as_bytes())
            .unwrap();
        web.machine
            .must(&["chmod", "600", "/etc/shop/users"])
            .unwrap();
        let run = web.once().unwrap();
        assert!(
            run.said.contains("chmod 640 /etc/shop/users"),
            "{}",
            run.said
        );
        assert_eq!(get(&[]), page("the server's own page"));
        web.machine
            .must(&["chmod", "644", "/etc/shop/users"])
            .unwrap();
        let run = web.once().unwrap();
        assert_eq!(run.code, 2, "{}", run.said);

        assert_eq!(get(&[]).0, 401);
        assert_eq!(get(&["--user", "bob:wrong"]).0, 401);
        assert_eq!(get(&["--user", "bob:secret"]), page("the shop"));
        let headers = web.headers("shop.example.com", "/").unwrap();
        let asked = (
            "WWW-Authenticate".to_owned(),
            "Basic realm=\"The shop's office\"".to_owned(),
        );
        assert!(headers.contains(&asked), "{headers:?}");
        assert!(web.proves(80, "shop.example.com", "www").unwrap());

        // An address and the password, or one of them.
        sites["www"]["allow"] = json!(["203.0.113.0/24"]);
        served(&web, &sites);
        assert_eq!(get(&["--user", "bob:secret"]).0, 403);
        sites["www"]["auth"]["satisfy"] = json!("any");
        served(&web, &sites);
        assert_eq!(get(&["--user", "bob:secret"]), page("the shop"));
        assert_eq!(get(&[]).0, 401);
        sites["www"]["allow"] = json!([format!("{TEST_ADDRESS}")]);
        served(&web, &sites);
        assert_eq!(get(&[]), page("the shop"));
        sites["www"]["auth"]["satisfy"] = json!("all");
        served(&web, &sites);
        assert_eq!(get(&[]).0, 401);
        assert_eq!(get(&["--user", "bob:secret"]), page("the shop"));
    }
}

#[test]
fn logs_headers_and_directories_are_as_written() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = boot(&fleet, image);
        enable(&web, &["headers"]);
        let long: String = "default-src 'self' https://a.example.com; ".repeat(195);
        assert_eq!(long.trim().len(), 8189);
        let long = format!("{}.", long.trim());
        served(
            &web,
            &json!({
                "quiet": {"domains": ["quiet.example.com"], "root": "/srv/other", "access_log": "off"},
                "own": {"domains": ["own.example.com"], "root": "/srv/www", "access_log": "\"%m\"\\t%U ${HOME} \\\\ %>s"},
                "common": {"domains": ["common.example.com"], "root": "/srv/www", "access_log": "common"},
                "spaces": {
                    "domains": ["spaces.example.com"], "root": "/srv/My Sites/new shop", "aliases": {"/media": "/srv/My Media"},
                    "headers": {"Content-Security-Policy": long},
                },
            }),
        );
        let get = |host: &str, path: &str| visit(&fleet, 80, host, path, &[]);
        assert_eq!(get("spaces.example.com", "/"), page("a root with spaces"));
        assert_eq!(
            get("spaces.example.com", "/media/a%20b.txt"),
            page("media with spaces")
        );
        let headers = web.headers("spaces.example.com", "/").unwrap();
        assert!(headers.contains(&("Content-Security-Policy".to_owned(), long.clone())));
        assert_eq!(get("quiet.example.com", "/quiet-one").0, 404);
        assert_eq!(get("own.example.com", "/dir/").0, 200);
        assert_eq!(get("common.example.com", "/").0, 200);
        let log = |name: &str| {
            web.machine
                .read(&format!("{}/shop_{name}-access.log", web.log_dir()))
        };
        let own = log("own").unwrap();
        assert!(
            own.contains("\"GET\"\t/dir/index.html ${HOME} \\ 200\n"),
            "{own}"
        );
        // Debian counts the bytes of the headers too.
        let common = log("common").unwrap();
        assert!(common.contains("\"GET / HTTP/1.1\" 200 "), "{common}");
        assert!(!common.contains("curl/"), "{common}");
        assert!(log("quiet").is_err());
        // Nowhere else either.
        let found = [
            "sh",
            "-c",
            "grep -rlF quiet-one /var/log/apache2 /var/log/httpd 2>/dev/null | grep access; true",
        ];
        assert_eq!(web.machine.must(&found).unwrap(), "");
    }
}
