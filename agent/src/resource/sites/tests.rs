use std::fmt::Write;

use serde_json::json;

use super::needs::Needs;
use super::*;
use crate::fleet::{Document, Pointer};
use crate::node::{Elections, HostsScope};
use crate::resource::fixtures;
use crate::system::platform::Family;
use crate::system::presence::Presence;
use crate::system::readable::Readable;
use crate::system::root::Root;

const HEAVY: &str = include_str!("../../../../tests/fleets/heavy.json");

fn heavy() -> View {
    let fleet = Document::read(HEAVY.as_bytes()).unwrap().fleet;
    crate::node::view(
        &fleet,
        &"web-1".parse().unwrap(),
        HostsScope::Products,
        &Elections::new(),
        &std::collections::BTreeMap::new(),
    )
    .unwrap()
}

fn debian() -> Platform {
    Platform {
        family: Family::Debian,
        apache: Platform::of(Family::Debian).apache,
        ..fixtures::platform()
    }
}

fn site(name: &str, wish: serde_json::Value) -> SiteView {
    SiteView {
        release: None,
        product: fixtures::name("shop"),
        name: fixtures::name(name),
        site: serde_json::from_value(wish).unwrap(),
        origin: Pointer(format!("/signed/products/shop/sites/{name}")),
        php: None,
    }
}

fn view_of(sites: Vec<SiteView>) -> View {
    View {
        sites,
        ..fixtures::view()
    }
}

fn installed() -> ApacheFacts {
    ApacheFacts::as_installed()
}

fn only_step(view: &View, platform: &Platform, facts: &ApacheFacts) -> Step {
    let desired = Sites.desired(view, platform, facts);
    assert_eq!(desired.problems, []);
    assert_eq!((desired.keep, desired.unfit), (vec![], vec![]));
    let [step] = desired.steps.try_into().unwrap();
    step
}

fn text<'a>(step: &'a Step, name: &str) -> &'a str {
    let want = step.paths().find(|(path, _)| path.ends_with(name));
    match &want.unwrap().1.wish {
        Wish::File { text, .. } => text.exposed(),
        other => panic!("{name} is {other:?}"),
    }
}

/// A step as text: each entry with its content, then what surrounds them.
fn show(step: &Step) -> String {
    let mut out = String::new();
    for (path, entry) in step.paths() {
        write!(out, "=== {:?} {}", entry.phase, path.display()).unwrap();
        if let Some(shown) = &entry.shown_as {
            write!(out, " (shown as {})", shown.display()).unwrap();
        }
        match &entry.wish {
            Wish::File { text, mode } => {
                writeln!(out, " {mode:o}").unwrap();
                for (index, line) in text.exposed().lines().enumerate() {
                    let asked = entry
                        .origins
                        .iter()
                        .filter(|origin| origin.line == u32::try_from(index + 1).ok())
                        .map(|origin| origin.pointer.to_string())
                        .collect::<Vec<_>>()
                        .join(" ");
                    writeln!(out, "{}", format!("{line:<80}{asked}").trim_end()).unwrap();
                }
            }
            Wish::Link { target } => writeln!(out, " -> {}", target.display()).unwrap(),
            other => unreachable!("sites have no {other:?}"),
        }
    }
    writeln!(out, "list     {:?}", step.list).unwrap();
    writeln!(out, "check    {}", step.check.as_ref().unwrap().staged).unwrap();
    writeln!(out, "present  {}", step.check.as_ref().unwrap().present).unwrap();
    writeln!(out, "activate {:?}", step.activate).unwrap();
    for probe in &step.probes {
        writeln!(out, "probe    {:?}", probe.question).unwrap();
    }
    out
}

#[test]
fn a_web_server_of_centos() {
    insta::assert_snapshot!(show(&only_step(
        &heavy(),
        &fixtures::platform(),
        &installed()
    )));
}

#[test]
fn a_web_server_of_debian() {
    insta::assert_snapshot!(show(&only_step(&heavy(), &debian(), &installed())));
}

