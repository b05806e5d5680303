//! Promise: the panel lets nobody in but who has its link, by its own address and from its own pages; editing makes a draft and
//! nothing else; what somebody looked at is what is published, or nothing is.

#![cfg(test)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use node_agent_tests::browser::{Answer, Browser};
use node_agent_tests::desk::{Desk, SOON, put, sees};
use node_agent_tests::machine::{built, wait_until};
use node_agent_tests::signing::trust_section;
use serde_json::{Value, json};

/// A panel of a desk. Killed by its pid on drop.
struct Panel {
    child: Child,
    address: String,
    token: String,
}

impl Panel {
    fn start(desk: &Desk, more: &[&str]) -> Self {
        let mut child = Command::new(built("agentctl").unwrap())
            .args([
                "--color",
                "never",
                "panel",
                "--listen",
                "127.0.0.1:0",
                "--desk",
            ])
            .arg(desk.path("desk.toml"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut link = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut link).unwrap();
        let (address, token) = link
            .trim()
            .strip_prefix("http://")
            .and_then(|rest| rest.split_once("/enter?token="))
            .unwrap_or_else(|| panic!("no link: {link:?}"));
        Self {
            address: address.into(),
            token: token.into(),
            child,
        }
    }

    /// A browser of whoever has the link.
    fn browser(&self) -> Browser {
        let mut browser = Browser::new(&self.address);
        let entered = browser
            .get(&format!("/enter?token={}", self.token))
            .unwrap();
        assert_eq!((entered.status, entered.header("location")), (303, "/"));
        let cookie = entered.header("set-cookie").to_owned();
        for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        browser.cookies = cookie.split(';').next().unwrap().to_owned();
        browser
    }
}

impl Drop for Panel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A document of one server, with a role and a product.
fn begun() -> Desk {
    let desk = Desk::new();
    let signed = json!({
        "format": 1, "fleet": "shop", "version": 0, "issued": "2026-01-01T00:00:00Z", "expires": "2126-01-01T00:00:00Z",
        "servers": {"web-1": {"address": "10.0.0.1", "zone": "a", "roles": ["web"], "products": ["shop"]}},
        "roles": {"web": {}},
        "products": {"shop": {"sites": {"www": {"domains": ["shop.example.com"], "root": "/srv/shop"}}}}
    });
    let file = desk.path("first.json");
    put(
        &file,
        &json!({"signatures": [], "signed": signed}).to_string(),
    );
    desk.good(&["publish", &file.display().to_string(), "--yes"]);
    desk
}

fn draft(desk: &Desk) -> Value {
    let text = fs::read_to_string(desk.path("draft-shop.json")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

#[track_caller]
fn shows(answer: &Answer, parts: &[&str]) {
    assert_eq!(answer.status, 200, "{}", answer.body);
    for part in parts {
        assert!(answer.body.contains(part), "{part}\n{}", answer.body);
    }
}

#[test]
fn nobody_comes_in_without_the_link_by_another_name_or_from_another_page() {
    let desk = begun();
    let panel = Panel::start(&desk, &[]);
    let stranger = Browser::new(&panel.address);
    // Without a session nothing is said of the fleet, and wrong links open nothing.
    for path in [
        "/",
        "/server/web-1",
        "/draft",
        "/nothing",
        "/enter?token=",
        "/enter",
        "/enter?token=0",
    ] {
        let answer = stranger.get(path).unwrap();
        assert!(
            matches!(answer.status, 401 | 403),
            "{path}: {}",
            answer.status
        );
        assert!(!answer.body.contains("shop"), "{path}: {}", answer.body);
    }
    let browser = panel.browser();
    // The link was used: whoever finds it in a history or a log has nothing.
    let again = stranger
        .get(&format!("/enter?token={}", panel.token))
        .unwrap();
    assert_eq!((again.status, again.header("set-cookie")), (403, ""));

    shows(&browser.get("/").unwrap(), &["web-1", "shop"]);
    let headers = |answer: &Answer| {
        let policy = answer.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("script-src"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("x-frame-options"), "DENY");
    };
    for path in [
        "/",
        "/server/web-1",
        "/products",
        "/product/shop",
        "/unknown",
        "/draft",
        "/plan",
        "/log",
        "/style.css",
        "/nothing",
    ] {
        let answer = browser.get(path).unwrap();
        headers(&answer);
        assert!(
            !answer.body.contains("<script") && !answer.body.contains(" style="),
            "{path}"
        );
    }
    headers(&stranger.get("/").unwrap());

    // A name of somebody else's that leads to loopback.
    for host in [
        "rebound.example",
        "rebound.example:8788",
        "localhost",
        "127.0.0.1",
        "",
    ] {
        let answer = browser.send("GET", "/", &[("Host", host)], "").unwrap();
        assert_eq!(answer.status, 421, "{host}");
        assert!(!answer.body.contains("web-1"));
    }
    let local = format!("localhost:{}", panel.address.split(':').nth(1).unwrap());
    assert_eq!(
        browser
            .send("GET", "/", &[("Host", &local)], "")
            .unwrap()
            .status,
        200
    );

    // A form of another page, with the cookie all the same.
    let own = format!("http://{}", panel.address);
    let secure = format!("https://{}", panel.address);
    let host = ("Host", panel.address.as_str());
    let attempts: [&[(&str, &str)]; 6] = [
        &[host],
        &[host, ("Origin", "null")],
        &[host, ("Origin", "http://evil.example")],
        &[host, ("Origin", &secure)],
        &[host, ("Origin", "http://127.0.0.1:1")],
        &[host, ("Origin", &own), ("Sec-Fetch-Site", "cross-site")],
    ];
    for headers in attempts {
        let answer = browser
            .send("POST", "/server/web-1", headers, "action=drain")
            .unwrap();
        assert_eq!(answer.status, 403, "{headers:?}");
    }
    assert_eq!(
        browser
            .send("DELETE", "/draft", &[host, ("Origin", &own)], "")
            .unwrap()
            .status,
        405
    );
    // A page of the panel, but no session.
    assert_eq!(
        stranger
            .post("/server/web-1", &[("action", "drain")])
            .unwrap()
            .status,
        401
    );
    assert_eq!(draft(&desk), Value::Null);
    // More than any document.
    let large = "x".repeat(17 * 1024 * 1024);
    let answer = browser.post("/draft", &[("text", &large)]).unwrap();
    assert!(matches!(answer.status, 413 | 400), "{}", answer.status);
    assert_eq!(draft(&desk), Value::Null);
    // And from a page of its own it is done.
    assert_eq!(
        browser
            .post("/server/web-1", &[("action", "drain")])
            .unwrap()
            .status,
        303
    );
    assert_eq!(
        draft(&desk)["signed"]["servers"]["web-1"]["state"],
        "draining"
    );
}

#[test]
fn a_panel_that_only_shows_has_no_form_and_takes_none() {
    let desk = begun();
    let panel = Panel::start(&desk, &["--read-only"]);
    let browser = panel.browser();
    for path in [
        "/",
        "/server/web-1",
        "/product/shop",
        "/unknown",
        "/draft",
        "/plan",
        "/log?version=1",
    ] {
        let answer = browser.get(path).unwrap();
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.body.contains("method=\"post\""), "{path}");
        assert!(answer.body.contains("read-only"), "{path}");
    }
    for (path, fields) in [
        ("/server/web-1", &[("action", "drain")][..]),
        ("/unknown", &[("name", "web-2"), ("address", "10.0.0.2")]),
        ("/draft", &[("text", "x")]),
        ("/publish", &[("digest", "x")]),
        ("/log", &[("version", "1")]),
    ] {
        assert_eq!(browser.post(path, fields).unwrap().status, 403, "{path}");
    }
    assert_eq!(draft(&desk), Value::Null);
    let elsewhere = node_agent_tests::machine::run(
        &[
            built("agentctl").unwrap().to_str().unwrap(),
            "panel",
            "--listen",
            "0.0.0.0:0",
            "--desk",
            desk.path("desk.toml").to_str().unwrap(),
        ],
        b"",
        SOON,
    )
    .unwrap();
    assert_eq!(elsewhere.code, Some(1));
    assert!(
        elsewhere.stderr.contains("is no loopback address"),
        "{}",
        elsewhere.stderr
    );
}

/// Publishes what the plan shows, and waits for its end.
fn publish(browser: &Browser) -> Answer {
    let plan = browser.get("/plan").unwrap();
    shows(&plan, &["would change", "Sign and publish"]);
    let (digest, published) = (plan.hidden("digest"), plan.hidden("published"));
    let sent = browser
        .post(
            "/publish",
            &[
                ("digest", &digest),
                ("published", &published),
                ("valid_for", ""),
            ],
        )
        .unwrap();
    assert_eq!(sent.status, 303, "{}", sent.body);
    ended(browser)
}

fn ended(browser: &Browser) -> Answer {
    let mut answer = browser.get("/publish").unwrap();
    wait_until("the publication", SOON, || {
        answer = browser.get("/publish").unwrap();
        !answer.body.contains("http-equiv=\"refresh\"")
    })
    .unwrap();
    answer
}

#[test]
fn a_working_day_at_the_panel() {
    let desk = begun();
    let (scratch, _agent) = desk.agent(&trust_section(&[&desk.key], 1));
    // A machine that no document names, with a name that is no name.
    let now = node_agent::system::clock::now();
    let report = json!({
        "format": 1, "written": now, "server": null, "found_by": "no server has <b>its</b> name",
        "machine": {"instance": "i-0b22", "hostname": "<script>alert(1)</script>"}, "agent": {"version": "0.1.0", "started": now},
        "document": null, "health": "waiting", "alarms": [], "steps": {}, "last_run": null,
    });
    fs::create_dir_all(desk.bucket().join("nodes/unknown")).unwrap();
    put(
        &desk.bucket().join("nodes/unknown/i-0b22.json"),
        &report.to_string(),
    );
    let panel = Panel::start(&desk, &[]);
    let browser = panel.browser();
    let unknown = browser.get("/unknown").unwrap();
    shows(
        &unknown,
        &[
            "i-0b22",
            "&lt;script&gt;",
            "&lt;b&gt;its",
            "Unknown machines (1)",
        ],
    );
    assert!(!unknown.body.contains("<script"));

    // It is assigned: first with a mistake, and nothing typed is lost.
    let fields = |address| {
        [
            ("machine", "i-0b22"),
            ("name", "web-2"),
            ("address", address),
            ("zone", "b"),
            ("roles", "web"),
            ("products", "shop"),
            ("instance", "i-0b22"),
        ]
    };
    let wrong = browser.post("/unknown", &fields("10.0.0")).unwrap();
    assert_eq!(wrong.status, 422);
    assert!(
        wrong.body.contains("/signed/servers/web-2/address")
            && wrong.body.contains("value=\"10.0.0\""),
        "{}",
        wrong.body
    );
    assert_eq!(draft(&desk), Value::Null);
    assert_eq!(
        browser
            .post("/unknown", &fields("10.0.0.2"))
            .unwrap()
            .status,
        303
    );
    assert_eq!(
        draft(&desk)["signed"]["servers"]["web-2"]["instance"],
        "i-0b22"
    );
    shows(
        &browser.get("/draft").unwrap(),
        &["No mistakes.", "+", "web-2"],
    );
    assert_eq!(
        desk.object("fleet.json")["signed"]["version"],
        1,
        "a draft is no change"
    );
    shows(
        &browser.get("/plan/web-1").unwrap(),
        &["/etc/hosts", "web-2"],
    );

    // What was looked at is what is published.
    let seen = browser.get("/plan").unwrap();
    assert_eq!(
        browser
            .post("/server/web-1", &[("action", "drain")])
            .unwrap()
            .status,
        303
    );
    let stale = browser
        .post(
            "/publish",
            &[("digest", &seen.hidden("digest")), ("published", "1")],
        )
        .unwrap();
    assert_eq!(stale.status, 409);
    assert_eq!(desk.object("fleet.json")["signed"]["version"], 1);
    assert_eq!(
        browser
            .post("/server/web-1", &[("action", "activate")])
            .unwrap()
            .status,
        303
    );
    let done = publish(&browser);
    shows(
        &done,
        &["Published version 2 of shop", "<p class=\"fleet\">shop</p>"],
    );
    assert_eq!(desk.object("fleet.json"), desk.object("versions/2.json"));
    desk.ssh_keygen_verifies(&desk.key.line);
    assert!(!desk.path("draft-shop.json").exists());
    sees(&scratch, "version 2", |status| {
        status["document"]["version"] == 2
    });

    // A site is added, a server drained, both in one version.
    let site = [
        ("action", "add-site"),
        ("name", "blog"),
        ("domains", "blog.example.com"),
        ("root", "/srv/blog"),
    ];
    assert_eq!(browser.post("/product/shop", &site).unwrap().status, 303);
    let twice = browser.post("/product/shop", &site).unwrap();
    assert!(
        twice.status == 422 && twice.body.contains("already"),
        "{}",
        twice.body
    );
    assert_eq!(
        browser
            .post("/server/web-2", &[("action", "drain")])
            .unwrap()
            .status,
        303
    );
    // Somebody else publishes meanwhile: nothing of theirs is lost, and nothing of this either.
    let plan = browser.get("/plan").unwrap();
    let other = desk.path("other.json").display().to_string();
    desk.good(&["get", &other]);
    let text = fs::read_to_string(&other).unwrap();
    put(
        std::path::Path::new(&other),
        &text.replace("10.0.0.2", "10.0.0.3"),
    );
    desk.good(&["publish", &other, "--yes"]);
    browser
        .post(
            "/publish",
            &[
                ("digest", &plan.hidden("digest")),
                ("published", &plan.hidden("published")),
            ],
        )
        .unwrap();
    let failed = ended(&browser);
    shows(&failed, &["was edited from version 2", "which is kept"]);
    assert_eq!(desk.object("fleet.json")["signed"]["version"], 3);
    let text = fs::read_to_string(desk.path("draft-shop.json")).unwrap();
    assert!(text.contains("blog.example.com"));
    shows(
        &browser.get("/draft").unwrap(),
        &["version 3 is published by now"],
    );
    // Its changes are made in what the other one published; the text may be wrong for a while.
    assert_eq!(browser.post("/draft/take-over", &[]).unwrap().status, 303);
    assert_eq!(draft(&desk)["signed"]["version"], 3);
    let page = browser.get("/draft").unwrap();
    shows(&page, &["No mistakes.", "blog.example.com"]);
    let good = fs::read_to_string(desk.path("draft-shop.json")).unwrap();
    let save = |page: &Answer, text: &str| {
        let fields = [
            ("digest", page.hidden("digest")),
            ("text", text.replace('\n', "\r\n")),
        ];
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        browser.post("/draft", &fields).unwrap().status
    };
    assert_eq!(
        save(&page, &good.replace("\"draining\"", "\"resting\"")),
        303
    );
    let wrong = browser.get("/draft").unwrap();
    shows(&wrong, &["1 mistake", "/signed/servers/web-2/state"]);
    shows(&browser.get("/plan").unwrap(), &["1 mistake"]);
    assert_eq!(save(&page, &good), 422, "another tab has saved since");
    assert_eq!(save(&wrong, &good), 303);
    assert_eq!(
        fs::read_to_string(desk.path("draft-shop.json")).unwrap(),
        good
    );
    shows(&publish(&browser), &["Published version 4 of shop"]);
    let signed = &desk.object("fleet.json")["signed"];
    assert_eq!(signed["servers"]["web-2"]["state"], "draining");
    assert_eq!(signed["servers"]["web-2"]["address"], "10.0.0.3");
    assert_eq!(
        signed["products"]["shop"]["sites"]["blog"]["root"],
        "/srv/blog"
    );
    sees(&scratch, "version 4", |status| {
        status["document"]["version"] == 4
    });

    // What was, and back to it.
    shows(
        &browser.get("/log?version=4").unwrap(),
        &[
            "alice",
            "products: ~shop; servers: ~web-2",
            "blog.example.com",
        ],
    );
    assert_eq!(
        browser.post("/log", &[("version", "2")]).unwrap().status,
        303
    );
    shows(&publish(&browser), &["Published version 5 of shop"]);
    assert_eq!(
        desk.object("fleet.json")["signed"]["servers"]["web-2"]["address"],
        "10.0.0.2"
    );
}

#[test]
fn many_servers_are_shown_some_at_a_time() {
    let desk = Desk::new();
    let servers: serde_json::Map<String, Value> = (0..250)
        .map(|index| {
            let zone = ["a", "b"][index % 2];
            let server = json!({"address": format!("10.0.1.{index}"), "zone": zone, "roles": ["web"], "products": ["shop"]});
            (format!("web-{index:03}"), server)
        })
        .collect();
    let signed = json!({
        "format": 1, "fleet": "shop", "version": 0, "issued": "2026-01-01T00:00:00Z", "expires": "2126-01-01T00:00:00Z",
        "servers": servers, "roles": {"web": {}}, "products": {"shop": {}}
    });
    let file = desk.path("first.json");
    put(
        &file,
        &json!({"signatures": [], "signed": signed}).to_string(),
    );
    desk.good(&["publish", &file.display().to_string(), "--yes"]);
    let panel = Panel::start(&desk, &[]);
    let browser = panel.browser();
    let rows = |answer: &Answer| answer.body.matches("href=\"/server/").count();
    let first = browser.get("/").unwrap();
    shows(&first, &["page 1 of 3", "/?page=2"]);
    assert_eq!(rows(&first), 100);
    assert_eq!(rows(&browser.get("/?page=3").unwrap()), 50);
    assert_eq!(rows(&browser.get("/?page=99&zone=a").unwrap()), 25);
    let one = browser.get("/?q=10.0.1.17").unwrap();
    assert!(
        one.body.contains("web-017") && !one.body.contains("web-018"),
        "{}",
        one.body
    );
    assert_eq!(browser.get("/server/web-999").unwrap().status, 404);
}
