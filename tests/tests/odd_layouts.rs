//! Promise: a box that is laid out otherwise than its distribution is kept as well, by `[platform]` in agentd.toml.

#![cfg(test)]

use node_agent_tests::machine::watch::{converged, sample, see, serves};
use node_agent_tests::machine::{
    Fleet, FleetBucket, Image, Machine, MachineSpec, agent_config, with_agent_and,
};
use serde_json::json;

/// An Apache as somebody built it: below /opt, its own files, another unit; Debian's own is never started.
const CONFIG: &str = r#"ServerRoot "/opt/web"
PidFile /run/web.pid
Listen 80
ServerName localhost
User www-data
Group www-data
ErrorLog /opt/web/logs/error_log
LogFormat "%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\"" combined
Mutex file:/run
Include modules.conf
<Directory />
    Require all denied
</Directory>
Include vhosts/*.conf
"#;

const UNIT: &str = "[Unit]
Description=The web server below /opt
[Service]
ExecStart=/usr/sbin/apache2 -f /opt/web/web.conf -DFOREGROUND
ExecReload=/usr/sbin/apache2 -f /opt/web/web.conf -k graceful
KillMode=mixed
[Install]
WantedBy=multi-user.target
";

const PLATFORM: &str = r#"
[platform]
cron_dir = "/opt/cron.d"
[platform.apache]
dir = "/opt/web/agentd"
include = "/opt/web/vhosts/zz-fleet.conf"
main_config = "/opt/web/web.conf"
log_dir = "/opt/web/logs"
test = ["/usr/sbin/apache2", "-f", "/opt/web/web.conf", "-t"]
unit = "web.service"
"#;

fn modules() -> String {
    let modules = "mpm_event access_compat alias authn_core authz_core authz_host deflate dir env expires filter headers \
        mime proxy proxy_fcgi proxy_http remoteip rewrite setenvif";
    let line = |name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n");
    modules.split_whitespace().map(line).collect::<String>() + "TypesConfig /etc/mime.types\n"
}

fn spec() -> MachineSpec {
    let spec = MachineSpec::new("web-1", Image::Debian, "10.77.0.11")
        .file("/opt/web/web.conf", CONFIG)
        .file("/opt/web/modules.conf", modules())
        .file("/opt/web/vhosts/00-own.conf", "# The administrator's.\n")
        .file("/opt/web/logs/README", "Apache's logs.\n")
        .file("/opt/cron.d/README", "cron's tables.\n")
        .file("/etc/systemd/system/web.service", UNIT)
        .file("/srv/shop/current/public/index.html", "the shop")
        .file("/srv/shop/current/admin/index.html", "the shop's office")
        .file("/srv/video/current/public/index.html", "the videos")
        .file("/srv/late/index.html", "the late one")
        .enable("web.service");
    with_agent_and(spec, &agent_config(PLATFORM)).unwrap()
}

/// What the doctor finds of the platform.
fn doctor(machine: &Machine, config: &str) -> String {
    let argv = ["agentctl", "--config", config, "doctor"];
    let said = machine.run(&argv).unwrap().stdout;
    said.lines()
        .filter(|line| line.contains("[platform]"))
        .collect()
}

#[test]
fn an_apache_below_opt_under_another_unit_serves_what_the_document_says() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&sample(1, |_| ())).unwrap();
    let web = fleet.boot(spec()).unwrap();
    see(&web, "the shop", || {
        serves(&web, "shop.example.com", "the shop")
    });
    see(&web, "agentctl status to be 0", || converged(&web));
    assert!(web.exists("/opt/web/vhosts/zz-fleet.conf"));
    assert!(web.exists("/opt/web/agentd/current"));
    let jobs = web.must(&["ls", "/opt/cron.d"]).unwrap();
    assert!(jobs.contains("agentd-shop"), "{jobs}");
    let logs = web.must(&["ls", "/opt/web/logs"]).unwrap();
    assert!(logs.contains("shop"), "{logs}");
    // Nothing stands where the distribution would have it.
    for usual in [
        "/etc/apache2/agentd",
        "/etc/apache2/sites-enabled/zz-agentd.conf",
    ] {
        assert!(!web.exists(usual), "{usual}");
    }
    let usual = web.must(&["ls", "/etc/cron.d"]).unwrap();
    assert!(!usual.contains("agentd-"), "{usual}");

    // A change is tested with that command and activated by a reload of that unit.
    let pid = web.property("web.service", "MainPID").unwrap();
    bucket
        .publish(&sample(2, |signed| {
            signed["products"]["shop"]["sites"]["late"] =
                json!({"domains": ["late.example.com"], "root": "/srv/late"});
        }))
        .unwrap();
    see(&web, "the late site", || {
        serves(&web, "late.example.com", "the late one")
    });
    assert_eq!(web.property("web.service", "MainPID").unwrap(), pid);

    assert_eq!(doctor(&web, "/etc/agentd/agentd.toml"), "");
    let wrong = agent_config(PLATFORM).replace("web.service", "webb.service");
    web.write("/root/wrong.toml", wrong.as_bytes()).unwrap();
    let found = doctor(&web, "/root/wrong.toml");
    assert!(
        found.contains("[platform] apache.unit: systemd has no usable webb.service (not-found)"),
        "{found}"
    );

    // That unit is what is started where the document wants something served, and what the status watches.
    web.must(&["systemctl", "stop", "web.service"]).unwrap();
    web.must(&["agentctl", "apply", "--simple-exit"]).unwrap();
    see(&web, "the unit to be started again", || {
        serves(&web, "late.example.com", "the late one")
    });
    let broken = b"[Service]\nExecStartPre=/bin/false\n";
    web.write("/etc/systemd/system/web.service.d/broken.conf", broken)
        .unwrap();
    web.must(&["systemctl", "daemon-reload"]).unwrap();
    web.must(&["systemctl", "stop", "web.service"]).unwrap();
    web.run(&["agentctl", "apply"]).unwrap();
    see(&web, "the status to tell that Apache does not run", || {
        let status = web.run(&["agentctl", "status"]).unwrap();
        status.code == Some(1) && status.stdout.contains("web.service")
    });
}
