//! How mistakes are shown.

use super::*;
use crate::fleet::Pointer;

fn mistake(position: Option<(u32, u32)>, pointer: &str, message: &str) -> Mistake {
    Mistake {
        pointer: Pointer(pointer.into()),
        position,
        message: message.into(),
        other: None,
    }
}

#[test]
fn mistakes_stand_under_their_lines() {
    let text = "{\n  \"servers\": {\n\t\"wéb-1\": {\"adress\": \"10.0.0.1\"}\n  }\n}\n";
    let mistakes = [
        mistake(
            Some((3, 13)),
            "/signed/servers/web-1/adress",
            "unknown field `adress`; did you mean `address`?",
        ),
        mistake(None, "/signed/servers", "no server is active"),
        mistake(Some((99, 1)), "", "beyond the end"),
    ];
    insta::assert_snapshot!(bad(&mistakes, "fleet.json", text.as_bytes(), Paint::PLAIN));
}

#[test]
fn long_lines_and_hostile_ones_are_cut_and_escaped() {
    let text = format!("{}\x1b[2J\"adress\": 1{}", "x".repeat(300), "y".repeat(300));
    let mistakes = [mistake(Some((1, 305)), "/signed", "unknown\x1b[31m field")];
    insta::assert_snapshot!(bad(&mistakes, "fleet.json", text.as_bytes(), Paint::PLAIN));
}

#[test]
fn only_the_first_mistakes_are_quoted() {
    let mistakes: Vec<_> = (0..9)
        .map(|_| mistake(Some((1, 1)), "/signed", "wrong"))
        .collect();
    let text = bad(&mistakes, "f", b"{}", Paint::PLAIN);
    assert_eq!(text.matches('^').count(), QUOTED);
    assert!(text.ends_with("f: 9 mistakes\n"));
}

#[test]
fn an_expired_document_is_good_with_a_warning() {
    let document = Document::read(include_bytes!("../../../../tests/fleets/heavy.json")).unwrap();
    let now = "2099-03-01T00:00:00Z".parse().unwrap();
    let warned = warnings(&document.fleet, now);
    insta::assert_snapshot!(good(
        &document.fleet,
        &[],
        &warned,
        "heavy.json",
        Paint::PLAIN
    ));
    let then = "2026-11-23T00:00:00Z".parse().unwrap();
    let warned = warnings(&document.fleet, then);
    assert_eq!(warned.len(), 4);
    assert!(warned[1].contains("the product has no `release`"));
    assert!(warned[0].starts_with(
        "/signed/products/shop/sites/admin/allow/0: the fleet's own servers are in 10.0.0.0/8"
    ));
}
