//! What a file's content is: as the document says it, of a template, or an object. Pure.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};

use super::facts::FileFacts;
use crate::fleet::Name;
use crate::node::{FileView, Neighbour, TemplateView};
use crate::resource::Text;
use crate::resource::secrets::SecretText;

/// The most bytes that a template gives.
const LONGEST: usize = 1024 * 1024;
/// So many instructions of a template are carried out; a hundred thousand lines need less.
const FUEL: u64 = 5_000_000;
/// How it is said that a template asks for a secret that it was not given.
const NO_SECRET: &str = "there is no secret of that name";
/// What stands for a secret where it is not looked up.
const PLACEHOLDER: &str = "«secret»";

/// The content of a file. The error says why it cannot be had, and what to do.
pub(super) fn of(view: &FileView, path: &Path, facts: &FileFacts) -> Result<Text, String> {
    let file = &view.file;
    let shown = path.display();
    if let Some(content) = &file.content {
        return Ok(Text::plain(content.to_string()));
    }
    if let (Some(key), Some(sha256)) = (&file.object, &file.sha256) {
        if facts.is_assumed() {
            return Ok(Text::plain(format!(
                "(the object {key}, SHA-256 {sha256})\n"
            )));
        }
        return match facts.objects.get(sha256.as_str()) {
            Some(Ok(bytes)) => Ok(Text::binary(Arc::clone(bytes), sha256.to_string())),
            Some(Err(why)) => Err(format!(
                "{shown} stays as it is, for the object {key} could not be had: {why}"
            )),
            None => Err(format!(
                "{shown} stays as it is: the object {key} is not on this machine yet; a run fetches it"
            )),
        };
    }
    let (Some(template), Some(sees)) = (&file.template, &view.sees) else {
        return Err(format!(
            "{shown} stays as it is: the document does not say what it is"
        ));
    };
    let mut secrets: BTreeMap<String, String> = BTreeMap::new();
    for (name, source) in &file.secrets {
        let secret = match facts.secrets.get(source) {
            _ if facts.is_assumed() => PLACEHOLDER.to_owned(),
            Some(Ok(secret)) => SecretText::exposed(secret).to_owned(),
            Some(Err(why)) => {
                return Err(format!(
                    "{shown} stays as it is without its secret `{name}`: {why}"
                ));
            }
            None => {
                return Err(format!(
                    "{shown} stays as it is: its secret `{name}` was not looked up"
                ));
            }
        };
        secrets.insert(name.to_string(), secret);
    }
    let has_secrets = !secrets.is_empty();
    let text = render(template.as_str(), sees, secrets)
        .map_err(|why| format!("{shown} stays as it is, for its template gives nothing: {why}"))?;
    Ok(if has_secrets && !facts.is_assumed() {
        let digest = facts.key.digest(&text);
        Text::secret(text, digest)
    } else {
        Text::plain(text)
    })
}

/// What a template gives. An undefined name is an error, not an empty text.
fn render(
    template: &str,
    sees: &TemplateView,
    secrets: BTreeMap<String, String>,
) -> Result<String, String> {
    let has_secrets = !secrets.is_empty();
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    // The text of a file is what the document has, to its last line end.
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
    engine.set_syntax(syntax.map_err(|error| error.to_string())?);
    engine.set_fuel(Some(FUEL));
    let known: Vec<String> = secrets.keys().map(|name| format!("`{name}`")).collect();
    // Not what was asked for: that may be a secret itself.
    let unknown = match known.as_slice() {
        [] => format!("{NO_SECRET}: `secrets` has none"),
        known => format!("{NO_SECRET}; they are: {}", known.join(", ")),
    };
    engine.add_function("secret", move |name: String| match secrets.get(&name) {
        Some(secret) => Ok(Value::from(secret.as_str())),
        None => Err(Error::new(ErrorKind::InvalidOperation, unknown.clone())),
    });
    let fail = |error: &Error| said(error, template, has_secrets);
    let compiled = engine
        .template_from_named_str("template", template)
        .map_err(|error| fail(&error))?;
    let mut out = Bounded::default();
    let rendered = compiled
        .render_captured_to(context(sees), &mut out)
        .map(drop);
    if out.is_full {
        return Err("it gives more than 1 MiB".into());
    }
    rendered.map_err(|error| fail(&error))?;
    let text = String::from_utf8(out.bytes).map_err(|_| "it gives no text in UTF-8".to_owned())?;
    let is_wrong = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r');
    if text.contains(is_wrong) {
        return Err("it gives control characters".into());
    }
    Ok(text)
}

