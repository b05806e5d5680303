//! What was probably meant by a word that is not known.

/// Words longer than this, in bytes, are not compared: nobody misspells them, and the cost grows with their square.
const LONGEST: usize = 64;

/// The one of `known` that `word` was most likely meant to be: the nearest by letters left out, added, replaced or
/// swapped, if it is near. Case and the kind of hyphen do not count. Of several that are equally near, the first.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > LONGEST {
        return None;
    }
    let most = (word.chars().count() / 3).clamp(1, 3);
    let word = folded(word);
    known
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= most)
        .map(|candidate| (strsim::osa_distance(&word, &folded(candidate)), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How much alike two texts are, from 0 (nothing is the same) to 1 (equal).
pub fn likeness(one: &str, other: &str) -> f64 {
    strsim::normalized_levenshtein(one, other)
}

fn folded(word: &str) -> String {
    word.to_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_meant() {
        let known = ["semi_sync", "snapshots", "port", "web-1", "web-2"];
        for (word, meant) in [
            ("semi-sync", Some("semi_sync")),
            ("SemiSync", Some("semi_sync")),
            ("semi_snyc", Some("semi_sync")),
            ("snapshot", Some("snapshots")),
            ("prot", Some("port")),
            ("wbe-2", Some("web-2")),
            ("web-3", Some("web-1")),
            ("listen", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
        assert_eq!(nearest(&"a".repeat(65), ["a"]), None);
    }

    #[test]
    fn likeness_is_between_nothing_and_equal() {
        assert!(likeness("/etc/hosts", "/etc/hosts") > 0.99);
        assert!(likeness("abc", "xyz") < 0.01);
        assert!(likeness("/etc/hosts", "/etc/host") > likeness("/etc/hosts", "/srv"));
    }
}
