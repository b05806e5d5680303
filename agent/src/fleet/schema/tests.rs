use std::net::IpAddr;

use serde_json::{Value, json};

use super::*;
use crate::fleet::Document;

const HEAVY: &str = include_str!("../../../../tests/fleets/heavy.json");
const EVERY_FIELD: &str = include_str!("../../../../tests/documents/good/every-field.json");

#[test]
fn the_schema_is_as_reviewed() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&schema()).unwrap());
}

/// Whether `value` fits `schema`, as far as our schema's keywords go. A keyword that is unknown here fails the test,
/// so that nothing is passed over.
fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    schema.as_object().unwrap().iter().all(|(keyword, wanted)| {
        let each = |fits_one: &dyn Fn(&Value) -> bool| {
            wanted
                .as_array()
                .unwrap()
                .iter()
                .filter(|s| fits_one(s))
                .count()
        };
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" => true,
            "$ref" => {
                let name = wanted.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                fits(root, &root["$defs"][name], value)
            }
            "type" => match wanted {
                Value::Array(types) => types.iter().any(|one| is_a(one, value)),
                one => is_a(one, value),
            },
            "anyOf" => each(&|schema| fits(root, schema, value)) > 0,
            "oneOf" => each(&|schema| fits(root, schema, value)) == 1,
            "const" => wanted == value,
            "enum" => wanted.as_array().unwrap().contains(value),
            "pattern" => value.as_str().is_none_or(|text| {
                regex_lite::Regex::new(wanted.as_str().unwrap())
                    .unwrap()
                    .is_match(text)
            }),
            "format" => match (wanted.as_str().unwrap(), value.as_str()) {
                ("ipv4", Some(text)) => matches!(text.parse(), Ok(IpAddr::V4(_))),
                ("ipv6", Some(text)) => matches!(text.parse(), Ok(IpAddr::V6(_))),
                ("ipv4" | "ipv6", None) | ("uint32" | "uint64", _) => true,
                (other, _) => panic!("unknown format {other}"),
            },
            "minimum" => value
                .as_f64()
                .is_none_or(|number| number >= wanted.as_f64().unwrap()),
            "maximum" => value
                .as_f64()
                .is_none_or(|number| number <= wanted.as_f64().unwrap()),
            "minItems" => value
                .as_array()
                .is_none_or(|list| list.len() as u64 >= wanted.as_u64().unwrap()),
            "items" => value
                .as_array()
                .is_none_or(|list| list.iter().all(|item| fits(root, wanted, item))),
            "required" => value.as_object().is_none_or(|object| {
                each(&|key| object.contains_key(key.as_str().unwrap()))
                    == wanted.as_array().unwrap().len()
            }),
            "properties" => value.as_object().is_none_or(|object| {
                object.iter().all(|(key, value)| {
                    wanted
                        .get(key)
                        .is_none_or(|schema| fits(root, schema, value))
                })
            }),
            "patternProperties" => value.as_object().is_none_or(|object| {
                wanted.as_object().unwrap().iter().all(|(pattern, schema)| {
                    let pattern = regex_lite::Regex::new(pattern).unwrap();
                    object
                        .iter()
                        .all(|(key, value)| !pattern.is_match(key) || fits(root, schema, value))
                })
            }),
            "additionalProperties" => {
                assert_eq!(wanted, &json!(false));
                value.as_object().is_none_or(|object| {
                    object.keys().all(|key| {
                        schema["properties"].get(key).is_some()
                            || schema["patternProperties"]
                                .as_object()
                                .is_some_and(|patterns| {
                                    patterns.keys().any(|pattern| {
                                        regex_lite::Regex::new(pattern).unwrap().is_match(key)
                                    })
                                })
                    })
                })
            }
            other => panic!("the schema uses `{other}`, which this test does not know"),
        }
    })
}

fn is_a(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    }
}

#[test]
fn good_documents_fit() {
    let schema = schema();
    for text in [HEAVY, EVERY_FIELD] {
        assert!(fits(&schema, &schema, &serde_json::from_str(text).unwrap()));
    }
}

#[test]
fn every_object_of_the_schema_is_closed() {
    fn closed(schema: &Value, at: &str) {
        match schema {
            Value::Object(keywords) => {
                if keywords.get("type") == Some(&json!("object")) {
                    assert_eq!(
                        keywords.get("additionalProperties"),
                        Some(&json!(false)),
                        "{at}"
                    );
                }
                for (key, value) in keywords {
                    closed(value, &format!("{at}/{key}"));
                }
            }
            Value::Array(items) => items.iter().for_each(|item| closed(item, at)),
            _ => {}
        }
    }
    closed(&schema(), "");
}