#[test]
fn a_site_with_everything() {
    let wish = json!({
        "domains": ["a.example.com", "b.example.com"],
        "root": "/srv/a",
        "port": 8081,
        "allow": ["10.0.0.0/8", "2001:db8::/32"],
        "aliases": {"/media/": "/srv/media", "/media/big": "/srv/big", "/same": "/srv/a"},
        "headers": {"X-Frame-Options": "DENY", "X-Odd": "100% \"a\\b\" ${HOME}"}
    });
    let step = only_step(&view_of(vec![site("www", wish)]), &debian(), &installed());
    insta::assert_snapshot!(show(&step));
}

#[test]
fn a_site_behind_a_balancer_with_wildcards_and_a_password() {
    let wish = json!({
        "domains": ["a.example.com", "*.a.example.com", "b.example.com", "*"],
        "root": "/srv/My Sites/a", "ports": [80, 8081], "scheme": "https",
        "trusted_proxies": ["192.0.2.0/24"], "allow": ["10.0.0.0/8"],
        "auth": {"file": "/etc/a/users", "realm": "The office"},
        "aliases": {"/uploads/media": "/srv/media"}, "no_php": ["/uploads/"],
        "allow_override": ["AuthConfig", "FileInfo"], "options": [],
        "error_documents": {"403": "/errors/403.html", "503": "/errors/503.html"},
        "access_log": "%a \"%r\" %>s"
    });
    let step = only_step(&view_of(vec![site("www", wish)]), &debian(), &installed());
    insta::assert_snapshot!(show(&step));
}

#[test]
fn a_site_that_redirects() {
    let moved = json!({"domains": ["old.example.com"], "redirect": {"to": "https://a.example.com/b/", "status": 301}, "access_log": "off"});
    let gone = json!({"domains": ["gone.example.com"], "redirect": {"to": "https://a.example.com/?b=c", "keep_path": false}});
    let view = view_of(vec![site("moved", moved), site("gone", gone)]);
    let step = only_step(&view, &debian(), &installed());
    insta::assert_snapshot!(format!(
        "{}\n{}",
        text(&step, "shop_moved.conf"),
        text(&step, "shop_gone.conf")
    ));
}

#[test]
fn what_a_site_needs_and_the_box_lacks_is_told_with_its_remedy() {
    let wish = json!({
        "domains": ["a.example.com"], "root": "/srv/a", "trusted_proxies": ["192.0.2.0/24"],
        "auth": {"file": "/etc/a/users"}
    });
    let view = view_of(vec![site("www", wish)]);
    let said = |needs: Needs, platform: &Platform| {
        let facts = ApacheFacts {
            needs,
            ..installed()
        };
        let desired = Sites.desired(&view, platform, &facts);
        assert_eq!(desired.steps, []);
        let [problem] = desired.unfit.try_into().unwrap();
        problem.message
    };
    let modules = |names: &[&str]| Needs {
        missing_modules: names.iter().map(ToString::to_string).collect(),
        ..Needs::default()
    };
    insta::assert_snapshot!(said(modules(&["remoteip"]), &debian()), @"site www of shop: `trusted_proxies` needs mod_remoteip of Apache, not loaded here: a2enmod remoteip");
    insta::assert_snapshot!(said(modules(&["auth_basic", "authz_user"]), &fixtures::platform()), @"site www of shop: `auth` needs mod_auth_basic, mod_authz_user of Apache, not loaded here: add to a file in conf.modules.d: LoadModule auth_basic_module modules/mod_auth_basic.so; LoadModule authz_user_module modules/mod_authz_user.so");
    let password = |found: Readable| Needs {
        passwords: [("/etc/a/users".to_owned(), found)].into(),
        ..Needs::default()
    };
    insta::assert_snapshot!(said(password(Readable::Missing), &debian()), @"site www of shop: /etc/a/users is not there: make it with htpasswd -c /etc/a/users NAME, or bring it with the image");
    insta::assert_snapshot!(said(password(Readable::Empty), &debian()), @"site www of shop: /etc/a/users has no users in it: htpasswd /etc/a/users NAME adds one");
    insta::assert_snapshot!(said(password(Readable::OnlyRoot("/etc/a".into())), &debian()), @"site www of shop: Apache cannot read /etc/a/users: /etc/a is for root alone; chgrp www-data /etc/a && chmod 750 /etc/a");
    insta::assert_snapshot!(said(password(Readable::OnlyRoot("/etc/a/users".into())), &fixtures::platform()), @"site www of shop: Apache cannot read /etc/a/users: /etc/a/users is for root alone; chgrp apache /etc/a/users && chmod 640 /etc/a/users");
}

