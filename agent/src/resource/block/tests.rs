use proptest::prelude::*;

use super::{BLOCK_BEGIN, BLOCK_END, BlockError};

/// What the tests below say of a text, which is UTF-8 in all but one.
#[derive(Debug, PartialEq)]
enum BlockState<'a> {
    None,
    One { lines: &'a str },
    Malformed(String),
}

fn find(text: &str) -> BlockState<'_> {
    match super::find(text.as_bytes()) {
        super::BlockState::None => BlockState::None,
        super::BlockState::One { lines } => BlockState::One { lines: utf8(lines) },
        super::BlockState::Malformed(why) => BlockState::Malformed(why),
    }
}

fn extract(text: &str) -> Option<&str> {
    super::extract(text.as_bytes()).map(utf8)
}

fn splice(text: &str, lines: &str) -> Result<String, BlockError> {
    super::splice(text.as_bytes(), lines).map(|spliced| utf8(&spliced).to_owned())
}

fn remove(text: &str) -> String {
    utf8(&super::remove(text.as_bytes())).to_owned()
}

fn outside(text: &str) -> Vec<(usize, &str)> {
    let lines = super::outside(text.as_bytes()).into_iter();
    lines.map(|(number, line)| (number, utf8(line))).collect()
}

fn utf8(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn what_others_wrote_in_another_encoding_stays_byte_for_byte() {
    let latin = b"# der Drucker im B\xfcro\r\n192.0.2.7\tprinter\n".as_slice();
    let spliced = super::splice(latin, OURS).unwrap();
    assert!(spliced.ends_with(latin));
    assert_eq!(super::extract(&spliced), Some(OURS.as_bytes()));
    assert_eq!(super::remove(&spliced), latin);
}

fn block(lines: &str) -> String {
    format!("{BLOCK_BEGIN}\n{lines}{BLOCK_END}\n")
}

const OURS: &str = "10.0.0.1\tdb-1\n10.0.0.2\tdb-2\n";

#[test]
fn a_new_block_goes_to_the_top_and_leaves_no_trace_when_it_goes() {
    for text in [
        "",
        "127.0.0.1 localhost\n",
        "127.0.0.1 localhost",
        "a\r\nb\r\n",
        "\n\n",
        "\u{feff}x",
    ] {
        let spliced = splice(text, OURS).unwrap();
        assert_eq!(spliced, block(OURS) + text);
        assert_eq!(extract(&spliced), Some(OURS));
        assert_eq!(remove(&spliced), text);
    }
}

#[test]
fn a_block_keeps_its_place() {
    let text = format!("127.0.0.1 localhost\n{}10.9.9.9 printer", block("old\n"));
    let spliced = splice(&text, OURS).unwrap();
    assert_eq!(
        spliced,
        format!("127.0.0.1 localhost\n{}10.9.9.9 printer", block(OURS))
    );
    assert_eq!(remove(&spliced), "127.0.0.1 localhost\n10.9.9.9 printer");
}

#[test]
fn markers_of_another_version_and_with_foreign_line_ends_are_known() {
    let text = "# BEGIN node-agent: hands off\r\nold\r\n# END node-agent really\r\n127.0.0.1 localhost\r\n";
    assert_eq!(find(text), BlockState::One { lines: "old\r\n" });
}

#[test]
fn words_that_only_begin_like_a_marker_are_none() {
    let text = "# BEGIN node-agent-2\nx\n# END node-agents\n # BEGIN node-agent\n";
    assert_eq!(find(text), BlockState::None);
}

#[test]
fn an_empty_block_and_one_without_a_last_newline_are_blocks() {
    assert_eq!(extract(&format!("{BLOCK_BEGIN}\n{BLOCK_END}")), Some(""));
    let spliced = splice(&format!("x\n{BLOCK_BEGIN}\na\n{BLOCK_END}"), OURS).unwrap();
    assert_eq!(spliced, format!("x\n{}", block(OURS)));
}

#[test]
fn a_second_block_goes() {
    let text = format!("a\n{}b\n{}c\n", block("1\n"), block("2\n"));
    assert_eq!(
        find(&text),
        BlockState::Malformed("the agent's block is there 2 times".into())
    );
    assert_eq!(extract(&text), None);
    assert_eq!(
        splice(&text, OURS).unwrap(),
        format!("a\n{}b\nc\n", block(OURS))
    );
    assert_eq!(remove(&text), "a\nb\nc\n");
}

#[test]
fn a_lost_end_costs_nobody_a_line() {
    let text = format!(
        "127.0.0.1 localhost\n{BLOCK_BEGIN}\n10.0.0.1\tdb-1\n10.0.0.9\told\n10.9.9.9 printer\n"
    );
    assert_eq!(
        find(&text),
        BlockState::Malformed("line 2 begins the agent's block, but no line ends it".into())
    );
    // db-1 is written anyway; whose the other two are nobody can know.
    assert_eq!(
        splice(&text, OURS).unwrap(),
        format!(
            "127.0.0.1 localhost\n{}10.0.0.9\told\n10.9.9.9 printer\n",
            block(OURS)
        )
    );
}

#[test]
fn a_lost_begin_costs_nobody_a_line() {
    let text = format!("10.9.9.9 printer\n10.0.0.1\tdb-1\n{BLOCK_END}\n127.0.0.1 localhost\n");
    assert_eq!(
        find(&text),
        BlockState::Malformed("line 3 ends the agent's block, but no line begins it".into())
    );
    assert_eq!(
        splice(&text, OURS).unwrap(),
        format!("{}10.9.9.9 printer\n127.0.0.1 localhost\n", block(OURS))
    );
}

#[test]
fn a_begin_within_a_block_begins_anew() {
    let text = format!("{BLOCK_BEGIN}\n10.9.9.9 printer\n{}", block("old\n"));
    assert_eq!(
        splice(&text, OURS).unwrap(),
        format!("10.9.9.9 printer\n{}", block(OURS))
    );
}

#[test]
fn lines_that_would_break_the_block_are_refused() {
    assert_eq!(splice("", "x"), Err(BlockError::Unended));
    assert_eq!(
        splice("", "x\n# END node-agent\n"),
        Err(BlockError::Marker(2))
    );
}

#[test]
fn outside_lines_know_their_numbers() {
    let text = format!("a\n{}b\nc", block(OURS));
    assert_eq!(outside(&text), [(1, "a\n"), (6, "b\n"), (7, "c")]);
}

/// Lines that people write, with all sorts of ends.
fn foreign() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "[ -~]{0,12}",
        Just("127.0.0.1 localhost".to_owned()),
        Just("# BEGIN of mine".to_owned())
    ];
    let end = prop_oneof![Just("\n"), Just("\r\n")];
    (proptest::collection::vec((line, end), 0..6), "[a-z]{0,4}").prop_map(|(lines, last)| {
        let mut text = String::new();
        for (line, end) in lines {
            text.extend([line.as_str(), end]);
        }
        text + &last
    })
}

