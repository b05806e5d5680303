//! How messages write what a document says: lists of names, and text of others.

/// "`a`, `b` and `c`", each between `quote`s and with `last` before the last one.
pub(super) fn listed<'k>(
    names: impl IntoIterator<Item = &'k str>,
    quote: char,
    last: &str,
) -> String {
    let quoted: Vec<String> = names
        .into_iter()
        .map(|name| format!("{quote}{name}{quote}"))
        .collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [many @ .., end] => format!("{} {last} {end}", many.join(", ")),
    }
}

/// `text` as a message may show it: shortened, nothing that a terminal obeys.
pub(super) fn shown(text: &str) -> String {
    const MOST_CHARACTERS: usize = 60;
    let mut shown = String::new();
    for character in text.chars().take(MOST_CHARACTERS) {
        match character {
            // Needs no escape here: it is what stands in the file.
            '\'' => shown.push('\''),
            other => shown.extend(other.escape_debug()),
        }
    }
    if text.chars().nth(MOST_CHARACTERS).is_some() {
        shown.push('…');
    }
    shown
}