#[test]
fn no_sites_no_step() {
    let desired = Sites.desired(&view_of(vec![]), &debian(), &ApacheFacts::default());
    assert_eq!(desired, Desired::default());
}

#[test]
fn without_apache_nothing_is_touched_and_the_report_says_so() {
    let desired = Sites.desired(&heavy(), &debian(), &ApacheFacts::default());
    assert_eq!(desired.steps, []);
    assert_eq!(desired.keep, [StepName("sites".into())]);
    insta::assert_snapshot!(desired.problems[0].message, @"Apache is not installed on this box (/etc/apache2/apache2.conf and /usr/sbin/apache2ctl are looked for), but it has sites: install it, or build the image for the role web");
}

#[test]
fn a_generation_is_named_after_its_content() {
    let of = |view: &View| {
        let step = only_step(view, &debian(), &installed());
        let current = step.wants.last().unwrap();
        assert_eq!(current.phase, Phase::Commit);
        match &current.wish {
            Wish::Link { target } => target.clone(),
            other => panic!("{other:?}"),
        }
    };
    let mut changed = heavy();
    changed.sites.pop();
    assert_eq!(of(&heavy()), of(&heavy()));
    assert_ne!(of(&heavy()), of(&changed));
    assert_eq!(of(&heavy()).to_str().unwrap().len(), 12);
}

#[test]
fn one_sites_change_is_no_line_in_the_vhost_of_another() {
    let mut changed = heavy();
    let removed = names::stem(&changed.sites.pop().unwrap());
    let (before, after) = (
        only_step(&heavy(), &debian(), &installed()),
        only_step(&changed, &debian(), &installed()),
    );
    for (path, _) in after.paths() {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("shop_") || name.starts_with("video_") {
            assert_eq!(text(&before, name), text(&after, name));
        }
    }
    assert!(text(&before, &format!("{removed}.conf")).contains("<VirtualHost"));
}

fn listened(address: &str) -> scan::Listened {
    scan::Listened {
        addresses: [address.parse().unwrap()].into(),
        place: Some(place("/etc/apache2/ports.conf", 5)),
    }
}

fn place(path: &str, line: usize) -> scan::Place {
    scan::Place {
        path: path.into(),
        line,
    }
}

/// A vhost of somebody else's that is read before the agent's.
fn others(addresses: &[(&str, Option<u16>)]) -> scan::OthersVhost {
    let address = |(host, port): &(&str, Option<u16>)| scan::VhostAddress {
        host: (*host).into(),
        port: *port,
    };
    scan::OthersVhost {
        addresses: addresses.iter().map(address).collect(),
        place: place("/etc/apache2/sites-enabled/one.conf", 1),
        first: true,
    }
}

#[test]
fn a_site_joins_the_vhosts_of_others_on_its_port() {
    let mut facts = installed();
    facts.vhosts = vec![others(&[("*", None)]), others(&[("10.77.0.11", Some(80))])];
    let step = only_step(&heavy(), &debian(), &facts);
    let vhost = text(&step, "shop_www.conf");
    assert!(vhost.contains("<VirtualHost * 10.77.0.11:80>"), "{vhost}");
    // They answer unknown hosts; on a port of the sites' own nobody else does.
    let first = text(&step, "server.first");
    assert!(!first.contains("*:80>") && first.contains("<VirtualHost *:8080>"));
    let (view, facts) = {
        let (view, own) = with_template("<VirtualHost {{ listen }}>\n{{ probe }}</VirtualHost>");
        facts.templates = own.templates;
        (view, facts)
    };
    let step = only_step(&view, &debian(), &facts);
    assert!(text(&step, "shop_www.conf").contains("<VirtualHost * 10.77.0.11:80>"));
}

