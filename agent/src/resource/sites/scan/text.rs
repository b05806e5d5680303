//! The words of Apache's configuration files.

/// Lines with continuations joined, each with the number of its last one; comments and empty ones left out.
pub(super) fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(begun) = line.strip_suffix('\\') {
            open.push_str(begun);
            continue;
        }
        open.push_str(line);
        let whole = std::mem::take(&mut open);
        let whole = whole.trim();
        if !whole.is_empty() && !whole.starts_with('#') {
            lines.push((number, whole.to_string()));
        }
    }
    lines
}

/// A directive's words, quotes taken off.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for character in line.chars() {
        match quote {
            Some(end) if character == end => quote = None,
            None if matches!(character, '"' | '\'') => quote = Some(character),
            None if character.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(character),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Whether `name` fits a pattern of `*` and `?`.
pub(super) fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), None) => glob(rest, name),
        (Some((b'*', rest)), Some((_, more))) => glob(rest, name) || glob(pattern, more),
        (Some((b'?', rest)), Some((_, more))) => glob(rest, more),
        (Some((wanted, rest)), Some((got, more))) => wanted == got && glob(rest, more),
        _ => false,
    }
}
