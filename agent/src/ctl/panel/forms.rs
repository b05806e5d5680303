//! From what somebody filled in to edits of the document. Pure; whether the result is a good document, the document's own check says.

use serde_json::{Map, Value, json};

use crate::fleet::{Edit, Fleet, Name, Pointer, ServerState};

/// The fields of a form, as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// A field without the space around it; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// A field as it came.
    pub fn raw(&self, name: &str) -> &str {
        let field = self.0.iter().find(|(key, _)| key == name);
        field.map_or("", |(_, value)| value.as_str())
    }

    /// A list, separated by spaces, commas or ends of lines.
    fn words(&self, name: &str) -> Vec<&str> {
        self.raw(name)
            .split([' ', ',', '\n', '\r', '\t'])
            .filter(|word| !word.is_empty())
            .collect()
    }

    fn needed(&self, name: &str, what: &str) -> Result<&str, String> {
        match self.get(name) {
            "" => Err(format!("{what} is missing.")),
            text => Ok(text),
        }
    }

    fn name(&self, what: &str) -> Result<Name, String> {
        let text = self.needed("name", what)?;
        text.parse()
            .map_err(|error| format!("{text:?} is no name: {error}."))
    }
}

fn server_place(name: &str) -> Pointer {
    Pointer::of(["signed", "servers", name])
}

fn product_place(product: &str) -> Pointer {
    Pointer::of(["signed", "products", product])
}

/// A member that is set, or gone where nothing was filled in.
fn set_or_remove(place: Pointer, value: &str) -> Edit {
    if value.is_empty() {
        Edit::Remove(place)
    } else {
        Edit::Set(place, json!(value))
    }
}

/// A server that the document does not have yet.
pub(super) fn add_server(fields: &Fields, fleet: &Fleet) -> Result<Vec<Edit>, String> {
    let name = fields.name("The server's name")?;
    if fleet.servers.contains_key(&name) {
        return Err(format!("There is a server {name} already."));
    }
    let mut server = Map::new();
    let mut set = |key: &str, value: Value| server.insert(key.into(), value);
    set("address", json!(fields.needed("address", "The address")?));
    set("roles", json!(fields.words("roles")));
    set("products", json!(fields.words("products")));
    for key in ["zone", "instance"] {
        let text = fields.get(key);
        if !text.is_empty() {
            set(key, json!(text));
        }
    }
    Ok(vec![Edit::Set(
        server_place(name.as_str()),
        Value::Object(server),
    )])
}

/// What is asked for of a server that there is.
pub(super) fn edit_server(name: &str, fields: &Fields, fleet: &Fleet) -> Result<Vec<Edit>, String> {
    let server = (fleet.servers.get(name))
        .ok_or_else(|| format!("There is no server {name} in the draft."))?;
    let place = server_place(name);
    let state = |state: &str| Edit::Set(place.then("state"), json!(state));
    match fields.get("action") {
        "activate" => Ok(vec![Edit::Remove(place.then("state"))]),
        "drain" => Ok(vec![state("draining")]),
        "retire" => Ok(vec![state("retired")]),
        "remove" if server.state != ServerState::Retired => Err(format!(
            "{name} is not retired. Retire it and publish: its agent then removes what it owns, and status says when nothing is left. \
             Then remove it here."
        )),
        "remove" => Ok(vec![Edit::Remove(place)]),
        "change" => Ok(vec![
            Edit::Set(
                place.then("address"),
                json!(fields.needed("address", "The address")?),
            ),
            set_or_remove(place.then("zone"), fields.get("zone")),
            set_or_remove(place.then("instance"), fields.get("instance")),
            Edit::Set(place.then("roles"), json!(fields.words("roles"))),
            Edit::Set(place.then("products"), json!(fields.words("products"))),
        ]),
        other => Err(format!("Nothing is known of {other:?}.")),
    }
}

