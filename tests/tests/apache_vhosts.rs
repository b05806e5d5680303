//! Vhosts as real Apaches read them, in the layouts of both families: what each site answers, and to whom.

use std::time::Duration;

use node_agent_tests::machine::{Fleet, Image, MachineSpec};
use node_agent_tests::web::WebBox;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

/// Legal values that Apache's quotes, formats, variables or expressions would spoil where they are not escaped.
const HOSTILE: [&str; 18] = [
    "max-age=31536000; includeSubDomains",
    r#"he said "no""#,
    r"C:\new\table\",
    r#"\" \\ \\" "\"#,
    "100% %t %D %{HOST}i %{PATH}e %%",
    "%",
    r"\n\r\t literally",
    "${HOME} ${AGENTD_GENERATION} ${AGENTD_DOLLAR}{HOME} $1 $$ ${",
    "$",
    "# no comment",
    "'single' and \"double\"",
    "expr=%{REQUEST_URI} $1 ${HOME} \\n \"q\"",
    "expr=",
    "expr=100%",
    "<VirtualHost *:80>",
    "early",
    "default-src 'self'; script-src 'nonce-%{UNIQUE_ID}e' https://*.example.com",
    " !\"#$%&'()*+,-./0123456789:;<=>?@[\\]^_`{|}~",
];

fn server(image: Image) -> impl FnOnce(MachineSpec) -> MachineSpec {
    move |spec| {
        let spec = spec
            .file("/srv/www/index.html", "the shop")
            .file("/srv/www/page.html", "a page")
            .file("/srv/www/.git/config", "a secret")
            .file("/srv/www/.well-known/security.txt", "a contact")
            .file("/srv/www/files/one.txt", "in a directory without index")
            .file("/srv/www/closed/.htaccess", "Require all denied\n")
            .file("/srv/www/closed/secret.txt", "a secret")
            .file("/srv/media/a.txt", "small media")
            .file("/srv/big/b.txt", "big media")
            .file("/srv/office/index.html", "the office")
            .file("/srv/office/.htaccess", "Require all granted\n")
            .file("/srv/inner/index.html", "the inner")
            .file("/srv/next/index.html", "the next shop")
            .file("/var/www/html/index.html", "the server's own page");
        match image {
            Image::Debian => spec,
            Image::CentosLayout => spec.file(
                "/etc/httpd/conf.d/own.conf",
                "RewriteEngine on\nRewriteRule ^/old$ - [F]\n",
            ),
        }
    }
}

fn sites() -> Value {
    json!({
        "www": {
            "domains": ["shop.example.com", "www.shop.example.com"], "root": "/srv/www",
            "aliases": {"/media/": "/srv/media", "/media/big": "/srv/big"},
        },
        "office": {"domains": ["office.example.com"], "root": "/srv/office", "port": 8080, "allow": ["10.77.0.99", "fd00::/8"]},
        "inner": {"domains": ["inner.example.com"], "root": "/srv/inner", "allow": ["127.0.0.1", "10.77.0.200/29"]},
    })
}

/// The status code that the test's own address gets.
#[cfg(test)]
fn from_outside(fleet: &Fleet, port: u16, host: &str, path: &str) -> String {
    let (url, host) = (
        format!("http://10.77.0.11:{port}{path}"),
        format!("Host: {host}"),
    );
    let curl = [
        "curl",
        "--silent",
        "--max-time",
        "5",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
        "--header",
        &host,
        &url,
    ];
    fleet.run(&curl, SOON).unwrap().stdout
}

#[test]
fn each_site_answers_as_written_on_debian() {
    each_site_answers_as_written(Image::Debian);
}

#[test]
fn each_site_answers_as_written_on_centos() {
    each_site_answers_as_written(Image::CentosLayout);
}

