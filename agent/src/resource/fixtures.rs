//! Views and platforms for the unit tests of resources.

use std::path::PathBuf;

use crate::fleet::{Name, Pointer};
use crate::node::{CacheView, CronView, HostEntry, Owner, View};
use crate::system::platform::{Apache, Family, Platform};

/// CentOS's layout.
pub(super) fn platform() -> Platform {
    Platform {
        family: Family::Centos,
        apache: Apache {
            dir: "/etc/httpd/agentd".into(),
            include: "/etc/httpd/conf.d/agentd.conf".into(),
            main_config: "/etc/httpd/conf/httpd.conf".into(),
            log_dir: "/var/log/httpd".into(),
            test: vec!["/usr/sbin/httpd".into(), "-t".into()],
            unit: "httpd.service".into(),
        },
        cron_dir: PathBuf::from("/etc/cron.d"),
        systemctl: "/usr/bin/systemctl".into(),
        memcached_dir: "/etc/agentd/memcached".into(),
        memcached_template: "agentd-memcached@".into(),
        templates_dir: "/etc/agentd/templates".into(),
    }
}

/// A server with nothing to do: `web-1` at 10.77.0.11.
pub(super) fn view() -> View {
    View {
        name: name("web-1"),
        server: serde_json::from_str(r#"{"address": "10.77.0.11", "roles": ["web"]}"#).unwrap(),
        hosts: Vec::new(),
        caches: [].into(),
        sites: Vec::new(),
        cron: Vec::new(),
    }
}

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A server's own name.
pub(super) fn server(host: &str, address: &str) -> HostEntry {
    HostEntry {
        address: address.parse().unwrap(),
        name: host.into(),
        origin: Pointer(format!("/signed/servers/{host}")),
    }
}

/// A name that follows a database's role.
pub(super) fn alias(host: &str, address: &str) -> HostEntry {
    HostEntry {
        address: address.parse().unwrap(),
        name: host.into(),
        origin: Pointer("/signed/products/shop/database/aliases/master/0".into()),
    }
}

/// The cache of `shop`, as the document writes it.
pub(super) fn cache(json: &str, nodes: &[(&str, &str)], instance: bool) -> CacheView {
    CacheView {
        cache: serde_json::from_str(json).unwrap(),
        nodes: nodes
            .iter()
            .map(|(node, address)| (name(node), address.parse().unwrap()))
            .collect(),
        instance,
        origin: Pointer("/signed/products/shop/cache".into()),
    }
}

/// A job of `shop`.
pub(super) fn job(job: &str, schedule: &str, user: &str, command: &str) -> CronView {
    CronView {
        owner: Owner::Product(name("shop")),
        name: name(job),
        job: serde_json::from_value(serde_json::json!({
            "schedule": schedule, "user": user, "command": command,
        }))
        .unwrap(),
        origin: Pointer(format!("/signed/products/shop/cron/{job}")),
    }
}
