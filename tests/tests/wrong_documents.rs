//! Wrong documents are refused with all their mistakes, in words that help whoever wrote them.
//!
//! Each `documents/wrong/NAME.json` has its exact messages beside it in `NAME.expected`. After a deliberate change:
//! `UPDATE_GOLDEN=1 cargo test -p node-agent-tests --test wrong_documents`, then read what git says has changed.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use node_agent::fleet::{Document, Mistake};
use node_agent::node::eviction::Evictions;
use node_agent::node::{Elections, HostsScope, view};
use node_agent_tests::machine::{built, run};

fn documents(kind: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("documents")
        .join(kind);
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    files
}

fn messages(mistakes: &[Mistake]) -> String {
    let mut text = String::new();
    for mistake in mistakes {
        let _ = writeln!(text, "{mistake}");
    }
    text
}

#[test]
fn each_wrong_document_is_refused_with_the_messages_beside_it() {
    let files = documents("wrong");
    assert!(files.len() >= 25, "only {} wrong documents", files.len());
    let mut differences = String::new();
    for file in &files {
        let found = match Document::read(&fs::read(file).unwrap()) {
            Ok(_) => "accepted\n".to_owned(),
            Err(mistakes) => messages(&mistakes),
        };
        let golden = file.with_extension("expected");
        if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
            #[expect(
                clippy::disallowed_methods,
                reason = "a golden file in the source tree"
            )]
            fs::write(&golden, &found).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if found != expected {
            let name = file.display();
            write!(
                differences,
                "{name}\nexpected:\n{expected}found:\n{found}\n"
            )
            .unwrap();
        }
        assert_ne!(found, "accepted\n", "{}", file.display());
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn messages_are_lines_that_a_terminal_only_shows() {
    for file in documents("wrong") {
        for mistake in Document::read(&fs::read(&file).unwrap()).unwrap_err() {
            let line = mistake.to_string();
            assert!(!line.chars().any(char::is_control), "{line:?}");
            assert!(line.chars().count() < 500, "{line}");
        }
    }
}

#[test]
fn good_documents_are_accepted_and_every_server_has_a_view() {
    let mut files = documents("good");
    files.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("fleets/heavy.json"));
    assert!(files.len() >= 4);
    for file in files {
        let document = Document::read(&fs::read(&file).unwrap())
            .unwrap_or_else(|mistakes| panic!("{}:\n{}", file.display(), messages(&mistakes)));
        for name in document.fleet.servers.keys() {
            assert!(
                [HostsScope::Products, HostsScope::Fleet]
                    .into_iter()
                    .all(|hosts| {
                        let (elections, evictions) = (Elections::new(), Evictions::new());
                        view(&document.fleet, name, hosts, &elections, &evictions).is_some()
                    })
            );
        }
    }
}

/// The most memory that a program may have of its own to read a document: 96 MiB, and what it has at rest.
const MEMORY_KIB: u32 = 112 * 1024;

#[test]
fn no_document_costs_more_than_its_share_of_memory() {
    let bytes = 8 * 1024 * 1024 - 512;
    let fill = |entry: &dyn Fn(usize) -> String| {
        let mut text = String::with_capacity(bytes);
        for n in 0.. {
            let entry = entry(n);
            if text.len() + entry.len() > bytes - 512 {
                break;
            }
            text.push_str(&entry);
            text.push(',');
        }
        text.pop();
        text
    };
    let document = |member: &str| {
        format!(
            r#"{{"signed": {{"format": 1, "fleet": "f", "version": "x", "issued": "2026-01-01T00:00:00Z",
                "expires": "2027-01-01T00:00:00Z", {member}}}}}"#
        )
    };
    let server = |member: &str| {
        document(&format!(
            r#""servers": {{"web-1": {{"address": "10.0.0.1", {member}}}}}"#
        ))
    };
    let dir = tempfile::tempdir().unwrap();
    for (what, text) in [
        (
            "numbers",
            server(&format!(r#""roles": [{}]"#, fill(&|_| "1".into()))),
        ),
        (
            "names",
            server(&format!(
                r#""roles": [{}]"#,
                fill(&|n| format!(r#""role-{n}""#))
            )),
        ),
        (
            "unknown",
            server(&fill(&|n| format!(r#""unknown-{n}": 1"#))),
        ),
        (
            "products",
            document(&format!(
                r#""servers": {{}}, "products": {{{}}}"#,
                fill(&|n| {
                    format!(
                        r#""product-that-has-a-long-name-{n}": {{"cron": {{}}, "packages": ["x"]}}"#
                    )
                })
            )),
        ),
        (
            "servers",
            document(&format!(
                r#""servers": {{{}}}"#,
                fill(&|n| {
                    format!(
                        r#""server-that-has-a-long-name-{n}": {{"address": "10.0.0.1", "roles": ["web", "cache"], "zone": "z"}}"#
                    )
                })
            )),
        ),
        (
            "foreign",
            format!(
                "[{}]",
                fill(&|n| format!(r#"{{"id": {n}, "tags": ["a", "b"]}}"#))
            ),
        ),
    ] {
        let file = dir.path().join(format!("{what}.json"));
        #[expect(clippy::disallowed_methods, reason = "a file of the test's own")]
        fs::write(&file, text).unwrap();
        let program = built("agentctl").unwrap().display().to_string();
        let limited = format!("ulimit -d {MEMORY_KIB} && exec \"$0\" validate \"$1\"");
        let file = file.display().to_string();
        let argv = ["sh", "-c", &limited, &program, &file];
        let output = run(&argv, b"", Duration::from_mins(2)).unwrap();
        assert_eq!(output.code, Some(1), "{what}: {output:?}");
    }
}