#[cfg(test)]
fn each_site_answers_as_written(image: Image) {
    let fleet = Fleet::new().unwrap();
    let web = WebBox::boot(&fleet, image, server(image)).unwrap();
    let page = |text: &str| Some((200, text.to_owned()));
    let code = |port, host: &str, path: &str| web.ask(port, host, path).map(|(code, _)| code);
    assert_eq!(
        web.ask(80, "nobody.example.com", "/"),
        page("the server's own page")
    );

    web.publish(&sites()).unwrap();
    let run = web.once().unwrap();
    println!("{image:?}: first run {:?}", run.took);
    assert_eq!(run.code, 2, "{}", run.said);

    // Sites, by each of their names.
    assert_eq!(web.ask(80, "shop.example.com", "/"), page("the shop"));
    assert_eq!(
        web.ask(80, "www.shop.example.com", "/page.html"),
        page("a page")
    );
    assert_eq!(web.ask(80, "SHOP.example.com:80", "/"), page("the shop"));
    for (port, host, site) in [
        (80, "shop.example.com", "www"),
        (8080, "office.example.com", "office"),
        (80, "inner.example.com", "inner"),
    ] {
        assert!(web.proves(port, host, site).unwrap(), "{site}");
    }
    let proof = format!("/.well-known/node-agent/{}", web.generation().unwrap());
    assert_eq!(from_outside(&fleet, 80, "shop.example.com", &proof), "403");

    // Aliases: the longest first, and none beyond its own path.
    assert_eq!(
        web.ask(80, "shop.example.com", "/media/a.txt"),
        page("small media")
    );
    assert_eq!(
        web.ask(80, "shop.example.com", "/media/big/b.txt"),
        page("big media")
    );
    assert_eq!(code(80, "shop.example.com", "/mediaa.txt"), Some(404));
    // Hidden files, lists of files, what .htaccess closes.
    assert_eq!(code(80, "shop.example.com", "/.git/config"), Some(404));
    assert_eq!(
        web.ask(80, "shop.example.com", "/.well-known/security.txt"),
        page("a contact")
    );
    assert_eq!(code(80, "shop.example.com", "/files/"), Some(403));
    assert_eq!(
        code(80, "shop.example.com", "/closed/secret.txt"),
        Some(403)
    );

    // Allow lists; an .htaccess cannot widen one.
    assert_eq!(code(8080, "office.example.com", "/"), Some(403));
    assert_eq!(from_outside(&fleet, 8080, "office.example.com", "/"), "403");
    assert_eq!(web.ask(80, "inner.example.com", "/"), page("the inner"));
    assert_eq!(from_outside(&fleet, 80, "inner.example.com", "/"), "403");
    assert_eq!(from_outside(&fleet, 80, "shop.example.com", "/"), "200");

    // Unknown hosts: as before on Apache's own port, nobody on the sites' own.
    assert_eq!(
        web.ask(80, "nobody.example.com", "/"),
        page("the server's own page")
    );
    assert_eq!(code(8080, "nobody.example.com", "/"), Some(404));
    assert_eq!(
        web.ask(8080, "10.77.0.11", "/.well-known/node-agent"),
        page("serving\n")
    );
    if image == Image::CentosLayout {
        // The server's own rewriting goes with its own pages, and with them only.
        assert_eq!(code(80, "nobody.example.com", "/old"), Some(403));
        assert_eq!(code(80, "shop.example.com", "/old"), Some(404));
        assert_eq!(
            web.ask(80, "10.77.0.11", "/.well-known/node-agent"),
            page("serving\n")
        );
    }

    // Logs of each site's own.
    let log = |name: &str| {
        web.machine
            .read(&format!("{}/shop_{name}.log", web.log_dir()))
    };
    let access = log("www-access").unwrap();
    assert!(
        access.contains("\"GET /media/a.txt HTTP/1.1\" 200"),
        "{access}"
    );
    assert!(!access.contains("nobody"), "{access}");
    assert!(
        log("inner-error").unwrap().contains("AH01630"),
        "the refused client is in the site's own log"
    );

    // A second run has nothing to do.
    let reloads = web.reloads().unwrap();
    let again = web.once().unwrap();
    assert_eq!(
        (again.code, web.reloads().unwrap()),
        (0, reloads),
        "{}",
        again.said
    );

    // Another site on another new port: a graceful reload opens it.
    let mut more = sites();
    more["next"] = json!({"domains": ["next.example.com"], "root": "/srv/next", "port": 9090});
    web.publish(&more).unwrap();
    assert_eq!(from_outside(&fleet, 9090, "next.example.com", "/"), "000");
    let run = web.once().unwrap();
    println!("{image:?}: a site on a new port {:?}", run.took);
    assert_eq!(run.code, 2, "{}", run.said);
    assert_eq!(from_outside(&fleet, 9090, "next.example.com", "/"), "200");
    assert_eq!(
        web.ask(9090, "next.example.com", "/"),
        page("the next shop")
    );
    assert_eq!(web.reloads().unwrap(), reloads + 1);
    assert_eq!(web.generations().unwrap(), [web.generation().unwrap()]);

    // All of them gone: Apache is as it was.
    web.publish_with(&json!({}), true).unwrap();
    assert_eq!(web.once().unwrap().code, 2);
    assert_eq!(
        web.ask(80, "shop.example.com", "/"),
        page("the server's own page")
    );
    assert_eq!(web.ask(9090, "next.example.com", "/"), None);
    assert!(web.generations().unwrap().is_empty());
    assert!(!web.machine.exists(&format!("{}/agentd", web.apache_dir())));
    assert!(web.apache_test(&[]).unwrap().success());
}

