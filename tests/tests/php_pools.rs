//! Promise: a product's PHP runs in a pool of php-fpm of its own, as its own user; a changed pool takes no request away from anybody, a
//! configuration that somebody else has broken ends nobody's PHP, and what goes, goes after its sites. On real servers of both layouts.

#![cfg(test)]

use std::cell::Cell;
use std::time::Duration;

use node_agent_tests::machine::{Fleet, Image, wait_until};
use node_agent_tests::web::WebBox;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

const INDEX: &str = r#"<?php
session_start();
echo exec("id -un"), " ", exec("id -gn"), " ", ini_get("memory_limit"), " ", getenv("APP_ENV"), " ";
echo $_SERVER["HTTP_AUTHORIZATION"] ?? "nobody", " ", session_save_path(), "\n";
"#;

struct Shop {
    web: WebBox,
    version: Cell<u64>,
}

impl Shop {
    fn boot(fleet: &Fleet, image: Image) -> Self {
        let web = WebBox::boot(fleet, image, |spec| {
            spec.file("/srv/shop/index.php", INDEX)
                .file("/srv/shop/slow.php", "<?php usleep(3000000); echo 'slow';")
                .file("/srv/shop/plain.txt", "plain")
                .file("/srv/blog/index.php", "<?php echo exec('id -un');")
        })
        .unwrap();
        if image == Image::Debian {
            let a2enmod = ["a2enmod", "--quiet", "proxy_fcgi"];
            web.machine.must(&a2enmod).unwrap();
            let restart = ["systemctl", "restart", "apache2"];
            web.machine.must(&restart).unwrap();
        }
        Self {
            web,
            version: Cell::new(0),
        }
    }

    fn publish(&self, shop_php: Option<Value>, blog_php: Option<Value>) {
        self.version.set(self.version.get() + 1);
        let product = |name: &str, id: u32, php: Option<Value>| {
            let mut product = json!({
                "groups": {name: {"gid": id}},
                "users": {name: {"uid": id, "group": name, "home": format!("/srv/home/{name}"), "shell": "/sbin/nologin"}},
                "sites": {"www": {"domains": [format!("{name}.example.com")], "root": format!("/srv/{name}")}},
            });
            if let Some(php) = php {
                product["php"] = php;
            }
            product
        };
        let document = json!({"signatures": [], "signed": {
            "format": 1, "fleet": "test", "version": self.version.get(),
            "issued": "2026-11-22T20:00:00Z", "expires": "2046-11-22T20:00:00Z",
            "servers": {"web-1": {"address": "10.77.0.11", "roles": ["web"], "products": ["shop", "blog"]}},
            "roles": {"web": {}},
            "products": {"shop": product("shop", 1510, shop_php), "blog": product("blog", 1511, blog_php)},
        }});
        let path = "/srv/bucket/fleet.json";
        let text = document.to_string();
        self.web.machine.write(path, text.as_bytes()).unwrap();
    }

    #[track_caller]
    fn run(&self) -> i32 {
        let run = self.web.once().unwrap();
        println!("{}", run.said);
        run.code
    }

    fn page(&self, host: &str, path: &str) -> (u16, String) {
        self.web.ask(80, host, path).unwrap()
    }

    fn unit(&self) -> String {
        let list = "systemctl list-unit-files --no-legend 'php*-fpm.service' | cut -d' ' -f1";
        let machine = &self.web.machine;
        machine.must(&["sh", "-c", list]).unwrap().trim().to_owned()
    }

    fn pool_dir(&self) -> String {
        let find = "ls -d /etc/php-fpm.d /etc/php/*/fpm/pool.d 2>/dev/null | head -n 1";
        let machine = &self.web.machine;
        machine.must(&["sh", "-c", find]).unwrap().trim().to_owned()
    }

    fn main_pid(&self) -> String {
        let show = [
            "systemctl",
            "show",
            "--value",
            "--property=MainPID",
            &self.unit(),
        ];
        self.web.machine.must(&show).unwrap()
    }
}

fn php(children: u16) -> Value {
    json!({"user": "shop", "children": children, "ini": {"memory_limit": "64M", "expose_php": "off"},
        "environment": {"APP_ENV": "production"}})
}

fn blog() -> Value {
    json!({"user": "blog", "children": 2, "manager": "static", "fixed_ini": {"open_basedir": "/srv/blog"}})
}

#[test]
fn products_have_pools_of_their_own_on_debian() {
    products_have_pools_of_their_own(Image::Debian);
}

#[test]
fn products_have_pools_of_their_own_on_centos() {
    products_have_pools_of_their_own(Image::CentosLayout);
}

