use std::fmt::Write;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const HEAVY: &str = include_str!("../../../../tests/fleets/heavy.json");
const EVERY_FIELD: &str = include_str!("../../../../tests/documents/good/every-field.json");

/// Reads, and holds what every reading promises: no panic, no refusal without a reason, no fallback.
fn read(bytes: &[u8]) -> Result<Document, Vec<Mistake>> {
    let result = Document::read(bytes);
    if let Err(mistakes) = &result {
        assert!(!mistakes.is_empty());
        assert!(mistakes.len() <= 101);
        for mistake in mistakes {
            assert!(
                !mistake.message.contains("not a fleet document: "),
                "the slow path accepts what the fast one refuses: {mistake}\n{}",
                String::from_utf8_lossy(bytes)
            );
        }
        let positions: Vec<_> = mistakes.iter().filter_map(|m| m.position).collect();
        assert!(positions.is_sorted(), "{mistakes:?}");
    }
    result
}

#[test]
fn the_heavy_fleet_is_read() {
    let document = read(HEAVY.as_bytes()).unwrap();
    assert_eq!(document.id.fleet.as_str(), "heavy");
    assert_eq!(document.id.version, 1);
    assert_eq!(document.fleet.servers.len(), 11);
    assert_eq!(document.signatures, []);
}

#[test]
fn the_digest_is_of_the_exact_bytes_of_signed() {
    let signed = r#"{ "format":1, "fleet":"f","version":1,"issued":"2026-01-01T00:00:00Z",
        "expires":"2027-01-01T00:00:00Z","servers":{} }"#;
    let one = read(format!("{{\"signed\":{signed}}}").as_bytes()).unwrap();
    let other =
        read(format!(" {{ \"signatures\" : [] ,\n \"signed\" : {signed} \n}}\n").as_bytes())
            .unwrap();
    assert_eq!(one.id, other.id);
    assert_eq!(one.id.digest, sha256_hex(signed.as_bytes()));
    let spaced = read(format!("{{\"signed\":{}}}", signed.replace("\"f\"", " \"f\"")).as_bytes());
    assert_ne!(one.id.digest, spaced.unwrap().id.digest);
}

#[test]
fn what_is_written_is_read_as_the_same() {
    for text in [HEAVY, EVERY_FIELD] {
        let fleet = read(text.as_bytes()).unwrap().fleet;
        let written = format!("{{\"signed\":{}}}", serde_json::to_string(&*fleet).unwrap());
        assert_eq!(read(written.as_bytes()).unwrap().fleet, fleet);
    }
}