#[test]
fn the_schema_refuses_what_the_types_refuse() {
    let schema = schema();
    for (pointer, wrong) in [
        ("/signed/format", json!(2)),
        ("/signed/version", json!(-1)),
        ("/signed/version", json!("7")),
        ("/signed/fleet", json!("North")),
        ("/signed/issued", json!("yesterday")),
        ("/signed/servers", json!([])),
        (
            "/signed/servers",
            json!({ "Web_1": { "address": "10.0.0.1" } }),
        ),
        ("/signed/servers/web-1", json!({})),
        ("/signed/servers/web-1", json!(["10.0.0.1"])),
        (
            "/signed/servers/web-1",
            json!({ "address": "10.0.0.1", "colour": "red" }),
        ),
        ("/signed/servers/web-1/address", json!("10.0.0.256")),
        ("/signed/servers/web-1/roles", json!("web")),
        ("/signed/servers/web-1/zone", json!("us east")),
        ("/signed/servers/web-3/state", json!("gone")),
        ("/signed/servers/web-3/state", json!({ "draining": null })),
        ("/signed/roles/web", json!({ "flies": {} })),
        ("/signed/products/shop/sites/www/domains", json!([])),
        (
            "/signed/products/shop/sites/www/domains/0",
            json!("www.*.example.com"),
        ),
        ("/signed/products/shop/sites/www/root", json!("srv")),
        ("/signed/products/shop/sites/admin/port", json!(0)),
        ("/signed/products/shop/sites/admin/port", json!(65536)),
        (
            "/signed/products/shop/sites/admin/allow",
            json!(["everyone"]),
        ),
        ("/signed/products/shop/sites/www/root", json!("/srv/a\"b")),
        ("/signed/products/shop/sites/www/root", json!({})),
        (
            "/signed/products/shop/sites/www",
            json!({"domains": ["a.example.com"], "redirect": {"to": "https://a.example.com", "status": 303}}),
        ),
        (
            "/signed/products/shop/sites/www",
            json!({"domains": ["a.example.com"], "redirect": {"to": "a.example.com"}}),
        ),
        (
            "/signed/products/shop/sites/www",
            json!({"domains": ["a.example.com"], "root": "/srv/a", "options": [{"Indexes": null}]}),
        ),
        (
            "/signed/products/shop/sites/www",
            json!({"domains": ["a.example.com"], "root": "/srv/a", "options": ["All"]}),
        ),
        (
            "/signed/products/shop/sites/www",
            json!({"domains": ["a.example.com"], "root": "/srv/a", "allow_override": "All"}),
        ),
        (
            "/signed/products/shop/sites/www",
            json!({"domains": ["a.example.com"], "root": "/srv/a", "auth": {"realm": "a"}}),
        ),
        (
            "/signed/products/shop/sites/www",
            json!({"domains": ["a.example.com"], "root": "/srv/a", "error_documents": {"200": "/a"}}),
        ),
        (
            "/signed/products/shop/sites/www",
            json!({"domains": ["a.example.com"], "root": "/srv/a", "access_log": "none"}),
        ),
        (
            "/signed/products/shop/sites/www",
            json!({"domains": ["a.example.com"], "root": "/srv/a", "scheme": "ftp"}),
        ),
        ("/signed/roles/web", json!({"packages": ["-q"]})),
        (
            "/signed/roles/web",
            json!({"files": {"/etc/motd": {"content": "", "mode": 420}}}),
        ),
        (
            "/signed/roles/web",
            json!({"files": {"/etc/motd": {"object": "../x", "sha256": "ab"}}}),
        ),
        ("/signed/roles/web", json!({"packages": [{"naem": "a"}]})),
        ("/signed/products/shop/cache/memory", json!("64MB")),
        ("/signed/products/shop/cache/list/format", json!("yaml")),
        ("/signed/products/shop/database/chain", json!([])),
        (
            "/signed/products/shop/database/snapshots/every",
            json!("quarterly"),
        ),
        ("/signed/products/shop/cron/tick/schedule", json!("@every")),
        ("/signed/products/shop/cron/tick/command", json!("a\nb")),
        ("/signed/products/shop/cron/tick/user", json!("root;id")),
        ("/signed/products/shop/cron/digest/run", json!("once")),
        ("/signatures", json!({})),
        ("/signatures", json!([{ "key": "ops" }])),
    ] {
        let mut document: Value = serde_json::from_str(HEAVY).unwrap();
        *document
            .pointer_mut(pointer)
            .unwrap_or_else(|| panic!("{pointer}")) = wrong.clone();
        assert!(
            !fits(&schema, &schema, &document),
            "the schema accepts {wrong} at {pointer}"
        );
        assert!(
            Document::read(document.to_string().as_bytes()).is_err(),
            "{wrong} is accepted at {pointer}"
        );
    }
}