#[test]
fn what_is_staged_is_tested_within_the_servers_own_configuration() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = WebBox::boot(&fleet, image, server(image)).unwrap();
        web.publish(&sites()).unwrap();
        let run = web.once().unwrap();
        assert_eq!(run.code, 2, "{}", run.said);
        assert!(web.apache_test(&["-D", "AGENTD_STAGED"]).unwrap().success());

        // By hand, what the agent would stage: the same with one line too many.
        let stage = format!(
            "cd {}/agentd && cp -r \"$(readlink current)\" broken && echo 'NoSuchDirective on' >>broken/shop_www.conf && ln -sfn broken staged",
            web.apache_dir()
        );
        web.machine.must(&["sh", "-c", &stage]).unwrap();
        let staged = web.apache_test(&["-D", "AGENTD_STAGED"]).unwrap();
        assert!(!staged.success());
        assert!(staged.stderr.contains("NoSuchDirective"), "{staged:?}");
        let present = web.apache_test(&[]).unwrap();
        assert!(present.success(), "{present:?}");
        // A reload takes what is current.
        let reload = ["systemctl", "reload", image.apache_unit()];
        web.machine.must(&reload).unwrap();
        assert!(web.proves(80, "shop.example.com", "www").unwrap());

        // The link was the agent's: it is mended as drift.
        assert_eq!(web.once().unwrap().code, 2);
        assert!(web.apache_test(&["-D", "AGENTD_STAGED"]).unwrap().success());
    }
}

#[test]
fn header_values_reach_the_client_as_written() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = WebBox::boot(&fleet, image, server(image)).unwrap();
        if image == Image::Debian {
            web.machine
                .must(&["a2enmod", "--quiet", "headers"])
                .unwrap();
            web.machine
                .must(&["systemctl", "restart", "apache2.service"])
                .unwrap();
        }
        let headers: serde_json::Map<String, Value> = HOSTILE
            .iter()
            .enumerate()
            .map(|(number, value)| (format!("X-Hostile-{number}"), json!(value.trim())))
            .collect();
        let site = json!({"www": {"domains": ["shop.example.com"], "root": "/srv/www", "headers": headers}});
        web.publish(&site).unwrap();
        let run = web.once().unwrap();
        assert_eq!(run.code, 2, "{}", run.said);
        // On pages, on errors, and each of them once.
        for path in ["/", "/nothing-here", "/closed/secret.txt"] {
            let got = web.headers("shop.example.com", path).unwrap();
            for (name, value) in &headers {
                let values: Vec<_> = got
                    .iter()
                    .filter(|(got, _)| got == name)
                    .map(|(_, value)| json!(value))
                    .collect();
                assert_eq!(
                    values,
                    *std::slice::from_ref(value),
                    "{image:?} {path} {name}"
                );
            }
        }
    }
}

#[test]
fn a_template_of_its_own_may_close_rewrite_and_proxy_everything() {
    for image in Image::ALL {
        let template = "<VirtualHost *:{{ port }}>
    ServerName {{ server_name }}
    RewriteEngine on
    <Location \"/\">
        Require all denied
    </Location>
{{ probe }}
    RewriteRule ^ http://elsewhere.example.com%{REQUEST_URI} [R=302,L]
    DocumentRoot {{ root|quoted }}
</VirtualHost>
";
        let fleet = Fleet::new().unwrap();
        let web = WebBox::boot(&fleet, image, |spec| {
            server(image)(spec).file("/etc/agentd/templates/away.conf.j2", template)
        })
        .unwrap();
        if image == Image::Debian {
            web.machine
                .must(&["a2enmod", "--quiet", "rewrite"])
                .unwrap();
            web.machine
                .must(&["systemctl", "restart", "apache2.service"])
                .unwrap();
        }
        let site = json!({"www": {"domains": ["shop.example.com"], "root": "/srv/www", "template": "away"}});
        web.publish(&site).unwrap();
        let run = web.once().unwrap();
        assert_eq!(run.code, 2, "{}", run.said);
        assert!(web.proves(80, "shop.example.com", "www").unwrap());
        let code = web.ask(80, "shop.example.com", "/").map(|(code, _)| code);
        assert_eq!(code, Some(302));
    }
}
