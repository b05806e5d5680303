//! Accounts as people read them: a line a field, so that a diff shows what changes.

use std::fmt::Write;

use similar::TextDiff;

use super::super::super::saved::Saved;
use crate::system::account_files::Password;

/// The account as it stands; empty where there is none.
pub(in super::super::super) fn of(state: &Saved) -> String {
    let mut text = String::new();
    match state {
        Saved::Group(group) => {
            let _ = writeln!(text, "gid: {}", group.gid);
        }
        Saved::User(user) => {
            let groups: Vec<&str> = user.groups.iter().map(String::as_str).collect();
            let _ = writeln!(text, "uid: {}, gid: {}", user.uid, user.gid);
            let _ = writeln!(text, "groups: {}", groups.join(", "));
            let _ = writeln!(text, "home: {}", user.home);
            let _ = writeln!(text, "shell: {}", user.shell);
            let _ = writeln!(text, "comment: {}", user.comment);
            let password = match user.password {
                Password::Open => "as it is",
                Password::Locked => "locked",
                Password::Unset => "never set",
            };
            let _ = writeln!(text, "password: {password}");
            if let Some(day) = user.expires {
                let _ = writeln!(text, "closed since day {day} of 1970");
            }
        }
        _ => {}
    }
    text
}

/// What of `wanted` is not so in `found`.
pub(super) fn difference(wanted: &Saved, found: &Saved) -> String {
    let (wanted, found) = (of(wanted), of(found));
    let diff = TextDiff::from_lines(&wanted, &found);
    diff.unified_diff().context_radius(0).to_string()
}
