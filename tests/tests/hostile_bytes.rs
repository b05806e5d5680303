//! Whatever bytes reach the agent from outside, reading them ends: no panic, no second of work for a few kilobytes, and what was read
//! is what was written.
//!
//! Bytes are made of good ones: cut, doubled, exchanged, with words of the formats in them. Two seconds for each reader, or
//! `HOSTILE_SECS=600`: `cargo test --workspace --test hostile_bytes -- --nocapture` says how often each was called.
//! Bytes that were too much for a reader once stand in `tests/corpus/READER/`, and are read first.

#![cfg(test)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use node_agent::control::messages::{Request, Response};
use node_agent::database::gtid::{Flavour, Gtids};
use node_agent::database::lease::Lease;
use node_agent::fleet::{Document, Edit, Pointer, unsealed};
use node_agent::report::{NodeReport, RunRecord, Status};
use node_agent::resource::{block, reads_as_list};
use node_agent::settings::{Overrides, Settings};
use serde_json::json;

/// The largest bytes that are made.
const LARGEST: usize = 64 * 1024;
/// No reader takes longer for them, on a busy machine and not optimised.
const LONGEST: Duration = Duration::from_secs(10);

/// Numbers that look like chance and are the same in each run: xorshift.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or_default() % most.max(1)
    }
}

/// Words that mean something to one of the readers.
const WORDS: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "null",
    "true",
    "1e999",
    "-0",
    "18446744073709551616",
    "9007199254740993",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "\u{1b}[2J",
    "\n",
    "\r\n",
    "\0",
    "\t",
    "signed",
    "signatures",
    "servers",
    "products",
    "roles",
    "address",
    "files",
    "template",
    "{{ x }}",
    "# BEGIN node-agent\n",
    "# END node-agent\n",
    "127.0.0.1\tlocalhost\n",
    "::ffff:1.2.3.4",
    "0-1-2,1-1-3",
    "3E11FA47-71CA-11E1-9E33-C80AA9429562:1-5",
    "[trust]\n",
    "fleet = \"s3://",
    "../../etc/shadow",
    "/",
];

/// Other bytes, made of these.
fn changed(bytes: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len() + 1);
        match chance.below(7) {
            0 => bytes.truncate(at),
            1 => {
                let word = WORDS[chance.below(WORDS.len())];
                bytes.splice(at..at, word.bytes());
            }
            2 => {
                let end = (at + chance.below(64)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => {
                let from = chance.below(other.len() + 1);
                let end = (from + chance.below(512)).min(other.len());
                bytes.splice(at..at, other[from..end].iter().copied());
            }
            4 => {
                let end = (at + chance.below(256)).min(bytes.len());
                let piece = bytes[at..end].repeat(1 + chance.below(40));
                bytes.splice(at..at, piece);
            }
            5 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = u8::try_from(chance.below(256)).unwrap_or_default();
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << chance.below(8);
                }
            }
        }
        bytes.truncate(LARGEST);
    }
    bytes
}

/// Has `reader` read bytes made of `seeds` for a while. What it does not stand is written where the next run finds it.
fn attack(name: &str, seeds: &[Vec<u8>], reader: impl Fn(&[u8])) {
    let seconds = std::env::var("HOSTILE_SECS")
        .ok()
        .and_then(|text| text.parse().ok());
    let (end, started) = (Duration::from_secs(seconds.unwrap_or(2)), Instant::now());
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let found = fs::read_dir(&corpus).into_iter().flatten().flatten();
    let kept: Vec<Vec<u8>> = found
        .filter_map(|entry| fs::read(entry.path()).ok())
        .collect();
    let once = |bytes: &[u8]| {
        let before = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| reader(bytes)));
        if ended.is_ok() && before.elapsed() < LONGEST {
            return;
        }
        let path = std::env::temp_dir().join(format!("hostile-{name}"));
        #[expect(clippy::disallowed_methods, reason = "for whoever mends it")]
        let _ = fs::write(&path, bytes);
        panic!(
            "{name} does not stand {} ({:?}); keep it in {}",
            path.display(),
            before.elapsed(),
            corpus.display()
        );
    };
    seeds.iter().chain(&kept).for_each(|bytes| once(bytes));
    let mut pool = [seeds, &kept].concat();
    let seed = seconds.map_or(7, |_| {
        u64::try_from(started.elapsed().as_nanos()).unwrap_or(1) | 1
    });
    let (mut chance, mut executions) = (Chance(0x9e37_79b9_7f4a_7c15 ^ seed), 0_u64);
    while started.elapsed() < end {
        let (one, other) = (chance.below(pool.len()), chance.below(pool.len()));
        let bytes = changed(&pool[one], &pool[other], &mut chance);
        once(&bytes);
        executions += 1;
        // What was made now and then is what more is made of.
        if chance.below(200) == 0 {
            let place = chance.below(256);
            if place >= seeds.len() && place < pool.len() {
                pool[place] = bytes;
            } else if pool.len() < 256 {
                pool.push(bytes);
            }
        }
    }
    println!("{name}: {executions} executions in {:?}", started.elapsed());
    assert!(executions > 20, "{name}: {executions}");
}

fn below(dir: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let files = fs::read_dir(dir)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let json = files.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let read = json.map(|path| fs::read(path).unwrap());
    read.filter(|bytes| bytes.len() < 8192).collect()
}

#[test]
fn documents_and_envelopes() {
    let seeds = [below("documents/good"), below("documents/wrong")].concat();
    attack("document", &seeds, |bytes| {
        let _ = unsealed(bytes);
        let _ = Document::read_accepted(bytes);
        match Document::read(bytes) {
            Ok(document) => {
                let again = serde_json::to_string(&*document.fleet).unwrap();
                let again = Document::read(format!("{{\"signed\":{again}}}").as_bytes());
                assert_eq!(again.unwrap().fleet, document.fleet);
            }
            Err(mistakes) => {
                assert!((1..=101).contains(&mistakes.len()));
                for mistake in mistakes {
                    let line = mistake.to_string();
                    assert!(!line.chars().any(char::is_control), "{line:?}");
                }
            }
        }
    });
}

