//! Examples from servers and manuals, and laws that hold for any.

use proptest::prelude::*;

use super::*;

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "84415efb-59ff-4a47-9d60-b3174105a93c";

fn mariadb(text: &str) -> Gtids {
    Gtids::parse(Flavour::MariaDb, text).unwrap()
}

fn mysql(text: &str) -> Gtids {
    Gtids::parse(Flavour::MySql, &text.replace('A', A).replace('B', B)).unwrap()
}

#[test]
fn what_servers_say_reads_and_prints_the_same() {
    for text in ["", "0-1-5", "0-1-5,0-2-9,7-4294967295-18446744073709551615"] {
        assert_eq!(mariadb(text).to_string(), text);
    }
    let tagged = format!("{A}:1-3:5:backup:1-2,{B}:7");
    for text in ["", &format!("{A}:1-5"), &tagged] {
        assert_eq!(
            Gtids::parse(Flavour::MySql, text).unwrap().to_string(),
            text
        );
    }
    // Lines, capitals, order and neighbours are the server's affair.
    let untidy = format!("{}:5:4:1-3,\n{B}:2:1", A.to_uppercase());
    let tidy = Gtids::parse(Flavour::MySql, &untidy).unwrap();
    assert_eq!(tidy.to_string(), format!("{A}:1-5,{B}:1-2"));
}

#[test]
fn what_a_server_wrote_itself_is_told_from_what_it_applies() {
    // In the middle of applying, the binary log is one ahead of the position as a replica.
    let (log, replica) = (mariadb("0-31-105"), mariadb("0-31-104"));
    assert!(!log.minus(&replica).is_empty());
    assert!(log.written_by(32).minus(&replica).is_empty());
    assert_eq!(log.written_by(31), log);
}

#[test]
fn histories_part_after_the_last_transaction_that_both_have() {
    // 31 was the master up to 9, which 32 has; then each wrote by itself.
    for (own, other, common) in [
        ("0-31-12", "0-31-9,0-32-20", "0-31-9"),
        // 32 was the master before, too.
        ("0-31-12,0-32-4", "0-31-9,0-32-20", "0-31-9"),
        // 31 wrote nothing of what both have: its surplus is the only thing of its own.
        ("0-31-12,0-33-8", "0-32-20,0-33-8", "0-33-8"),
        ("0-31-12", "0-31-12,0-32-20", "0-31-12"),
        ("0-31-12", "0-32-20", ""),
        ("0-31-12,7-31-3", "0-31-9,0-32-20", "0-31-9"),
        ("0-31-12,7-31-3", "0-31-9,7-31-3,7-32-5", "0-31-9,7-31-3"),
    ] {
        let parted = mariadb(own).common(&mariadb(other));
        assert_eq!(parted, mariadb(common), "{own} and {other}");
    }
    assert_eq!(
        mysql("A:1-9,B:1-3").common(&mysql("A:1-7,B:1-20")),
        mysql("A:1-7,B:1-3")
    );
}

