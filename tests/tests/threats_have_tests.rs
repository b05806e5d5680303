//! The page on security names a test for each defence: each of them is there.

#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names of all tests below a directory.
fn tests_below(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                let function = line.strip_prefix("async ").unwrap_or(line);
                if line == "#[test]" || line.starts_with("#[tokio::test") {
                    is_test = true;
                } else if let Some(rest) = function.strip_prefix("fn ")
                    && std::mem::take(&mut is_test)
                {
                    let name = rest.split('(').next().unwrap_or_default();
                    found.insert(name.to_owned());
                }
            }
        }
    }
}

#[test]
fn each_defence_has_its_test() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut there = BTreeSet::new();
    for dir in ["agent/src", "tests/tests", "tests/src"] {
        tests_below(&root.join(dir), &mut there);
    }
    assert!(there.len() > 500, "{}", there.len());
    let page = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let (_, table) = page.split_once("| attack |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let rows: Vec<&str> = table.lines().skip(2).collect();
    assert!(rows.len() > 20, "{}", rows.len());
    for row in rows {
        let test = row
            .trim_end_matches(" |")
            .rsplit(" | ")
            .next()
            .unwrap_or_default();
        let test = test.trim_matches('`');
        assert!(there.contains(test), "no test {test}: {row}");
    }
}