#[test]
fn edits_of_a_document() {
    attack("edit", &below("documents/good"), |bytes| {
        let text = String::from_utf8_lossy(bytes);
        for pointer in ["/signed/servers/web-1", "/signed", "/a~1b/c"] {
            let pointer = Pointer(pointer.into());
            if let Ok(edited) = Edit::Set(pointer.clone(), json!({"a": 1})).apply(&text)
                && let Err(error) = serde_json::from_str::<serde_json::Value>(&edited)
            {
                // Numbers that only serde finds too large.
                assert!(error.to_string().contains("out of range"), "{error}");
            }
            let _ = Edit::Remove(pointer).apply(&text);
        }
    });
}

#[test]
fn leases_and_positions() {
    let lease = br#"{"format": 1, "product": "shop", "epoch": 7, "owner": "db-2", "machine": ["5be2a1c09d7e"], "seq": 1201,
        "nonce": "000102030405060708090a0b0c0d0e0f", "ttl_ms": 10000, "state": "serving", "gtid": "0-1-4000", "since": "2026-11-30T00:00:00Z",
        "previous": {"owner": "db-1", "epoch": 6, "gtid": "0-1-3990"}}"#;
    let positions = b"0-1-2,1-1-3,2-7-18446744073709551615";
    let sets =
        b"3E11FA47-71CA-11E1-9E33-C80AA9429562:1-5:7, 3e11fa47-71ca-11e1-9e33-c80aa9429563:1";
    let product = "shop".parse().unwrap();
    attack(
        "lease",
        &[lease.to_vec(), positions.to_vec(), sets.to_vec()],
        |bytes| {
            if let Ok(lease) = Lease::read(bytes, &product) {
                assert_eq!(
                    Lease::read(&lease.bytes().unwrap(), &product).unwrap(),
                    lease
                );
            }
            let text = String::from_utf8_lossy(bytes);
            for flavour in [Flavour::MariaDb, Flavour::MySql] {
                if let Ok(position) = Gtids::parse(flavour, &text) {
                    let again = Gtids::parse(flavour, &position.to_string()).unwrap();
                    assert_eq!(again, position);
                }
            }
        },
    );
}

#[test]
fn hosts_files_and_node_lists() {
    let hosts = b"127.0.0.1\tlocalhost\n# BEGIN node-agent\n10.0.0.1\tweb-1\n# END node-agent\n10.0.0.2 other # c\n";
    let list = br#"[{"name": "cache-1", "host": "10.0.0.1", "port": 11211}]"#;
    let php = b"<?php\nreturn array(\n array('name' => 'a', 'host' => '10.0.0.1', 'port' => 11211),\n);\n";
    attack(
        "hosts",
        &[hosts.to_vec(), list.to_vec(), php.to_vec()],
        |bytes| {
            use node_agent::fleet::ListFormat as Format;
            let spliced = block::splice(bytes, "10.0.0.1\tweb-1\n");
            if let Ok(spliced) = spliced {
                assert_eq!(
                    block::splice(&spliced, "10.0.0.1\tweb-1\n").unwrap(),
                    spliced
                );
                assert_eq!(block::extract(&spliced), Some(&b"10.0.0.1\tweb-1\n"[..]));
            }
            let _ = (block::remove(bytes), block::outside(bytes));
            for format in [
                Format::Json,
                Format::Php,
                Format::Ini,
                Format::Text,
                Format::Libmemcached,
                Format::PhpSession,
                Format::PhpMemcacheSession,
            ] {
                let _ = reads_as_list(format, bytes);
            }
        },
    );
}

#[test]
fn settings() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agentd.toml");
    let sample = include_bytes!("../../packaging/agentd.toml").to_vec();
    let least = b"fleet = \"s3://fleet/prod\"\ntrust = \"none\"\nnode = \"web-1\"\npoll = \"200ms\"\n[s3]\nendpoint = \"http://a\"\n".to_vec();
    attack("settings", &[sample, least], |bytes| {
        #[expect(clippy::disallowed_methods, reason = "a file of the test's own")]
        fs::write(&path, bytes).unwrap();
        let overrides = Overrides {
            config: Some(path.clone()),
            root: Some(dir.path().into()),
            ..Overrides::default()
        };
        if let Err(error) = Settings::load(&overrides) {
            let _ = error.to_string();
        }
    });
}

#[test]
fn messages_of_the_socket_and_reports() {
    let seeds = [
        json!({"format": 1, "ask": {"apply": {"retry_quarantined": true}}}).to_string(),
        json!({"format": 1, "ask": "status"}).to_string(),
        json!({"format": 1, "id": 1, "node": "web-1", "trigger": "drift", "took_ms": 1, "steps": [], "problems": [],
            "document": {"fleet": "f", "version": 1, "digest": ""}, "started": "2026-11-30T00:00:00Z"})
        .to_string(),
    ];
    let seeds: Vec<Vec<u8>> = seeds.into_iter().map(String::into_bytes).collect();
    attack("messages", &seeds, |bytes| {
        let _ = serde_json::from_slice::<Request>(bytes);
        let _ = serde_json::from_slice::<Response>(bytes);
        let _ = serde_json::from_slice::<Status>(bytes);
        let _ = serde_json::from_slice::<NodeReport>(bytes);
        if let Ok(run) = serde_json::from_slice::<RunRecord>(bytes) {
            let _ = (run.bounded(), run.without_contents());
        }
    });
}
