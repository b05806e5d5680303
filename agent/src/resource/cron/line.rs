//! How a shell command is written in a crontab, so that the shell gets what the person typed.

/// The longest command, in bytes, that every cron takes: Vixie's buffer of 1,000, with room to spare.
pub(super) const LONGEST: usize = 990;

/// The command as a crontab needs it. `None`: it would be longer than [`LONGEST`].
///
/// cron ends the command at the first bare `%` and takes `\%` for `%`. It reads backslashes in pairs
/// (and keeps both), so that a `%` after an odd number of them, as in `printf '50\%'`, cannot be
/// escaped with one more: the pair would leave the `%` bare. Such a command goes through `eval`, in
/// quotes that are closed and opened again between the backslash and the `%`.
pub(super) fn escape(command: &str) -> Option<String> {
    let escaped = if has_escaped_percent(command) {
        let quoted = command.replace('\'', "'\"'\"'").replace("\\%", "\\''%");
        format!("eval '{}'", quoted.replace('%', "\\%"))
    } else {
        command.replace('%', "\\%")
    };
    (escaped.len() <= LONGEST).then_some(escaped)
}

/// Whether a `%` stands after an odd number of backslashes.
fn has_escaped_percent(command: &str) -> bool {
    let mut odd = false;
    for byte in command.bytes() {
        match byte {
            b'\\' => odd = !odd,
            b'%' if odd => return true,
            _ => odd = false,
        }
    }
    false
}