fn context(sees: &TemplateView) -> Value {
    let mut all = vec![
        ("node", server(&sees.node)),
        (
            "fleet",
            Value::from_pairs([
                ("name", sees.fleet.name.as_str()),
                ("domain", sees.fleet.domain.as_str()),
            ]),
        ),
        (
            "peers",
            Value::from_pairs(sees.peers.iter().map(|(role, servers)| {
                (role.as_str(), servers.iter().map(server).collect::<Value>())
            })),
        ),
        (
            "caches",
            Value::from_pairs(
                sees.caches
                    .iter()
                    .map(|(name, port)| (name.as_str(), *port)),
            ),
        ),
    ];
    if let Some(product) = &sees.product {
        all.push(("product", product.as_str().into()));
    }
    if let Some(role) = &sees.role {
        all.push(("role", role.as_str().into()));
    }
    if let Some(database) = &sees.database {
        all.push((
            "database",
            Value::from_pairs([
                ("master", server(&database.master)),
                ("replica", server(&database.replica)),
                ("port", Value::from(database.port)),
            ]),
        ));
    }
    Value::from_pairs(all)
}

fn server(server: &Neighbour) -> Value {
    let names = |names: &[Name]| names.iter().map(Name::as_str).collect::<Value>();
    Value::from_pairs([
        ("name", Value::from(server.name.as_str())),
        ("address", Value::from(server.address.to_string())),
        ("zone", Value::from(server.zone.as_str())),
        ("roles", names(&server.roles)),
        ("products", names(&server.products)),
    ])
}

/// Takes so much and no more.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    is_full: bool,
}

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + piece.len() > LONGEST {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the engine says of a mistake, with the line of the template. What it says in detail may quote a value, and that a
/// secret.
fn said(error: &Error, template: &str, has_secrets: bool) -> String {
    let mut text = error.kind().to_string();
    let names_a_secret = error.kind() == ErrorKind::InvalidOperation
        && error
            .detail()
            .is_some_and(|detail| detail.starts_with(NO_SECRET));
    if let Some(detail) = error.detail().filter(|_| !has_secrets || names_a_secret) {
        text = format!("{text}: {detail}");
    }
    let Some(number) = error.line() else {
        return text;
    };
    // The engine does not say which name was undefined: the line does.
    let line = template.lines().nth(number.saturating_sub(1));
    let shown: String = line.unwrap_or_default().trim().chars().take(100).collect();
    format!("line {number}: {text}: {shown}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{DatabaseWords, FleetWords};

    fn sees() -> TemplateView {
        let name = |text: &str| text.parse().unwrap();
        let neighbour = |text: &str, address: &str| Neighbour {
            name: name(text),
            address: address.parse().unwrap(),
            zone: "north".into(),
            roles: vec![name("web")],
            products: vec![name("shop")],
        };
        TemplateView {
            node: neighbour("web-1", "10.0.0.11"),
            fleet: FleetWords {
                name: name("heavy"),
                domain: String::new(),
            },
            product: Some(name("shop")),
            role: None,
            peers: [
                (name("memcached"), vec![neighbour("cache-1", "10.0.0.21")]),
                (name("batch"), Vec::new()),
            ]
            .into(),
            database: Some(DatabaseWords {
                master: neighbour("db-1", "10.0.0.31"),
                replica: neighbour("db-2", "10.0.0.32"),
                port: 3306,
            }),
            caches: [("main".to_owned(), 11211)].into(),
        }
    }

    fn rendered(template: &str) -> Result<String, String> {
        render(
            template,
            &sees(),
            [("db".to_owned(), "hunter2".to_owned())].into(),
        )
    }

    #[test]
    fn a_template_sees_the_box_the_product_and_its_neighbours() {
        let text = rendered(
            "{{ node.name }} {{ node.zone }} {{ product }} {{ fleet.name }} {{ database.master.address }} {{ secret('db') }}\n\
             {% for cache in peers.memcached %}{{ cache.address }}:{{ caches.main }}\n{% endfor %}{% for one in peers.batch %}never{% endfor %}",
        );
        assert_eq!(
            text.unwrap(),
            "web-1 north shop heavy 10.0.0.31 hunter2\n10.0.0.21:11211\n"
        );
    }

    #[test]
    fn what_is_not_there_is_a_mistake_with_its_line() {
        let why = rendered("a\n{{ node.nmae }}\n").unwrap_err();
        assert!(
            why.starts_with("line 2: undefined value") && why.contains("node.nmae"),
            "{why}"
        );
        let why = rendered("{{ secret('d') }}").unwrap_err();
        assert!(
            why.contains("no secret of that name; they are: `db`"),
            "{why}"
        );
        assert!(rendered("{{ peers.wbe }}").is_err());
    }

    #[test]
    fn mistakes_do_not_tell_secrets() {
        for template in [
            "{{ secret('db') | int }}",
            "{{ secret('db').x.y }}",
            "{{ secret(secret('db')) }}",
            "{{ [1] | join(secret('db'), secret('db'), 3) }}",
            "{% include secret('db') %}",
            "{{ {}[secret('db')] }}",
        ] {
            if let Err(why) = rendered(template) {
                assert!(!why.contains("hunter2"), "{template}: {why}");
            }
        }
    }

    #[test]
    fn a_template_ends() {
        let why = rendered(
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        );
        assert!(why.unwrap_err().contains("fuel"), "no fuel");
        let why = rendered("{% for a in range(99999) %}{{ 'abcdefghijklmnopqrst' }}{% endfor %}");
        assert_eq!(why.unwrap_err(), "it gives more than 1 MiB");
    }
}
