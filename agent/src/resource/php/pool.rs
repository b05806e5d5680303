//! A pool as php-fpm's configuration has it.

use std::path::Path;

use super::{PhpFacts, sessions};
use crate::fleet::{Php, PoolManager};
use crate::node::PhpView;
use crate::resource::LineOrigin;
use crate::resource::lines::Lines;
use crate::resource::pool_names::pool_name;
use crate::system::digest::sha256_hex;

/// How long a reload waits for requests under way. php-fpm's own zero cuts them off.
const PATIENCE_SECS: u64 = 10;
/// How long an idle child stays.
const IDLE_SECS: u64 = 30;
/// What php-fpm answers by itself. No name of PHP code, so that Apache hands no visitor's request for it on.
const PING: &str = "/.agentd/ping";
/// Settings that say where sessions are kept.
const SESSIONS: [&str; 2] = ["session.save_path", "session.save_handler"];

/// A pool's file, and how it shows that it is this one.
pub(super) struct Rendered {
    pub(super) text: String,
    pub(super) origins: Vec<LineOrigin>,
    /// What to ask it for.
    pub(super) ping: String,
    /// What only it, with this very configuration, answers.
    pub(super) answer: String,
}

/// Whether sessions are kept where the agent says: the document says nothing of them.
pub(super) fn has_own_sessions(php: &Php) -> bool {
    let says = |name: &str| php.ini.contains_key(name) || php.fixed_ini.contains_key(name);
    !SESSIONS.into_iter().any(says)
}

pub(super) fn render(pool: &PhpView, socket: &Path, facts: &PhpFacts) -> Rendered {
    let php = &pool.php;
    let at = |field: &str| pool.origin.then(field);
    let mut lines = Lines::default();
    lines.add(&format!(
        "; The pool of product {}. Written by agentd: edit the fleet document instead.",
        pool.product
    ));
    if !facts.patient {
        lines.add(&format!(
            "[global]\n; Requests under way are finished at a reload.\nprocess_control_timeout = {PATIENCE_SECS}s\n"
        ));
    }
    let name = pool_name(&pool.product);
    lines.add(&format!("[{name}]"));
    lines.add_for(at("user"), &format!("user = {}", php.user));
    if let Some(group) = &php.group {
        lines.add_for(at("group"), &format!("group = {group}"));
    }
    lines.add(&format!(
        "listen = {}\nlisten.owner = {}\nlisten.mode = 0600",
        socket.display(),
        facts.web_server
    ));
    children(php, &pool.origin, &mut lines);
    if let Some(timeout) = php.timeout {
        lines.add_for(
            at("timeout"),
            &format!(
                "request_terminate_timeout = {}s",
                timeout.duration().as_secs()
            ),
        );
    }
    if has_own_sessions(php) {
        lines.add(&format!(
            "php_value[session.save_path] = \"{}\"",
            sessions(&pool.product).display()
        ));
        // The distributions' clearing looks at their own directory only.
        if !php.ini.contains_key("session.gc_probability")
            && !php.fixed_ini.contains_key("session.gc_probability")
        {
            lines.add("php_value[session.gc_probability] = \"1\"");
        }
    }
    for (directive, field, settings) in [
        ("php_value", "ini", &php.ini),
        ("php_admin_value", "fixed_ini", &php.fixed_ini),
    ] {
        for (name, value) in settings {
            let line = format!("{directive}[{name}] = \"{value}\"");
            lines.add_for(at(field).then(name), &line);
        }
    }
    for (name, value) in &php.environment {
        lines.add_for(
            at("environment").then(name),
            &format!("env[{name}] = \"{value}\""),
        );
    }
    // Another configuration gives another answer: so a reload that has not happened yet is told from one that has.
    let mut digest = sha256_hex(lines.text().as_bytes());
    digest.truncate(12);
    let answer = format!("{name} {digest}");
    lines.add(&format!(
        "; agentd asks for this after a reload.\nping.path = {PING}\nping.response = \"{answer}\""
    ));
    let (text, origins) = lines.finish([pool.origin.clone()]);
    Rendered {
        text,
        origins,
        ping: PING.into(),
        answer,
    }
}

/// How many children there are, and when.
fn children(php: &Php, origin: &crate::fleet::Pointer, lines: &mut Lines) {
    let most = php.children.get();
    lines.add_for(
        origin.then("manager"),
        &format!("pm = {}", php.manager.as_str()),
    );
    lines.add_for(
        origin.then("children"),
        &format!("pm.max_children = {most}"),
    );
    match php.manager {
        PoolManager::Ondemand => {
            let idle = php.idle.map_or(IDLE_SECS, |idle| idle.duration().as_secs());
            let line = format!("pm.process_idle_timeout = {idle}s");
            lines.add_for(origin.then("idle"), &line);
        }
        PoolManager::Dynamic => {
            let ready = (most / 4).max(1);
            let idle = (most / 2).max(1);
            lines.add(&format!(
                "pm.start_servers = {ready}\npm.min_spare_servers = {ready}\npm.max_spare_servers = {idle}"
            ));
        }
        PoolManager::Static => {}
    }
    if let Some(requests) = php.requests {
        let line = format!("pm.max_requests = {}", requests.get());
        lines.add_for(origin.then("requests"), &line);
    }
}
