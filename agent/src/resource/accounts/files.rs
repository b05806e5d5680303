//! What stands in a user's `authorized_keys`, and in its file for sudo.

use std::path::{Path, PathBuf};

use crate::fleet::Pointer;
use crate::node::UserView;
use crate::resource::{LineOrigin, Phase, Text, Thing, Want, Wish};

const HEAD: &str = "# Written by node-agent: edit the fleet document instead.\n";

/// The whole of `~/.ssh/authorized_keys`.
pub(super) fn keys(view: &UserView, home: &str, uid: u32, gid: u32) -> Want {
    let lines = view.keys.iter();
    let lines = lines.map(|(key, origin)| (key.to_string(), origin));
    let (text, origins) = text(lines, &view.origins);
    Want {
        thing: Thing::Path(Path::new(home).join(".ssh/authorized_keys")),
        wish: Wish::Private {
            text: Text::plain(text),
            mode: 0o600,
            uid,
            gid,
        },
        phase: Phase::Commit,
        shown_as: None,
        origins,
    }
}

/// Where a user's rules stand.
pub(super) fn sudoers(view: &UserView) -> PathBuf {
    PathBuf::from(format!("/etc/sudoers.d/agentd-{}", view.name))
}

/// The rules of one user. Its name has no dot: sudo passes over a file with one.
pub(super) fn sudo(view: &UserView) -> Want {
    let lines = view.sudo.iter();
    let lines = lines.map(|(rule, origin)| (format!("{} {rule}", view.name), origin));
    let (text, origins) = text(lines, &view.origins);
    Want {
        thing: Thing::Path(sudoers(view)),
        wish: Wish::File {
            text: Text::plain(text),
            mode: 0o440,
        },
        phase: Phase::Commit,
        shown_as: None,
        origins,
    }
}

/// Lines below the head, and who asks for each.
fn text<'a>(
    lines: impl Iterator<Item = (String, &'a Pointer)>,
    whole: &[Pointer],
) -> (String, Vec<LineOrigin>) {
    let mut text = HEAD.to_owned();
    let mut origins: Vec<LineOrigin> = whole
        .iter()
        .map(|pointer| LineOrigin {
            line: None,
            pointer: pointer.clone(),
        })
        .collect();
    for (number, (line, pointer)) in (2..).zip(lines) {
        text.push_str(&line);
        text.push('\n');
        origins.push(LineOrigin {
            line: Some(number),
            pointer: pointer.clone(),
        });
    }
    (text, origins)
}
