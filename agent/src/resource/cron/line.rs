//! How a shell command is written in a crontab, so that the shell gets what the person typed.

/// The longest command, in bytes, that every cron takes: Vixie's buffer of 1,000, with room to spare.
pub(super) const LONGEST: usize = 990;

/// The command as a crontab needs it.
///
/// cron ends the command at the first bare `%` and takes `\%` for `%`. Both its kinds read backslashes
/// in pairs, but Debian's makes `\\` one backslash where cronie, the other one, keeps two, and in both a
/// `%` after `\\` is bare. So a command with `\\` or `\%`, as in `printf '50\%'`, cannot be written
/// for both as it stands. It goes through `eval`, in quotes that are closed and opened again after
/// such a backslash.
pub(super) fn escape(command: &str) -> String {
    if command.contains("\\\\") || command.contains("\\%") {
        format!("eval {}", word(command))
    } else {
        command.replace('%', "\\%")
    }
}

/// The command as one word of a POSIX shell, written as a crontab needs it.
pub(super) fn word(command: &str) -> String {
    let mut word = String::with_capacity(command.len() + 2);
    word.push('\'');
    let mut characters = command.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\'' => word.push_str("'\"'\"'"),
            '%' => word.push_str("\\%"),
            '\\' if matches!(characters.peek(), Some('\\' | '%')) => word.push_str("\\''"),
            other => word.push(other),
        }
    }
    word.push('\'');
    word
}
