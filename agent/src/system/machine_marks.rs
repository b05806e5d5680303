//! What tells this machine from a copy of its disk: marks made of what a copy does not bring along.
//!
//! Its network cards' addresses and the number that its firmware or hypervisor gave it. Not the number of its boot, for a
//! machine that was started again is the same one. A machine has several marks, so that one card that is added or taken out
//! makes no other machine of it.

use std::fs;
use std::path::Path;

use super::digest::sha256_hex;

/// The most marks of one machine.
pub const MARKS: usize = 8;
/// Hexadecimal digits of a mark.
pub const DIGITS: usize = 12;
/// The kind of an interface that has an Ethernet address of its own.
const ETHERNET: &str = "1";

/// This machine's marks, sorted. Two machines with a mark in common are one. Nothing where nothing can be read.
pub fn marks() -> Vec<String> {
    marks_below(Path::new("/"))
}

/// Whether these are marks of two different machines. Of one without marks nothing is known.
pub fn are_others(one: &[String], other: &[String]) -> bool {
    !one.is_empty() && !other.is_empty() && !one.iter().any(|mark| other.contains(mark))
}

fn marks_below(root: &Path) -> Vec<String> {
    let word = |path: &str| {
        let text = fs::read_to_string(root.join(path)).unwrap_or_default();
        text.trim().to_ascii_lowercase()
    };
    let installed = word("etc/machine-id");
    let interfaces = root.join("sys/class/net");
    let mut cards = Vec::new();
    let mut others = Vec::new();
    for entry in fs::read_dir(interfaces).into_iter().flatten().flatten() {
        let path = entry.path();
        let of = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
        let address = of("address").trim().to_ascii_lowercase();
        if of("type").trim() != ETHERNET || address.bytes().all(|byte| matches!(byte, b'0' | b':'))
        {
            continue;
        }
        // Bridges, tunnels and virtual pairs are made anew at each boot, and have no device.
        // Functions of a card that are lent out get an address of chance at each boot.
        if path.join("device/physfn").exists() {
            continue;
        }
        if path.join("device").exists() {
            cards.push(address);
        } else {
            others.push(address);
        }
    }
    // A container sees no cards, and its host's number, which it shares with its neighbours.
    let has_cards = !cards.is_empty();
    let mut facts = if cards.is_empty() { others } else { cards };
    facts.sort_unstable();
    // First: of many cards not all are marks.
    let number = word("sys/class/dmi/id/product_uuid");
    if has_cards && is_given(&number) {
        facts.insert(0, number);
    }
    let mark = |fact: &String| {
        let digest = sha256_hex(format!("machine\n{installed}\n{fact}").as_bytes());
        digest.chars().take(DIGITS).collect::<String>()
    };
    let mut marks: Vec<String> = facts.iter().take(MARKS).map(mark).collect();
    marks.sort_unstable();
    marks.dedup();
    marks
}

/// Whether a firmware's number is one: some makers left theirs empty, or gave all boards the same.
fn is_given(number: &str) -> bool {
    let digits: Vec<char> = number.chars().filter(char::is_ascii_hexdigit).collect();
    let first = digits.first();
    digits.len() == 32
        && digits.iter().any(|digit| Some(digit) != first)
        && number != "03000200-0400-0500-0006-000700080009"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with this number of its installation, this number of its firmware, and cards with these addresses.
    fn machine(installed: &str, number: &str, cards: &[&str]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: String, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            #[expect(clippy::disallowed_methods, reason = "a scratch file")]
            fs::write(path, text).unwrap();
        };
        put("etc/machine-id".into(), installed);
        put("sys/class/dmi/id/product_uuid".into(), number);
        put("sys/class/net/lo/type".into(), "772\n");
        put("sys/class/net/lo/address".into(), "00:00:00:00:00:00\n");
        for (at, address) in cards.iter().enumerate() {
            put(format!("sys/class/net/eth{at}/type"), "1\n");
            put(format!("sys/class/net/eth{at}/address"), address);
            put(format!("sys/class/net/eth{at}/device/vendor"), "0x1af4\n");
        }
        put("sys/class/net/docker0/type".into(), "1\n");
        put(
            "sys/class/net/docker0/address".into(),
            "02:42:00:00:00:01\n",
        );
        marks_below(dir.path())
    }

    const NUMBER: &str = "4c4c4544-0043-4810-8054-b4c04f564433";

    #[test]
    fn a_copy_of_the_disk_is_another_machine() {
        let one = machine("a1", NUMBER, &["52:54:00:00:00:01"]);
        let copy = machine(
            "a1",
            &NUMBER.replace("4c4c", "5d5d"),
            &["52:54:00:00:00:02"],
        );
        assert!(are_others(&one, &copy), "{one:?} {copy:?}");
        assert!(!are_others(&one, &one));
        assert!(one.iter().all(|mark| mark.len() == DIGITS));
    }

    #[test]
    fn a_card_more_or_another_mainboard_makes_no_other_machine() {
        let one = machine("a1", NUMBER, &["52:54:00:00:00:01"]);
        let card = machine("a1", NUMBER, &["52:54:00:00:00:07"]);
        let board = machine("a1", "", &["52:54:00:00:00:01", "52:54:00:00:00:02"]);
        assert!(!are_others(&one, &card) && !are_others(&one, &board));
        // Installed anew it is another one, be it on the same board.
        assert!(are_others(
            &one,
            &machine("b2", NUMBER, &["52:54:00:00:00:01"])
        ));
    }

    #[test]
    fn many_cards_leave_room_for_the_firmwares_number() {
        let cards = |first: u8| -> Vec<String> {
            (0..12)
                .map(|card| format!("0{first}:54:00:00:00:{card:02}"))
                .collect()
        };
        let of = |first| {
            let cards = cards(first);
            let cards: Vec<&str> = cards.iter().map(String::as_str).collect();
            machine("a1", NUMBER, &cards)
        };
        assert!(!are_others(&of(1), &of(2)));
        assert_eq!(of(1).len(), MARKS);
    }

    #[test]
    fn numbers_that_makers_left_empty_tell_nothing() {
        let one = machine(
            "a1",
            "00000000-0000-0000-0000-000000000000",
            &["52:54:00:00:00:01"],
        );
        let other = machine(
            "a1",
            "00000000-0000-0000-0000-000000000000",
            &["52:54:00:00:00:02"],
        );
        assert!(are_others(&one, &other));
        assert!(!are_others(&one, &[]) && !are_others(&[], &one));
    }
}