#[test]
fn what_no_server_says_is_refused() {
    for text in [
        "0",
        "0-1",
        "0-1-2-3",
        "0-1-",
        "a-1-2",
        "0-1-2,",
        "0-1-2,0-1-3",
        "0--1-2",
        "00-1-2",
        "+0-1-2",
        "0-4294967296-1",
        "0-1-18446744073709551616",
        "0-1-2;DROP",
    ] {
        let error = Gtids::parse(Flavour::MariaDb, text).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
    for text in [
        "A",
        "A:",
        "A:0",
        "A:5-1",
        "A:1-",
        "A:-1",
        "A:x",
        "A:x:y:1",
        "xyz:1",
        "A:1,",
        ":1",
        "A:9223372036854775807",
        "A:01",
        "0-1-5",
    ] {
        let text = text.replace('A', A);
        assert!(Gtids::parse(Flavour::MySql, &text).is_err(), "{text}");
    }
    assert!(Gtids::parse(Flavour::MySql, &" ".repeat(LONGEST + 1)).is_err());
}

#[test]
fn mariadb_tells_what_holds_what() {
    use Containment::{No, Unknown, Yes};
    for (own, other, expected) in [
        ("0-1-5", "", Yes),
        ("", "0-1-5", No),
        ("0-1-5", "0-1-5", Yes),
        ("0-1-5", "0-1-4", Yes),
        ("0-1-5", "0-1-6", No),
        // Another domain that it knows nothing of.
        ("0-1-5", "0-1-5,1-1-1", No),
        // The same number by another hand: two histories.
        ("0-1-5", "0-2-5", No),
        ("0-1-5,0-2-3", "0-2-5", No),
        // A later master took over at 6; what the old one wrote up to 5 is within.
        ("0-1-5,0-2-9", "0-1-5", Yes),
        // The old one wrote a sixth that nobody else received: it ends beside, not behind.
        ("0-1-5,0-2-9", "0-1-6", No),
        // An end alone does not tell who wrote what before it.
        ("0-2-9", "0-1-5", Unknown),
        // The state names all; the last of a domain is what counts.
        ("0-1-5,0-2-9", "0-1-3,0-2-8", Yes),
    ] {
        assert_eq!(
            mariadb(own).contains(&mariadb(other)),
            expected,
            "{own} / {other}"
        );
    }
}

#[test]
fn mariadb_counts_and_takes_away() {
    assert_eq!(mariadb("0-1-9,1-1-5").beyond(&mariadb("0-1-4")), 10);
    assert_eq!(mariadb("0-1-4").beyond(&mariadb("0-1-9")), 0);
    assert_eq!(mariadb("0-2-9,0-1-5").tip().to_string(), "0-2-9");
    assert_eq!(
        mariadb("0-1-9").minus(&mariadb("0-1-4")).to_string(),
        "0-1-9"
    );
    assert_eq!(mariadb("0-1-4").minus(&mariadb("0-1-9")).to_string(), "");
    assert_eq!(
        mariadb("0-1-6").minus(&mariadb("0-1-5,0-2-9")).to_string(),
        "0-1-6"
    );
    assert_eq!(
        mariadb("0-1-5").union(&mariadb("0-1-3,0-2-9")).to_string(),
        "0-1-5,0-2-9"
    );
}

#[test]
fn mysql_tells_what_holds_what() {
    use Containment::{No, Yes};
    for (own, other, expected) in [
        ("A:1-5", "", Yes),
        ("A:1-5", "A:2-3", Yes),
        ("A:1-5", "A:1-6", No),
        ("A:1-5", "B:1", No),
        ("A:1-5", "A:x:1", No),
        ("A:1-5:x:1-3,B:1-9", "A:3:x:2,B:9", Yes),
    ] {
        assert_eq!(
            mysql(own).contains(&mysql(other)),
            expected,
            "{own} / {other}"
        );
    }
    let left = mysql("A:1-10,B:1").minus(&mysql("A:1:3-4:9-20,B:1-2"));
    assert_eq!(left, mysql("A:2:5-8"));
    assert_eq!(mysql("A:1-10,B:1").beyond(&mysql("A:1-3")), 8);
}

#[test]
fn the_two_flavours_are_never_taken_for_each_other() {
    assert_eq!(
        mariadb("0-1-5").contains(&mysql("A:1")),
        Containment::Unknown
    );
}

fn any_mariadb() -> impl Strategy<Value = Gtids> {
    proptest::collection::btree_map((0_u32..3, 1_u32..4), 1_u64..12, 0..6).prop_map(|entries| {
        let words: Vec<String> = entries
            .iter()
            .map(|((domain, server), sequence)| format!("{domain}-{server}-{sequence}"))
            .collect();
        mariadb(&words.join(","))
    })
}

fn any_mysql() -> impl Strategy<Value = Gtids> {
    let interval = (1_u64..20, 0_u64..5).prop_map(|(from, more)| format!("{from}-{}", from + more));
    let set = (
        proptest::sample::select(vec!["A", "B", "A:x", "B:y"]),
        proptest::collection::vec(interval, 1..4),
    )
        .prop_map(|(source, intervals)| format!("{source}:{}", intervals.join(":")));
    proptest::collection::vec(set, 0..4).prop_map(|sets| mysql(&sets.join(",")))
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*", list in "[0-9a-f:,\\- \n]{0,60}") {
        for flavour in [Flavour::MariaDb, Flavour::MySql] {
            for text in [&text, &list] {
                if let Ok(gtids) = Gtids::parse(flavour, text) {
                    prop_assert_eq!(&Gtids::parse(flavour, &gtids.to_string()).unwrap(), &gtids);
                    prop_assert_eq!(gtids.contains(&gtids), Containment::Yes);
                }
            }
        }
    }

    #[test]
    fn laws_of_positions(a in any_mariadb(), b in any_mariadb()) {
        prop_assert_eq!(a.contains(&a), Containment::Yes);
        prop_assert_eq!(a.contains(&a.tip()), Containment::Yes);
        prop_assert!(a.minus(&a).is_empty());
        prop_assert_eq!(a.union(&b), b.union(&a));
        if a.contains(&b) == Containment::Yes {
            prop_assert_eq!(b.beyond(&a), 0);
            prop_assert!(b.minus(&a).is_empty());
        }
        // Whoever is ahead in count is not contained.
        if b.beyond(&a) > 0 {
            prop_assert_eq!(a.contains(&b), Containment::No);
            prop_assert!(!b.minus(&a).is_empty());
        }
    }

    #[test]
    fn laws_of_sets(a in any_mysql(), b in any_mysql()) {
        let both = a.union(&b);
        prop_assert_eq!(both.contains(&a), Containment::Yes);
        prop_assert_eq!(both.contains(&b), Containment::Yes);
        prop_assert_eq!(&a.minus(&b).union(&b), &both);
        prop_assert_eq!(a.beyond(&b) == 0, b.contains(&a) == Containment::Yes);
        prop_assert_eq!(both.beyond(&b), a.beyond(&b));
        prop_assert!(a.minus(&b).minus(&a).is_empty());
    }
}
