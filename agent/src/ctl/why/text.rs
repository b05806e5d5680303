//! The answer as people read it.

use std::fmt::Write;

use jiff::Timestamp;

use super::{Explanation, Other, OwnedAccount, OwnedPath, OwnedUnit, State};
use crate::converge::ledger::Form;
use crate::fleet::Pointer;
use crate::report::text::{Paint, ago, moment, shown, signed_by};
use crate::report::{Cause, Outcome, Trigger};

pub(super) fn answer(answer: &Explanation, now: Timestamp, paint: Paint) -> String {
    let mut out = String::new();
    for (index, each) in answer.owned.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        path(&mut out, each, answer, now, paint);
    }
    for each in &answer.units {
        unit(&mut out, each, paint);
    }
    for each in &answer.others {
        other(&mut out, each, now, paint);
    }
    for each in &answer.accounts {
        account(&mut out, each, now, paint);
    }
    if out.is_empty() {
        nothing(&mut out, answer, paint);
    }
    out
}

fn nothing(out: &mut String, answer: &Explanation, paint: Paint) {
    let subject = shown(&answer.subject);
    if answer.subject.starts_with('/') {
        let _ = writeln!(
            out,
            "{}: not the agent's: it did not write it, and will not touch it",
            paint.bold(&subject)
        );
    } else {
        let _ = writeln!(
            out,
            "{}: no file, line, unit, package, service or account of the agent's has this name",
            paint.bold(&subject)
        );
    }
    if !answer.nearest.is_empty() {
        out.push_str("the nearest that are the agent's:\n");
        for path in &answer.nearest {
            let _ = writeln!(out, "  {}", shown(&path.to_string_lossy()));
        }
    }
}

fn path(out: &mut String, path: &OwnedPath, answer: &Explanation, now: Timestamp, paint: Paint) {
    let what = match path.form {
        Form::File => "the whole file is the agent's",
        Form::Block => "the lines between the node-agent markers are the agent's",
        Form::Link => "the link is the agent's",
        Form::Directory => "the directory is the agent's, what stands in it is not",
        Form::Unit => "the unit is the agent's",
        Form::Service => "the service is as the document says",
        Form::Package => "the package is as the document says",
        Form::Release => "the release is as the document says",
        Form::Private => "the whole file is the agent's, in an account's own directory",
        Form::Group | Form::User => "the account is the agent's",
    };
    let _ = writeln!(
        out,
        "{}: {what} ({})",
        paint.bold(&shown(&path.path.to_string_lossy())),
        shown(&path.step.0)
    );
    if let Some(at) = &path.stands_at {
        row(out, paint, "stands at", &at.to_string_lossy());
    }
    if let Some(before) = &path.before {
        row(out, paint, "comes back", before);
    }
    if path.secret {
        row(out, paint, "content", "not shown: it has a secret in it");
    }
    row(
        out,
        paint,
        "asked for by",
        &format!(
            "version {} of the document{}{}",
            path.version,
            all(&path.asked_by),
            signed(path)
        ),
    );
    row(out, paint, "written by", &written(path, now));
    let state = match path.state {
        State::AsWritten => paint.green("as the agent wrote it"),
        State::Changed => paint.alarm(
            "CHANGED by somebody else since; the next run repairs it (agentctl plan shows how)",
        ),
        State::Missing => paint.alarm("GONE; the next run puts it back (agentctl plan shows how)"),
        State::Unreadable => paint.alarm(&format!(
            "NOT READABLE: {}",
            shown(path.trouble.as_deref().unwrap_or_default())
        )),
    };
    let _ = writeln!(out, "  {:<13} {state}", "now");
    if let Some(later) = &path.later {
        let how = match later.outcome {
            Outcome::Held => "is held by the shrink guard",
            Outcome::Quarantined => "is quarantined",
            _ => "FAILED",
        };
        row(
            out,
            paint,
            "but",
            &format!(
                "what version {} wants {how}: `agentctl show {}`",
                later.version, later.run
            ),
        );
        if let Some(line) = later
            .error
            .as_deref()
            .and_then(|error| error.lines().next())
        {
            row(out, paint, "", line);
        }
    }
    lines(out, path, answer, paint);
}

fn written(path: &OwnedPath, now: Timestamp) -> String {
    if path.adopted {
        return format!(
            "somebody else; it stood there as the document says when the agent came, {}",
            ago(path.written, now)
        );
    }
    let because = path.because.as_ref().map_or_else(String::new, |because| {
        let trigger = match because.trigger {
            Trigger::Start => "at the start of the agent",
            Trigger::Poll => "by a poll",
            Trigger::Lease => "by a change of master",
            Trigger::Eviction => "by a server that died or came back",
            Trigger::Drift => "by drift",
            Trigger::Signal => "by SIGHUP",
            Trigger::Person => "on a person's word",
        };
        let cause = match because.cause {
            Cause::Intended => "the document asked for it",
            Cause::Drift => "somebody else had changed it",
            Cause::Pending => "an earlier run was interrupted",
            Cause::Unwanted => "something was not wanted any more",
        };
        format!(", {trigger}: {cause}")
    });
    format!(
        "run {}, {} ({}){because}",
        path.run,
        moment(path.written),
        ago(path.written, now)
    )
}