fn products_have_pools_of_their_own(image: Image) {
    let fleet = Fleet::new().unwrap();
    let shop = Shop::boot(&fleet, image);
    let machine = &shop.web.machine;

    // All in one run: accounts, pools, php-fpm itself, sites.
    shop.publish(Some(php(4)), Some(blog()));
    assert_eq!(shop.run(), 2);
    assert!(machine.is_active(&shop.unit()));
    let (status, page) = shop.page("shop.example.com", "/index.php");
    assert_eq!(
        (status, page.trim()),
        (
            200,
            "shop shop 64M production nobody /var/lib/php/agentd/shop"
        )
    );
    assert_eq!(
        shop.page("blog.example.com", "/index.php"),
        (200, "blog".into())
    );
    assert_eq!(
        shop.page("shop.example.com", "/plain.txt"),
        (200, "plain".into())
    );
    assert_eq!(shop.page("shop.example.com", "/nothing.php").0, 404);
    let headers = shop.web.headers("shop.example.com", "/index.php").unwrap();
    assert!(
        !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("x-powered-by")),
        "{headers:?}"
    );
    let sessions = machine.must(&[
        "sh",
        "-c",
        "ls /var/lib/php/agentd/shop | wc -l; stat -c '%a %U' /var/lib/php/agentd/shop",
    ]);
    assert_eq!(
        sessions.unwrap().split_whitespace().collect::<Vec<_>>()[1..],
        ["700", "shop"]
    );
    let login = machine.must(&[
        "curl",
        "--silent",
        "--max-time",
        "5",
        "--user",
        "a:b",
        "--header",
        "Host: shop.example.com",
        "http://127.0.0.1/index.php",
    ]);
    assert!(login.unwrap().contains("Basic YTpi"));
    assert_eq!(shop.run(), 0);

    // A changed pool: whoever is being served is served to the end, by the same php-fpm.
    let pid = shop.main_pid();
    let script = "curl --silent --max-time 20 --header 'Host: shop.example.com' http://127.0.0.1/slow.php >/tmp/slow 2>&1 &";
    machine.must(&["sh", "-c", script]).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    shop.publish(Some(php(6)), Some(blog()));
    assert_eq!(shop.run(), 2);
    wait_until("the slow page", SOON, || {
        machine.read("/tmp/slow").is_ok_and(|text| !text.is_empty())
    })
    .unwrap();
    assert_eq!(machine.read("/tmp/slow").unwrap(), "slow");
    assert_eq!(shop.main_pid(), pid);

    // Somebody else's broken pool: a reload now would end php-fpm, so there is none.
    let broken = format!("{}/zz-other.conf", shop.pool_dir());
    machine.write(&broken, b"[other]\nuser = nobodyhere\nlisten = /run/other.sock\npm = static\npm.max_children = 1\n").unwrap();
    shop.publish(Some(php(8)), Some(blog()));
    let run = shop.web.once().unwrap();
    assert!(
        run.code & 4 == 4 && run.said.contains("nobodyhere"),
        "{}",
        run.said
    );
    assert_eq!(shop.page("shop.example.com", "/index.php").0, 200);
    assert_eq!(shop.main_pid(), pid);
    machine.must(&["rm", &broken]).unwrap();
    assert_eq!(shop.run(), 2);

    // A user that is not there: that pool stays as it is, the others come true.
    let mut other = php(8);
    other["user"] = json!("nobodyhere");
    shop.publish(Some(other), None);
    let run = shop.web.once().unwrap();
    assert!(
        run.code & 4 == 4 && run.said.contains("no user nobodyhere"),
        "{}",
        run.said
    );
    assert!(
        shop.page("shop.example.com", "/index.php")
            .1
            .starts_with("shop ")
    );
    // What the document has no more is gone by the same run, after its site has turned away from it.
    assert!(!machine.exists(&format!("{}/agentd-blog.conf", shop.pool_dir())));
    assert!(machine.exists(&format!("{}/agentd-shop.conf", shop.pool_dir())));

    // It stands still: it is started again.
    shop.publish(Some(php(8)), None);
    shop.run();
    machine.must(&["systemctl", "stop", &shop.unit()]).unwrap();
    assert_eq!(shop.run(), 2);
    assert_eq!(shop.page("shop.example.com", "/index.php").0, 200);

    // The same by the agent in its sandbox.
    machine.must(&["systemctl", "start", "agentd"]).unwrap();
    shop.publish(Some(php(9)), Some(blog()));
    let converged = || {
        let status = machine
            .run(&["agentctl", "status", "--output", "json"])
            .ok();
        let status = status.and_then(|said| serde_json::from_str::<Value>(&said.stdout).ok());
        status.is_some_and(|status| {
            status["health"] == "converged" && status["document"]["version"] == shop.version.get()
        })
    };
    machine.must(&["agentctl", "apply"]).ok();
    wait_until("the daemon to make it so", SOON, converged)
        .unwrap_or_else(|e| panic!("{e}\n{}", machine.journal("agentd.service").unwrap()));
    assert_eq!(
        shop.page("blog.example.com", "/index.php"),
        (200, "blog".into())
    );

    // All of it goes.
    machine.must(&["systemctl", "stop", "agentd"]).unwrap();
    shop.publish(None, None);
    shop.run();
    let left = machine
        .must(&["sh", "-c", &format!("ls {}", shop.pool_dir())])
        .unwrap();
    assert!(!left.contains("agentd-"), "{left}");
    assert_eq!(shop.run(), 0);
}

#[test]
fn a_site_waits_for_its_pool() {
    let fleet = Fleet::new().unwrap();
    let shop = Shop::boot(&fleet, Image::Debian);
    let mut nobody = php(4);
    nobody["user"] = json!("nobodyhere");
    shop.publish(Some(nobody), None);
    let run = shop.web.once().unwrap();
    // The code itself is shown to nobody; the other product's site comes true.
    assert!(
        run.said.contains("waits for the product's PHP pool"),
        "{}",
        run.said
    );
    let shown = shop.page("shop.example.com", "/index.php");
    assert!(!shown.1.contains("session_start"), "{shown:?}");
    assert_eq!(shop.page("blog.example.com", "/index.php").0, 200);
}
