//! `docs/monitoring.md` has every event of the code, with its levels and fields, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const PAGE: &str = include_str!("../../../../docs/monitoring.md");

/// Levels and fields of each event.
type Events = BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>;

fn words(cell: &str) -> BTreeSet<String> {
    // What stands in brackets explains.
    let cell = cell.split('(').next().unwrap_or_default();
    let words = cell.split(',').map(str::trim);
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn on_the_page() -> Events {
    let (_, rest) = PAGE.split_once("\n| event | level | fields |").unwrap();
    let table = rest.split("\n\n").next().unwrap();
    let mut events = Events::new();
    for row in table.lines().skip(2) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, event, level, fields, meaning, _, _] = cells[..] else {
            panic!("not five columns: {row}");
        };
        assert!(!meaning.is_empty(), "{row}");
        let event = event.trim_matches('`').to_owned();
        assert!(
            events
                .insert(event, (words(level), words(fields)))
                .is_none(),
            "twice: {row}"
        );
    }
    events
}

/// What stands between the bracket at the beginning of `text` and its counterpart, split at its commas.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    let mut found = vec![String::new()];
    for c in text.chars() {
        if !quoted && matches!(c, ')' | ']' | '}') {
            depth -= 1;
            if depth == 0 {
                break;
            }
        }
        if !quoted && depth == 1 && c == ',' {
            found.push(String::new());
        } else if depth > 0 {
            found.last_mut().unwrap().push(c);
        }
        if !quoted && matches!(c, '(' | '[' | '{') {
            depth += 1;
        }
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = quoted && c == '\\' && !escaped;
    }
    found.iter().map(|part| part.trim().to_owned()).collect()
}

/// The name of a field: of `path = x`, `%error`, `version`. A message has none.
fn field(argument: &str) -> Option<String> {
    let name = argument.split('=').next()?.trim();
    let name = name.trim_start_matches(['%', '?']);
    let word = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    word.then(|| name.to_owned())
}

fn in_the_code(dir: &Path, events: &mut Events) {
    each_call(dir, &mut |file, level, arguments| {
        let mut arguments = arguments.iter();
        let first = arguments.next().map_or("", String::as_str);
        let event = first.strip_prefix("event = \"");
        let event = event.and_then(|rest| rest.strip_suffix('"'));
        let Some(event) = event else {
            panic!("{file}: a line without `event` first: {first}");
        };
        let (levels, fields) = events.entry(event.to_owned()).or_default();
        levels.insert(level.into());
        fields.extend(arguments.filter_map(|argument| field(argument)));
    });
}

/// Calls `look` for each event of the code: with the file, the level, and the macro's arguments.
fn each_call(dir: &Path, look: &mut dyn FnMut(&str, &str, &[String])) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            each_call(&path, look);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            if path.file_stem().is_some_and(|stem| stem == "tests") {
                continue;
            }
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            for (level, call) in ["error", "warn", "info", "debug", "trace"]
                .into_iter()
                .flat_map(|level| {
                    let name = format!("tracing::{level}!");
                    let calls: Vec<_> = code.split(&name).skip(1).map(str::to_owned).collect();
                    calls.into_iter().map(move |call| (level, call))
                })
            {
                if call.starts_with('(') {
                    look(&path.display().to_string(), level, &arguments(&call));
                }
            }
        }
    }
}

/// Fields that a person needs to make sense of an event: whoever reads only the message, as `journalctl` shows it, must
/// find what they say there too.
const NEEDED: [&str; 21] = [
    "address", "after", "before", "dir", "epoch", "error", "failures", "file", "fleet", "findings",
    "found_by", "node", "order", "owner", "path", "pid", "product", "reason", "server", "what",
    "why",
];

#[test]
fn the_message_alone_says_what_the_fields_say() {
    let mut wrong = Vec::new();
    each_call(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut |file, _, arguments| {
            // A message is a string in quotes, and what is put into it stands behind it.
            let message = arguments.iter().position(|each| each.starts_with('"'));
            let Some(message) = message else {
                return wrong.push(format!("{file}: no message: {arguments:?}"));
            };
            let (fields, told) = arguments.split_at(message);
            let asked: Vec<_> = fields
                .iter()
                .filter_map(|argument| field(argument))
                .filter(|name| NEEDED.contains(&name.as_str()))
                .collect();
            let text = told.first().map_or("", String::as_str);
            if text.matches('{').count() < asked.len() && !text.contains("{line}") {
                wrong.push(format!("{file}: {text} does not say {asked:?}"));
            }
        },
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn arguments_of_a_macro_are_told_apart() {
    let call = r#"(event = "x", path = %f(a, "b)"), %error, version, "said \", {error}", more = {1})), left)"#;
    let found = arguments(call);
    assert_eq!(found.len(), 6, "{found:?}");
    let fields: Vec<_> = found.iter().filter_map(|each| field(each)).collect();
    assert_eq!(fields, ["event", "path", "error", "version", "more"]);
}

#[test]
fn the_page_has_every_event_of_the_code_and_no_other() {
    let mut code = Events::new();
    in_the_code(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut code,
    );
    assert!(code.len() > 15, "{code:?}");
    let page = on_the_page();
    let mut wrong = Vec::new();
    for (event, told) in &code {
        match page.get(event) {
            None => wrong.push(format!("`{event}` is not on the page: {told:?}")),
            Some(said) if said != told => {
                wrong.push(format!("`{event}` is {told:?}, and the page says {said:?}"));
            }
            Some(_) => {}
        }
    }
    let gone = page.keys().filter(|event| !code.contains_key(*event));
    wrong.extend(gone.map(|event| format!("`{event}` is on the page and not in the code")));
    assert!(
        wrong.is_empty(),
        "docs/monitoring.md, Logs:\n{}",
        wrong.join("\n")
    );
}
