//! The ledger of node-agent 0.1.0, which had no format of its own: paths and units apart.

use serde_json::{Map, Value, json};

/// The same in the next format.
pub(super) fn upgraded(value: Value) -> Result<Value, serde_json::Error> {
    let mut old: Map<String, Value> = serde_json::from_value(value)?;
    let mut things = Map::new();
    if let Some(Value::Object(paths)) = old.remove("paths") {
        for (path, owned) in paths {
            things.insert(format!("path:{path}"), owned);
        }
    }
    if let Some(Value::Object(units)) = old.remove("units") {
        for (unit, step) in units {
            let kind = old
                .get("steps")
                .and_then(|steps| steps.get(step.as_str()?)?.get("kind"))
                .cloned()
                .unwrap_or_else(|| "cache".into());
            // What it read when it was started last nobody wrote down: an empty digest says so.
            let owned = json!({
                "kind": kind, "step": step, "form": "unit", "digest": "", "origins": [],
                "run": 0, "written": "1970-01-01T00:00:00Z", "version": 0,
            });
            things.insert(format!("unit:{unit}"), owned);
        }
    }
    old.insert("things".into(), Value::Object(things));
    Ok(Value::Object(old))
}