/// What is asked for of a product that there is.
pub(super) fn edit_product(
    product: &str,
    fields: &Fields,
    fleet: &Fleet,
) -> Result<Vec<Edit>, String> {
    let has = (fleet.products.get(product))
        .ok_or_else(|| format!("There is no product {product} in the draft."))?;
    let place = product_place(product);
    match fields.get("action") {
        "add-site" => {
            let name = fields.name("The site's name")?;
            if has.sites.contains_key(&name) {
                return Err(format!(
                    "{product} has a site {name} already: change it in the draft's text."
                ));
            }
            let domains = fields.words("domains");
            if domains.is_empty() {
                return Err("The domains are missing.".into());
            }
            let root = fields.needed("root", "The directory")?;
            let site = json!({"domains": domains, "root": root});
            Ok(vec![Edit::Set(place.then("sites").then(&name), site)])
        }
        "remove-site" => Ok(vec![Edit::Remove(
            place.then("sites").then(fields.get("name")),
        )]),
        "add-job" => {
            let name = fields.name("The job's name")?;
            if has.cron.contains_key(&name) {
                return Err(format!(
                    "{product} has a job {name} already: change it in the draft's text."
                ));
            }
            let mut job = Map::new();
            let mut set = |key: &str, value: Value| job.insert(key.into(), value);
            set(
                "schedule",
                json!(fields.needed("schedule", "The schedule")?),
            );
            set("user", json!(fields.needed("user", "The account")?));
            set("command", json!(fields.needed("command", "The command")?));
            let on = fields.words("on");
            if !on.is_empty() {
                set("on", json!(on));
            }
            if fields.get("run") == "one" {
                set("run", json!("one"));
            }
            let job = Value::Object(job);
            Ok(vec![Edit::Set(place.then("cron").then(&name), job)])
        }
        "remove-job" => Ok(vec![Edit::Remove(
            place.then("cron").then(fields.get("name")),
        )]),
        "promote" => {
            let release = place.then("release");
            let set = |key: &str, value: &str| Edit::Set(release.then(key), Value::from(value));
            Ok(vec![
                set("version", fields.needed("version", "The version")?),
                set("object", fields.needed("object", "The object's key")?),
                set("sha256", fields.needed("sha256", "The SHA-256")?),
            ])
        }
        other => Err(format!("Nothing is known of {other:?}.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Document;

    fn fields(fields: &[(&str, &str)]) -> Fields {
        let field = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Fields(fields.iter().map(field).collect())
    }

    const TEXT: &str = r#"{"signatures": [], "signed": {"format": 1, "fleet": "f", "version": 41, "issued": "2026-01-01T00:00:00Z",
      "expires": "2126-01-01T00:00:00Z", "servers": {"web-1": {"address": "10.0.0.1", "zone": "a", "state": "retired"},
      "web-2": {"address": "10.0.0.2"}}, "roles": {"web": {}}, "products": {"shop": {"sites": {"www": {"domains": ["a.example"],
      "root": "/srv/a"}}}}}}"#;

    /// The document after the edits, which must be good.
    fn after(edits: &[Edit]) -> Value {
        let text = edits
            .iter()
            .fold(TEXT.to_owned(), |text, edit| edit.apply(&text).unwrap());
        Document::read(text.as_bytes()).unwrap_or_else(|mistakes| panic!("{mistakes:?}\n{text}"));
        serde_json::from_str::<Value>(&text).unwrap()["signed"].take()
    }

    fn fleet() -> std::sync::Arc<Fleet> {
        Document::read(TEXT.as_bytes()).unwrap().fleet
    }

    #[test]
    fn a_machine_becomes_a_server() {
        let filled = fields(&[
            ("name", " web-3 "),
            ("address", "10.0.0.3"),
            ("zone", "b"),
            ("roles", "web"),
            ("products", "shop,\r\n"),
            ("instance", "i-0a11"),
        ]);
        let signed = after(&add_server(&filled, &fleet()).unwrap());
        assert_eq!(
            signed["servers"]["web-3"],
            json!({"address": "10.0.0.3", "zone": "b", "roles": ["web"], "products": ["shop"], "instance": "i-0a11"})
        );
        let twice = fields(&[("name", "web-1"), ("address", "10.0.0.9")]);
        assert!(
            add_server(&twice, &fleet())
                .unwrap_err()
                .contains("already")
        );
        let wrong = fields(&[("name", "Web 9"), ("address", "10.0.0.9")]);
        assert!(
            add_server(&wrong, &fleet())
                .unwrap_err()
                .contains("is no name")
        );
        assert!(add_server(&fields(&[("name", "web-9")]), &fleet()).is_err());
    }

    #[test]
    fn a_server_is_moved_drained_retired_and_only_then_removed() {
        let act =
            |name: &str, action: &str| edit_server(name, &fields(&[("action", action)]), &fleet());
        assert_eq!(
            after(&act("web-2", "drain").unwrap())["servers"]["web-2"]["state"],
            "draining"
        );
        assert_eq!(
            after(&act("web-2", "retire").unwrap())["servers"]["web-2"]["state"],
            "retired"
        );
        assert_eq!(
            after(&act("web-1", "activate").unwrap())["servers"]["web-1"]["state"],
            Value::Null
        );
        assert!(act("web-2", "remove").unwrap_err().contains("not retired"));
        assert_eq!(
            after(&act("web-1", "remove").unwrap())["servers"]["web-1"],
            Value::Null
        );
        assert!(act("web-9", "drain").is_err() && act("web-1", "").is_err());
        let moved = fields(&[
            ("action", "change"),
            ("address", "10.0.1.1"),
            ("zone", ""),
            ("roles", "web"),
            ("products", "shop"),
        ]);
        let signed = after(&edit_server("web-1", &moved, &fleet()).unwrap());
        assert_eq!(
            signed["servers"]["web-1"],
            json!({"address": "10.0.1.1", "state": "retired", "roles": ["web"], "products": ["shop"]})
        );
    }

    #[test]
    fn sites_jobs_and_releases_are_added_and_taken_away() {
        let act = |of: &[(&str, &str)]| edit_product("shop", &fields(of), &fleet());
        let site = act(&[
            ("action", "add-site"),
            ("name", "blog"),
            ("domains", "b.example c.example"),
            ("root", "/srv/b"),
        ]);
        assert_eq!(
            after(&site.unwrap())["products"]["shop"]["sites"]["blog"],
            json!({"domains": ["b.example", "c.example"], "root": "/srv/b"})
        );
        let twice = act(&[
            ("action", "add-site"),
            ("name", "www"),
            ("domains", "x.example"),
            ("root", "/srv/x"),
        ]);
        assert!(twice.unwrap_err().contains("already"));
        let gone = after(&act(&[("action", "remove-site"), ("name", "www")]).unwrap());
        assert_eq!(gone["products"]["shop"]["sites"], json!({}));
        let job = act(&[
            ("action", "add-job"),
            ("name", "tick"),
            ("schedule", "*/5 * * * *"),
            ("user", "shop"),
            ("command", "/bin/tick --a='b c'"),
            ("on", "web"),
            ("run", "one"),
        ]);
        assert_eq!(
            after(&job.unwrap())["products"]["shop"]["cron"]["tick"],
            json!({"schedule": "*/5 * * * *", "user": "shop", "command": "/bin/tick --a='b c'", "on": ["web"], "run": "one"})
        );
        let sha256 = "0".repeat(64);
        let release = act(&[
            ("action", "promote"),
            ("version", "2"),
            ("object", "releases/shop/2.tar.zst"),
            ("sha256", &sha256),
        ]);
        assert_eq!(release.unwrap().len(), 3);
        assert!(act(&[("action", "promote"), ("version", "2")]).is_err());
    }
}