#[test]
fn lenient_forms_that_serde_would_take_are_refused() {
    for (from, to) in [
        // An object as a list of its fields, a word as an object, null for a default.
        (
            r#"{"address": "10.77.0.5",  "zone": "us-east-1a", "roles": ["monitor"], "products": []}"#,
            r#"["10.77.0.5"]"#,
        ),
        (r#""draining""#, r#"{"draining": null}"#),
        (r#""draining""#, "null"),
        (
            r#""aliases": {"master": ["mysql-master"], "replica": ["mysql-slave"]}"#,
            r#""aliases": [["mysql-master"]]"#,
        ),
        (r#""format": 1"#, r#""format": 1.0"#),
        (r#""format": 1"#, r#""format": 1e0"#),
        (r#""port": 8080"#, r#""port": -0"#),
        (r#""signatures": []"#, r#""signatures": [["ops", "x"]]"#),
        (r#""signatures": []"#, r#""signatures": null"#),
        (r#""web-2": "#, r#""web-1": "#),
        (r#""web-2": "#, r#""web\u002d1": "#),
        (
            r#""zone": "us-east-1a""#,
            r#""zone": "us-east-1a", "zone": "us-east-1b""#,
        ),
    ] {
        assert!(HEAVY.contains(from) || from.contains("web-2"), "{from}");
        let text = match from {
            r#""web-2": "# => HEAVY.replacen(r#""web-2":"#, to.trim_end(), 1),
            _ => HEAVY.replacen(from, to, 1),
        };
        assert_ne!(text, HEAVY);
        read(text.as_bytes()).expect_err(to);
    }
}

#[test]
fn truncated_anywhere_it_is_refused() {
    let end = HEAVY.trim_end().len();
    for len in 0..end {
        let mistakes = read(HEAVY.as_bytes().get(..len).unwrap()).unwrap_err();
        let [mistake] = mistakes.as_slice() else {
            panic!("{len}: {mistakes:?}");
        };
        assert!(
            mistake.message.contains("half uploaded"),
            "{len}: {mistake}"
        );
    }
}

#[test]
fn mistakes_point_at_the_line_and_the_character() {
    let text = HEAVY.replace("\"fleet\": \"heavy\"", "\"flëet\": \"heavy\", \"fleet\": 1");
    let mistakes = read(text.as_bytes()).unwrap_err();
    let shown: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "5:5: /signed/flëet: unknown field `flëet`; the fields here are `format`, `fleet`, `version`, `issued`, \
             `expires`, `servers`, `domain`, `confirm`, `rollout`, `roles`, `clusters` and `products`",
            "5:32: /signed/fleet: expected a name of 1 to 63 lower-case letters, digits and hyphens, no hyphen at \
             either end; found the number 1",
        ]
    );
}

/// A fleet of `servers` servers and `products` products that meet in every way.
fn large(servers: usize, products: usize) -> String {
    let mut text = String::from(
        r#"{"signed":{"format":1,"fleet":"large","version":1,"issued":"2026-01-01T00:00:00Z","expires":"2027-01-01T00:00:00Z","roles":{"web":{},"memcached":{},"database":{}},"servers":{"#,
    );
    for n in 0..servers {
        let role = ["web", "memcached", "database"].get(n % 3).unwrap();
        let (a, b) = (n % products, (n + 1) % products);
        let comma = if n == 0 { "" } else { "," };
        write!(
            text,
            r#"{comma}"s{n}":{{"address":"10.{}.{}.{}","roles":["{role}"],"products":["p{a}","p{b}"]}}"#,
            n / 65536,
            n / 256 % 256,
            n % 256
        )
        .unwrap();
    }
    text.push_str(r#"},"products":{"#);
    for n in 0..products {
        let comma = if n == 0 { "" } else { "," };
        let port = 11211 + n;
        write!(
            text,
            r#"{comma}"p{n}":{{"sites":{{"www":{{"domains":["p{n}.example.com"],"root":"/srv/p{n}"}}}},"cache":{{"port":{port},"memory":"64M","list":{{"path":"/etc/p{n}/nodes","format":"text"}}}},"cron":{{"tick":{{"schedule":"* * * * *","user":"root","command":"true","run":"one"}}}}}}"#
        )
        .unwrap();
    }
    text.push_str("}}}");
    text
}

#[test]
fn ten_thousand_servers_are_read_and_their_mistakes_found() {
    let text = large(10_000, 1_000);
    let document = read(text.as_bytes()).unwrap();
    assert_eq!(document.fleet.servers.len(), 10_000);
    // Every reference dangles: the worst case for looking up nearest names.
    let broken = text.replace(r#""products":["p"#, r#""products":["q"#);
    let mistakes = read(broken.as_bytes()).unwrap_err();
    assert_eq!(mistakes.len(), 101);
    assert_eq!(
        mistakes.last().unwrap().to_string(),
        "there are more than 100 mistakes, and no more were looked for: mend these first"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in r#"[\[\]{}",:0-9a-z\\. \n-]{0,80}"#) {
        let _ = read(text.as_bytes());
    }

    #[test]
    fn flipped_bytes(places in prop::collection::vec((0..EVERY_FIELD.len(), any::<u8>()), 1..4)) {
        let mut bytes = EVERY_FIELD.as_bytes().to_vec();
        for (place, byte) in places {
            bytes[place] = byte;
        }
        let _ = read(&bytes);
    }

    /// Only characters that JSON itself uses: most of what comes out is still JSON, or nearly.
    #[test]
    fn characters_exchanged_for_those_of_json(
        places in prop::collection::vec((0..EVERY_FIELD.len(), prop::sample::select(br#"{}[]",:0123456789.-+eE\tfnul "#.to_vec())), 1..6),
    ) {
        let mut bytes = EVERY_FIELD.as_bytes().to_vec();
        for (place, byte) in places {
            bytes[place] = byte;
        }
        let _ = read(&bytes);
    }

    #[test]
    fn lines_exchanged(one in any::<prop::sample::Index>(), other in any::<prop::sample::Index>()) {
        let mut lines: Vec<&str> = HEAVY.lines().collect();
        let (one, other) = (one.index(lines.len()), other.index(lines.len()));
        lines.swap(one, other);
        let _ = read(lines.join("\n").as_bytes());
    }

    /// A value anywhere is replaced by any other kind of value: always JSON, seldom a document.
    #[test]
    fn values_exchanged(
        which in any::<prop::sample::Index>(),
        value in prop::sample::select(vec![
            "null", "true", "0", "1", "-1", "1.5", "1e400", "18446744073709551616", "\"\"", "\"a\"", "\"10.0.0.1\"",
            "\"/a\"", "[]", "[null]", "[\"a\"]", "[[]]", "{}", "{\"a\":{}}", "{\"a\":1,\"a\":2}", "\"\\ud800\"",
        ]),
    ) {
        let tree = Node::parse(EVERY_FIELD).unwrap();
        let mut spans = Vec::new();
        spans_of(&tree, EVERY_FIELD, &mut spans);
        let (start, end) = spans[which.index(spans.len())];
        let text = format!("{}{value}{}", EVERY_FIELD.get(..start).unwrap(), EVERY_FIELD.get(end..).unwrap());
        let _ = read(text.as_bytes());
    }

    /// Our own parser and serde's agree on what JSON is.
    #[test]
    fn what_is_json_is_agreed(
        places in prop::collection::vec((0..EVERY_FIELD.len(), prop::sample::select(br#"{}[]",:0123456789.-+eE\/tfnul "#.to_vec())), 0..3),
    ) {
        let mut bytes = EVERY_FIELD.as_bytes().to_vec();
        for (place, byte) in places {
            bytes[place] = byte;
        }
        let text = String::from_utf8(bytes).unwrap();
        let ours = Node::parse(&text);
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        match (&ours, &theirs) {
            (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("out of range"), "{error}\n{text}"),
            (Err(error), Ok(_)) => prop_assert!(false, "{error:?}\n{text}"),
            _ => {}
        }
    }
}

fn spans_of(node: &Node<'_>, text: &str, spans: &mut Vec<(usize, usize)>) {
    let rest = text.get(node.start..).unwrap();
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<serde::de::IgnoredAny>();
    values.next().unwrap().unwrap();
    assert_eq!(node.end, node.start + values.byte_offset());
    spans.push((node.start, node.end));
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| spans_of(&item, text, spans)),
        Value::Object(members) => members
            .iter()
            .for_each(|member| spans_of(&member.value, text, spans)),
        _ => {}
    }
}

/// A document whose server `web-1` has these members besides its address.
fn with_members(members: &str) -> String {
    format!(
        r#"{{"signed": {{"format": 1, "fleet": "f", "version": 1, "issued": "2026-01-01T00:00:00Z",
            "expires": "2027-01-01T00:00:00Z", "servers": {{"web-1": {{"address": "10.0.0.1", {members}}}}}}}}}"#
    )
}

#[test]
fn many_mistakes_are_told_in_a_time_that_grows_with_the_file() {
    const MANY: usize = 30_000;
    let many = |entry: &dyn Fn(usize) -> String| -> String {
        (0..MANY).map(entry).collect::<Vec<_>>().join(",")
    };
    for members in [
        many(&|n| format!(r#""unknown-{n}": 1"#)),
        many(&|_| r#""again": 1"#.to_owned()),
        format!(
            r#""roles": [{}]"#,
            many(&|n| if n % 2 == 0 {
                r#""R""#.to_owned()
            } else {
                format!(r#""r{n}""#)
            })
        ),
    ] {
        let started = Instant::now();
        let mistakes = read(with_members(&members).as_bytes()).unwrap_err();
        assert_eq!(mistakes.len(), 101);
        // Each takes a second or two without optimisation; with the square of the number it was minutes.
        let took = started.elapsed();
        assert!(took < Duration::from_secs(30), "{took:?}");
    }
}

/// Eight MB of anything, as the agent would read it: what is wrong, and how large it is.
fn hostile(bytes: usize) -> Vec<(&'static str, String)> {
    let fill = |entry: &dyn Fn(usize) -> String| {
        let mut text = String::with_capacity(bytes + 100);
        for n in 0.. {
            if text.len() >= bytes {
                break;
            }
            text.push_str(&entry(n));
            text.push(',');
        }
        text.pop();
        text
    };
    let signed = |members: &str| {
        format!(
            r#"{{"signed": {{"format": 1, "fleet": "f", "version": 1, "issued": "2026-01-01T00:00:00Z",
                "expires": "2027-01-01T00:00:00Z", "servers": {{}}, {members}}}}}"#
        )
    };
    let long = "x".repeat(bytes);
    vec![
        (
            "unknown fields",
            with_members(&fill(&|n| format!(r#""unknown-{n}": 1"#))),
        ),
        (
            "one field again and again",
            with_members(&fill(&|_| r#""zone": "z""#.into())),
        ),
        (
            "numbers for roles",
            with_members(&format!(r#""roles": [{}]"#, fill(&|_| "1".into()))),
        ),
        (
            "roles that there are not",
            with_members(&format!(
                r#""roles": [{}]"#,
                fill(&|n| format!(r#""r{n}""#))
            )),
        ),
        (
            "foreign",
            format!(
                "[{}]",
                fill(&|n| format!(
                    r#"{{"id": {n}, "tags": ["a", "b"], "user": {{"name": "n{n}"}}}}"#
                ))
            ),
        ),
        ("arrays in arrays", "[".repeat(bytes)),
        (
            "a long string",
            with_members(&format!(r#""zone": "{long}""#)),
        ),
        (
            "a long escaped string",
            with_members(&format!(r#""zone": "{}""#, "\\u0061".repeat(bytes / 6))),
        ),
        ("a long key", with_members(&format!(r#""{long}": 1"#))),
        (
            "mistakes in a long key",
            signed(&format!(
                r#""products": {{"{}": {{{}}}}}"#,
                long.get(..bytes / 2).unwrap(),
                fill(&|n| format!(r#""u{n}": 1"#))
            )),
        ),
        (
            "products",
            signed(&format!(
                r#""products": {{{}}}"#,
                fill(&|n| format!(r#""p{n}": {{}}"#))
            ))
            .replace(r#""version": 1"#, r#""version": "x""#),
        ),
        (
            "wrong servers",
            signed(&format!(
                r#""roles": {{{}}}"#,
                fill(&|n| format!(r#""R{n}": {{"cron": {{"x": []}}}}"#))
            )),
        ),
        (
            "servers that clash",
            signed("").replace(
                r#""servers": {}, "#,
                &format!(
                    r#""servers": {{{}}}"#,
                    fill(&|n| format!(r#""s{n}": {{"address": "10.0.0.1"}}"#))
                ),
            ),
        ),
        (
            "brackets",
            format!(r#"{{"signed": {}"#, r#"{"a": "#.repeat(bytes / 6)),
        ),
        ("binary", "\u{0}\u{1}".repeat(bytes / 2)),
        ("lines", "\n".repeat(bytes)),
    ]
}

/// How long this thread computed, whoever else wants the processor.
fn computed() -> Duration {
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    nix::time::clock_gettime(clock).unwrap().into()
}

#[test]
fn whatever_is_wrong_is_refused_in_a_time_that_grows_with_the_file() {
    const SMALL: usize = 128 * 1024;
    let took = |bytes: usize| -> Vec<(&'static str, Duration)> {
        let cases = hostile(bytes).into_iter();
        let timed = cases.map(|(what, text)| {
            let before = computed();
            let mistakes = read(text.as_bytes()).expect_err(what);
            let took = computed().saturating_sub(before);
            let said: usize = mistakes
                .iter()
                .map(|mistake| mistake.to_string().len())
                .sum();
            assert!(said < 200 * 1024, "{what}: {said} bytes are told");
            (what, took)
        });
        timed.collect()
    };
    let (small, large) = (took(SMALL), took(4 * SMALL));
    for ((what, small), (_, large)) in small.into_iter().zip(large) {
        // Four times as much; with the square of the size it would be sixteen times.
        let most = small.max(Duration::from_millis(20)) * 9;
        assert!(
            large < most,
            "{what}: {small:?}, and four times as much {large:?}"
        );
    }
}