#[test]
fn a_site_that_could_only_take_the_place_of_others_is_not_made() {
    let mut facts = installed();
    facts.listens.insert(81, listened("::"));
    facts.vhosts = vec![others(&[("*", None)])];
    let desired = Sites.desired(&heavy(), &debian(), &facts);
    assert_eq!(desired.steps, []);
    let message = &desired.unfit[0].message;
    assert!(message.contains("names no port"), "{message}");
}

#[test]
fn where_everything_is_closed_no_site_is_made() {
    let mut facts = installed();
    facts.closed = Some((
        place("/etc/apache2/apache2.conf", 9),
        "Deny from all".into(),
    ));
    let wish = json!({"domains": ["a.example.com"], "root": "/srv/a"});
    let view = view_of(vec![site("www", wish)]);
    let desired = Sites.desired(&view, &debian(), &facts);
    assert_eq!(desired.steps, []);
    insta::assert_snapshot!(desired.unfit[0].message, @"site www of shop: /etc/apache2/apache2.conf:9 says `Deny from all` of everything, and no vhost opens what that closes: every answer would be 403. Write `Require all denied` in its place: that the sites' own directories open again");
    // A template may open it.
    let (view, own) = with_template("{{ default }}");
    facts.templates = own.templates;
    only_step(&view, &debian(), &facts);
}

#[test]
fn what_keeps_visitors_from_a_site_is_told_though_it_is_as_the_document_says() {
    let wish = json!({
        "domains": ["a.example.com"], "root": "/srv/a", "aliases": {"/media": "/srv/media", "/logo.png": "/srv/logo.png"}
    });
    let view = view_of(vec![site("www", wish)]);
    let mut facts = installed();
    facts.listens = [(80, listened("127.0.0.1"))].into();
    facts.unreachable = [80].into();
    facts.missing = [
        ("/srv/a".into(), Presence::Absent),
        ("/srv/media".into(), Presence::Absent),
        ("/srv/logo.png".into(), Presence::NoDirectory),
    ]
    .into();
    let desired = Sites.desired(&view, &debian(), &facts);
    assert_eq!(desired.steps.len(), 1);
    let told: Vec<_> = (desired.problems.iter())
        .map(|problem| format!("{:?} {}", problem.severity, problem.message))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    Failure site www of shop: Apache listens on port 80 at 127.0.0.1 only (/etc/apache2/ports.conf:5), and no proxy on this box listens for others: nobody outside reaches the site. Write `Listen 80` there, or give the site another port
    Failure site www of shop: its root /srv/a is not there: visitors get an error until its pages are there
    Failure site www of shop: /srv/media is not there, from which /media is served: visitors get an error there
    ");
    let many: Vec<_> = (0..30)
        .map(|n| {
            site(
                &format!("s{n}"),
                json!({"domains": [format!("s{n}.example.com")], "root": "/srv/a"}),
            )
        })
        .collect();
    let desired = Sites.desired(&view_of(many), &debian(), &facts);
    assert_eq!(desired.problems.len(), 10);
    assert!(
        desired.problems[9]
            .message
            .contains("(and 50 more of this kind)")
    );
}

#[test]
fn what_the_server_has_itself_is_not_said_again() {
    let mut facts = installed();
    facts.listens = [(80, listened("10.0.0.5"))].into();
    facts.vhosts = vec![others(&[("*", Some(80))])];
    let step = only_step(&heavy(), &debian(), &facts);
    let first = text(&step, "server.first");
    assert!(!first.contains("Listen 80\n") && first.contains("Listen 8080\n"));
    assert!(!first.contains("*:80>") && first.contains("*:8080>"));
    // Asked where the server listens.
    assert!(step.probes.iter().any(|probe| matches!(&probe.question,
        Question::Http { address, port: 80, .. } if address.to_string() == "10.0.0.5")));
}

