//! Override templates: a vhost in the words of those who need their own.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use super::names::Part;
use super::php;
use super::quote::{header_value, quoted};
use super::vhost::{self, Guarded};
use crate::fleet::names::Port;
use crate::node::SiteView;
use crate::resource::lines::Lines;
use crate::system::platform::Platform;

/// The vhost that the template `source` makes of a site, or what is wrong with it.
///
/// A template sees `product`, `site`, `server_name`, `domains`, `alias_names` (the domains after the first), `root` (empty where
/// the site has none), `port` (the first), `ports`, `listen` (all of them as `<VirtualHost>` has them; beside vhosts of others also what these are written for), `scheme`, `allow`, `aliases` (each `.url`, `.path`), `headers` (each `.name`, `.value`), `log_dir`, and as text: `default`
/// (the whole vhost that the site would have without a template), `body` (what stands within its `<VirtualHost>`), `probe`
/// (the part that lets the agent see that the vhost serves: before aliases, rewriting and proxying, after any `<Location>` that closes
/// things; a `Redirect` of everything must leave `/.well-known/` out). Filters: `quoted` for any argument of a directive,
/// `header_value` for that of `Header set`. An undefined name is an error, not an empty string.
pub(super) fn render(
    name: &str,
    source: &str,
    site: &SiteView,
    platform: &Platform,
    addresses: &str,
) -> Result<String, String> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    engine.add_filter("quoted", |text: String| quoted(&text));
    engine.add_filter("header_value", |text: String| header_value(&text));
    let mut text = engine
        .render_named_str(name, source, context(site, platform, addresses))
        .map_err(|error| said(&error, source))?;
    if text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r'))
    {
        return Err("it gives control characters".into());
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn context(site: &SiteView, platform: &Platform, addresses: &str) -> Value {
    fn list<T: ToString>(items: &[T]) -> Value {
        items.iter().map(ToString::to_string).collect()
    }
    fn pairs<'a, K: ToString + 'a, V: ToString + 'a>(
        items: impl IntoIterator<Item = (&'a K, &'a V)>,
        names: [&'static str; 2],
    ) -> Value {
        let [first, second] = names;
        items
            .into_iter()
            .map(|(key, value)| {
                Value::from_pairs([(first, key.to_string()), (second, value.to_string())])
            })
            .collect()
    }

    let apache = &platform.apache;
    let wish = &site.site;
    let guarded = Guarded::Rewriting;
    let part = &Part::whole(site);
    let ports: Vec<u16> = wish.ports().map(Port::get).collect();
    let root = wish.root.as_ref().map(ToString::to_string);
    let others = wish.domains.get(1..).unwrap_or_default();
    let name = wish.domains.first().map(ToString::to_string);
    Value::from_pairs([
        ("product", Value::from(site.product.as_str())),
        ("site", Value::from(site.name.as_str())),
        ("server_name", Value::from(name)),
        ("domains", list(&wish.domains)),
        ("alias_names", list(others)),
        ("root", Value::from(root.unwrap_or_default())),
        ("port", Value::from(ports.first().copied())),
        ("ports", Value::from(ports)),
        ("listen", Value::from(addresses)),
        (
            "scheme",
            Value::from(if wish.scheme.is_http() {
                "http"
            } else {
                "https"
            }),
        ),
        ("allow", list(&wish.allow)),
        ("aliases", pairs(&wish.aliases, ["url", "path"])),
        ("headers", pairs(&wish.headers, ["name", "value"])),
        ("log_dir", Value::from(apache.log_dir.display().to_string())),
        (
            "default",
            Value::from(
                vhost::whole(site, part, platform, guarded, addresses, Lines::default()).text(),
            ),
        ),
        (
            "body",
            Value::from(vhost::body(site, part, platform, guarded).text()),
        ),
        ("probe", Value::from(vhost::probe(site, apache, guarded))),
        ("php", Value::from(php::handler(site, platform).text())),
    ])
}

fn said(error: &minijinja::Error, source: &str) -> String {
    let mut text = error.kind().to_string();
    if let Some(detail) = error.detail() {
        text = format!("{text}: {detail}");
    }
    let Some(number) = error.line() else {
        return text;
    };
    // The engine does not say which name was undefined: the line does.
    let line = source
        .lines()
        .nth(number.saturating_sub(1))
        .unwrap_or_default();
    let shown: String = line.trim().chars().take(100).collect();
    format!("line {number}: {text}: {shown}")
}