/// Who signed the version that asks for it, where the journal still knows.
fn signed(path: &OwnedPath) -> String {
    let because = path.because.as_ref();
    let signed = because.and_then(|because| signed_by(&because.signers));
    signed.map_or_else(String::new, |signed| format!(", {signed}"))
}

fn lines(out: &mut String, path: &OwnedPath, answer: &Explanation, paint: Paint) {
    if path.state == State::Changed && !path.lines.is_empty() {
        row(
            out,
            paint,
            "",
            "these are the lines as they stand now, by number: whoever edited them may have moved them",
        );
    }
    let widest = path
        .lines
        .iter()
        .map(|line| line.text.chars().count())
        .max()
        .unwrap_or_default()
        .min(48);
    for line in &path.lines {
        let text = line.text.replace('\t', " ");
        let text = shown(&text);
        let asked = if !line.ours {
            paint.yellow("not the agent's: it stands outside the markers")
        } else if line.asked_by.is_empty() {
            paint.dim("as the whole")
        } else {
            list(&line.asked_by)
        };
        let _ = writeln!(out, "  {:>5}  {text:<widest$}  {asked}", line.number);
    }
    if path.lines.is_empty()
        && let Some(name) = &answer.name
    {
        let _ = writeln!(out, "  no line says {}", shown(name));
    }
}

fn unit(out: &mut String, unit: &OwnedUnit, paint: Paint) {
    let name = shown(&unit.unit);
    let _ = writeln!(
        out,
        "{}: the agent keeps it enabled and running ({})",
        paint.bold(&name),
        shown(&unit.step.0)
    );
    if !unit.asked_by.is_empty() {
        row(out, paint, "asked for by", &list(&unit.asked_by));
    }
    for path in &unit.paths {
        row(out, paint, "its files", &path.to_string_lossy());
    }
    row(out, paint, "how it is", &format!("systemctl status {name}"));
}

fn other(out: &mut String, other: &Other, now: Timestamp, paint: Paint) {
    let name = shown(&other.name);
    let is_service = other.form == Form::Service;
    let what = if is_service { "service" } else { "package" };
    let _ = writeln!(
        out,
        "{}: a {what} that the document speaks of ({})",
        paint.bold(&name),
        shown(&other.step.0)
    );
    let version = other.version;
    let asked = format!("version {version} of the document{}", all(&other.asked_by));
    row(out, paint, "asked for by", &asked);
    let when = ago(other.written, now);
    let by = if other.adopted {
        format!("somebody else: it was as the document says when the agent came, {when}")
    } else {
        format!("run {}, {} ({when})", other.run, moment(other.written))
    };
    row(out, paint, "done by", &by);
    if is_service {
        row(out, paint, "how it is", &format!("systemctl status {name}"));
    } else {
        row(
            out,
            paint,
            "it stays",
            "until the document says that it is absent",
        );
    }
}

fn account(out: &mut String, account: &OwnedAccount, now: Timestamp, paint: Paint) {
    let what = if account.adopted {
        "somebody else made it; the agent keeps it as the document says, and neither locks nor removes it"
    } else {
        "the agent's"
    };
    let name = paint.bold(&shown(&account.account));
    let _ = writeln!(out, "{name}: {what} ({})", shown(&account.step.0));
    let version = account.version;
    let asked = format!(
        "version {version} of the document{}",
        all(&account.asked_by)
    );
    row(out, paint, "asked for by", &asked);
    if account.run > 0 {
        let written = format!("run {}, {}", account.run, ago(account.written, now));
        row(out, paint, "written by", &written);
    }
    match &account.now {
        Some(now) => now.lines().for_each(|line| row(out, paint, "now", line)),
        None => row(out, paint, "now", "there is none"),
    }
    for path in &account.paths {
        row(out, paint, "its files", &path.to_string_lossy());
    }
}

fn all(pointers: &[Pointer]) -> String {
    if pointers.is_empty() {
        String::new()
    } else {
        format!(": {}", list(pointers))
    }
}

fn list(pointers: &[Pointer]) -> String {
    let names: Vec<_> = pointers.iter().map(|pointer| shown(&pointer.0)).collect();
    names.join(", ")
}

fn row(out: &mut String, paint: Paint, label: &str, text: &str) {
    let label = format!("{label:<13}");
    let _ = writeln!(out, "  {} {}", paint.dim(&label), shown(text));
}