#[test]
fn a_port_that_somebody_else_listens_on_makes_that_site_impossible() {
    let mut facts = installed();
    facts.taken = [8080].into();
    let desired = Sites.desired(&heavy(), &debian(), &facts);
    assert_eq!(desired.steps, []);
    let [problem] = desired.unfit.try_into().unwrap();
    assert_eq!(problem.member, MemberName("shop/admin".into()));
    assert_eq!(
        problem.origin.unwrap().0,
        "/signed/products/shop/sites/admin/port"
    );
    insta::assert_snapshot!(problem.message, @"site admin of shop wants port 8080, on which a process other than apache2.service listens: stop that one (ss -ltnp 'sport = :8080' shows it) or give the site another port");
}

#[test]
fn ports_of_the_generation_in_use_are_apaches_own() {
    let (_dir, files) = root_with(&[(
        "/etc/apache2/agentd/1a/server.first",
        "Define AGENTD_GENERATION 1a\nListen 8080\nListen 9090\n\n<VirtualHost *:8080>\n",
    )]);
    let apache = debian().apache;
    assert_eq!(current::ports(&files, &apache), [].into());
    files
        .link(Path::new("/etc/apache2/agentd/current"), Path::new("1a"))
        .unwrap();
    assert_eq!(current::ports(&files, &apache), [8080, 9090].into());
}

fn with_template(source: &str) -> (View, ApacheFacts) {
    let wish = json!({
        "domains": ["a.example.com", "b.example.com"], "root": "/srv/a", "template": "own",
        "headers": {"X-Odd": "${HOME}"}, "aliases": {"/media": "/srv/media"}, "allow": ["10.0.0.0/8"]
    });
    let mut facts = installed();
    facts.templates = [("own".to_string(), source.to_string())].into();
    (view_of(vec![site("www", wish)]), facts)
}

#[test]
fn a_template_writes_its_own_vhost() {
    let (view, facts) = with_template(
        "<VirtualHost *:{{ port }}>
    ServerName {{ server_name }}
{%- for name in alias_names %}
    ServerAlias {{ name }}
{%- endfor %}
    DocumentRoot {{ root|quoted }}
{{ probe }}
{%- for alias in aliases %}
    Alias {{ alias.url|quoted }} {{ alias.path|quoted }}
{%- endfor %}
{%- for header in headers %}
    Header always set {{ header.name }} {{ header.value|header_value }}
{%- endfor %}
    Require ip {{ allow|join(' ') }}
    CustomLog \"{{ log_dir }}/{{ product }}-{{ site }}.log\" common
</VirtualHost>",
    );
    let step = only_step(&view, &debian(), &facts);
    insta::assert_snapshot!(text(&step, "shop_www.conf"));
    assert!(
        matches!(&step.probes[0].question, Question::Http { body: Some(body), .. } if body == "shop/www\n")
    );
}

#[test]
fn a_template_can_add_to_the_default() {
    let (view, facts) = with_template("{{ default }}\n# more\n");
    let step = only_step(&view, &debian(), &facts);
    insta::assert_snapshot!(text(&step, "shop_www.conf"));
}

#[test]
fn a_template_without_the_probe_is_asked_for_any_answer() {
    let (view, facts) =
        with_template("<VirtualHost *:80>\nServerName {{ server_name }}\n</VirtualHost>");
    let mut desired = Sites.desired(&view, &debian(), &facts);
    assert_eq!(desired.keep, []);
    let [problem] = desired.problems.try_into().unwrap();
    assert_eq!(problem.severity, Severity::Warning);
    insta::assert_snapshot!(problem.message, @"site www of shop: its override template leaves out {{ probe }}, so after a reload nobody can tell whether this vhost answers or another");
    let step = desired.steps.remove(0);
    assert!(
        matches!(&step.probes[0].question, Question::Http { body: None, path, .. } if path == "/")
    );
    assert!(
        !step
            .paths()
            .any(|(path, _)| path.ends_with("shop_www.probe"))
    );
}

