//! memcached, on a box that runs instances: the program, the template unit, and the instances.

use std::path::Path;

use super::examined_box::ExaminedBox;
use super::finding::Findings;

const PROGRAM: &str = "/usr/bin/memcached";

pub fn check(examined: &ExaminedBox, found: &mut Findings) {
    let Some(view) = examined.view() else {
        return found.skip("which server this box is is not known");
    };
    let products = view.caches.iter().filter(|(_, cache)| cache.instance);
    let products: Vec<_> = products.map(|(product, _)| product).collect();
    if products.is_empty() {
        return;
    }
    if !examined.has(Path::new(PROGRAM)) {
        found.broken(
            format!(
                "this box runs {} instances of memcached, and {PROGRAM} is not there",
                products.len()
            ),
            "dnf install memcached (Debian: apt install memcached)",
        );
    }
    for product in products {
        let name = format!("{}{product}.service", examined.platform.memcached_template);
        let unit = match examined.unit(&name) {
            Ok(unit) => unit,
            Err(why) => return found.skip(why),
        };
        if !unit.is_loaded() {
            // The same is wrong with all of them.
            return found.broken(
                format!("systemd has no usable {}.service ({})", examined.platform.memcached_template, unit.get("LoadState")),
                "install the package again; by hand: copy it to /usr/lib/systemd/system and systemctl daemon-reload",
            );
        }
        if !unit.is_active() {
            found.broken(
                format!(
                    "{name} does not run ({}): {product} has no cache here",
                    unit.get("ActiveState")
                ),
                format!("journalctl -u {name} -n 30 says why; agentctl apply starts it"),
            );
        }
    }
}