/// The same with markers strewn in.
fn damaged() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just(BLOCK_BEGIN.to_owned()),
        Just(BLOCK_END.to_owned()),
        Just("10.0.0.1\tdb-1".to_owned()),
        "[a-z]{1,6}",
    ];
    proptest::collection::vec(line, 0..10).prop_map(|lines| lines.join("\n"))
}

fn ours() -> impl Strategy<Value = String> {
    proptest::collection::vec("[0-9.]{1,9}\t[a-z0-9-]{1,9}", 0..5).prop_map(|lines| {
        lines
            .iter()
            .flat_map(|line| [line.as_str(), "\n"])
            .collect()
    })
}

proptest! {
    #[test]
    fn splice_is_undone_by_remove(text in foreign(), lines in ours(), others in ours()) {
        let spliced = splice(&text, &lines).unwrap();
        prop_assert_eq!(extract(&spliced), Some(lines.as_str()));
        prop_assert_eq!(&splice(&spliced, &lines).unwrap(), &spliced);
        prop_assert_eq!(remove(&spliced), text.as_str());
        prop_assert_eq!(splice(&spliced, &others).unwrap(), splice(&text, &others).unwrap());
    }

    #[test]
    fn whatever_the_damage_one_splice_mends_it(text in damaged(), lines in ours()) {
        let spliced = splice(&text, &lines).unwrap();
        prop_assert_eq!(extract(&spliced), Some(lines.as_str()));
        prop_assert_eq!(&splice(&spliced, &lines).unwrap(), &spliced);
        // No foreign line is lost but those that the block says again.
        let wanted: Vec<&str> = lines.lines().collect();
        let survivors: Vec<&str> = outside(&text).into_iter().map(|(_, line)| line.trim_end())
            .filter(|line| !wanted.contains(line)).collect();
        let left: Vec<&str> = outside(&spliced).into_iter().map(|(_, line)| line.trim_end())
            .filter(|line| !wanted.contains(line)).collect();
        prop_assert_eq!(left, survivors);
    }

    #[test]
    fn nothing_makes_it_panic(text in any::<String>(), lines in any::<String>()) {
        let _ = (find(&text), splice(&text, &lines), remove(&text), outside(&text));
    }
}