#[test]
fn a_template_that_fails_makes_its_site_impossible_and_names_the_line() {
    let message = |source: &str| {
        let (mut view, facts) = with_template(source);
        view.sites.extend(heavy().sites);
        let desired = Sites.desired(&view, &debian(), &facts);
        assert_eq!(desired.steps, []);
        let [problem] = desired.unfit.try_into().unwrap();
        assert_eq!(
            problem.origin.unwrap().0,
            "/signed/products/shop/sites/www/template"
        );
        problem.message
    };
    insta::assert_snapshot!(message("a\n{{ nothing }}\n"), @"site www of shop: /etc/agentd/templates/own.conf.j2: line 2: undefined value: {{ nothing }}");
    insta::assert_snapshot!(message("a\n\n{% if %}\n"), @"site www of shop: /etc/agentd/templates/own.conf.j2: line 3: syntax error: unexpected end of block: {% if %}");
    insta::assert_snapshot!(message("a\u{7}"), @"site www of shop: /etc/agentd/templates/own.conf.j2: it gives control characters");
    let (view, _) = with_template("");
    let missing = Sites.desired(&view, &debian(), &installed());
    insta::assert_snapshot!(missing.unfit[0].message, @"site www of shop: /etc/agentd/templates/own.conf.j2: no such template on this box, or not a UTF-8 file (links are not followed) of at most 256 KiB");
}

/// A machine's files under a scratch root.
fn root_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Files) {
    let dir = tempfile::tempdir().unwrap();
    let under = Files::new(Root::under(dir.path()).unwrap());
    for (path, text) in files {
        under
            .write(Path::new(path), text.as_bytes(), 0o644)
            .unwrap();
    }
    (dir, under)
}

fn found(files: &Files, apache: &Apache) -> (Vec<(u16, String)>, Vec<u16>) {
    let scan = scan::scan(files, apache).unwrap();
    let facts = ApacheFacts {
        listens: scan.listens,
        vhosts: scan.vhosts,
        ..ApacheFacts::default()
    };
    let ports = 1..=u16::MAX;
    (
        (facts.listens.iter())
            .map(|(port, listened)| (*port, listened.addresses.first().unwrap().to_string()))
            .collect(),
        ports.filter(|port| facts.has_default(*port)).collect(),
    )
}

#[test]
fn where_everything_is_closed_is_found() {
    let closed = |text: &str| {
        let (_dir, files) = root_with(&[("/etc/httpd/conf/httpd.conf", text)]);
        let found = scan::scan(&files, &fixtures::platform().apache)
            .unwrap()
            .closed;
        found.map(|(place, said)| format!("{place} {said}"))
    };
    let old = "<Directory />\n    Order deny,allow\n    Deny from all\n</Directory>\n";
    let told = Some("/etc/httpd/conf/httpd.conf:3 Deny from all".to_owned());
    assert_eq!(closed(old), told);
    assert_eq!(
        closed(&old.replace("<Directory />", "<Location \"/\">")),
        told
    );
    assert_eq!(
        closed("<Directory />\nOrder allow,deny\n</Directory>\n").unwrap(),
        "/etc/httpd/conf/httpd.conf:2 Order allow,deny"
    );
    for open in [
        "<Directory />\nRequire all denied\n</Directory>\n",
        "<Directory />\nOrder deny,allow\nDeny from all\nAllow from 10.0.0.0/8\n</Directory>\n",
        "<Directory />\nOrder deny,allow\nDeny from all\nSatisfy Any\n</Directory>\n",
        "<Directory />\nDeny from 10.9.9.9\n</Directory>\n",
        "<Directory /srv>\nDeny from all\n</Directory>\n",
        "<VirtualHost *:80>\n<Location />\nDeny from all\n</Location>\n</VirtualHost>\n",
        "<IfModule absent_module>\n<Directory />\nDeny from all\n</Directory>\n</IfModule>\n",
        &format!("{old}<Directory /etc/httpd>\nOrder allow,deny\nAllow from all\n</Directory>\n"),
    ] {
        assert_eq!(closed(open), None, "{open}");
    }
}

#[test]
fn debians_configuration_is_understood() {
    let (_dir, files) = root_with(&[
        (
            "/etc/apache2/apache2.conf",
            "IncludeOptional mods-enabled/*.load\nInclude ports.conf\n# Include none.conf\nIncludeOptional sites-enabled/*.conf\n",
        ),
        (
            "/etc/apache2/ports.conf",
            "Listen 80\n<IfModule ssl_module>\n\tListen 443\n</IfModule>\n<IfModule mod_gnutls.c>\nListen 444\n</IfModule>\n",
        ),
        (
            "/etc/apache2/mods-available/ssl.load",
            "LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so\n",
        ),
        (
            "/etc/apache2/sites-enabled/000-default.conf",
            "<VirtualHost *:80>\n</VirtualHost>\n",
        ),
        (
            "/etc/apache2/sites-enabled/zz.conf",
            "<VirtualHost *:81>\n</VirtualHost>\n<VirtualHost 10.0.0.1:82>\n</VirtualHost>\n",
        ),
    ]);
    files
        .link(
            Path::new("/etc/apache2/mods-enabled/ssl.load"),
            Path::new("../mods-available/ssl.load"),
        )
        .unwrap_or_else(|_| {
            files
                .create_dir(Path::new("/etc/apache2/mods-enabled"), 0o755)
                .unwrap();
            files
                .link(
                    Path::new("/etc/apache2/mods-enabled/ssl.load"),
                    Path::new("../mods-available/ssl.load"),
                )
                .unwrap();
        });
    let (listens, defaults) = found(&files, &debian().apache);
    assert_eq!(listens, [(80, "::".into()), (443, "::".into())]);
    // zz.conf comes after the agent's own file, which is not there yet.
    assert_eq!(defaults, [80]);
}

#[test]
fn centoss_configuration_is_understood() {
    let (_dir, files) = root_with(&[
        (
            "/etc/httpd/conf/httpd.conf",
            "ServerRoot \"/etc/httpd\"\nDefine admin 8443\nListen 10.0.0.5:80\nListen [::]:${admin} \\\n  https\n<IfDefine never>\nListen 1\n</IfDefine>\n<IfDefine !never>\nListen 2\n</IfDefine>\nInclude conf.modules.d/*.conf\nIncludeOptional conf.d/*.conf\nInclude vhosts\n",
        ),
        ("/etc/httpd/conf.d/zz-agentd.conf", "Listen 9999\n"),
        ("/etc/httpd/conf.d/.hidden.conf", "Listen 9998\n"),
        ("/etc/httpd/vhosts/a/b.conf", "Listen 3\n"),
        (
            "/etc/httpd/conf.d/again.conf",
            "Include conf.d/again.conf\nListen 4\n",
        ),
    ]);
    let (listens, defaults) = found(&files, &fixtures::platform().apache);
    let all = |port| (port, "::".to_string());
    assert_eq!(
        listens,
        [all(2), all(3), all(4), (80, "10.0.0.5".into()), all(8443)]
    );
    assert_eq!(defaults, [] as [u16; 0]);
}

#[tokio::test]
async fn under_a_root_without_apache_one_as_installed_is_taken() {
    let (_dir, files) = root_with(&[("/etc/agentd/templates/own.conf.j2", "text")]);
    let mut view = heavy();
    view.sites[0].site.template = Some(fixtures::name("own"));
    view.sites[1].site.template = Some(fixtures::name("other"));
    let facts = facts::observe(&view, &debian(), &files).await;
    assert!(facts.installed);
    assert_eq!(facts.listens.keys().collect::<Vec<_>>(), [&80]);
    assert_eq!(
        facts.templates,
        [("own".to_string(), "text".to_string())].into()
    );
}

#[test]
fn what_is_left_out_comes_back_as_it_was_and_what_is_new_does_not() {
    let root = |path: &str| json!({"domains": ["a.example.com"], "root": path});
    let other = json!({"domains": ["b.example.com"], "root": "/srv/b"});
    let old = view_of(vec![
        site("www", root("/srv/old")),
        site("same", other.clone()),
    ]);
    let mut new = view_of(vec![
        site("www", root("/srv/new")),
        site("same", other.clone()),
        site("more", other),
    ]);
    let all: BTreeSet<MemberName> = new.sites.iter().map(member_name).collect();
    let sites = StepName(STEP.into());
    let before = new.clone();
    Sites.leave_out(&StepName("other".into()), &all, &mut new, Some(&old));
    assert_eq!(new, before, "another step's members");
    Sites.leave_out(&sites, &all, &mut new, Some(&old));
    assert_eq!(new.sites, [old.sites[0].clone()]);
}
