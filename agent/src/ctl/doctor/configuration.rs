//! `agentd.toml`: readable, right, and nobody else's to change.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::examined_box::ExaminedBox;
use super::finding::Findings;
use crate::settings::{BucketUrl, Place, Settings, SettingsError};
use crate::system::{chain, unit_environment};

/// The bucket of the sample that packages install.
const SAMPLE: &str = "example-fleet";

pub fn check(examined: &ExaminedBox, found: &mut Findings) {
    environment(examined, found);
    match &examined.settings {
        Ok(settings) => usable(settings, examined.root.is_machine(), found),
        Err(SettingsError::Mistakes { mistakes, path }) => {
            for mistake in mistakes {
                let place = match &mistake.place {
                    Place::Line(line, text) => format!(":{line}: `{text}`"),
                    Place::Option(option) => format!(", {option}"),
                    Place::Absent => String::new(),
                };
                found.broken(
                    format!("{}{place}: {}", path.display(), mistake.message),
                    "correct it (all settings, with comments: /usr/share/doc/node-agent/examples/agentd.toml), then systemctl restart agentd",
                );
            }
        }
        Err(error) => found.broken(
            chain(error),
            "make it a file that root can read; mode 0644 is right, it holds no secrets",
        ),
    }
}

/// The file that has credentials is root's alone; who reads it can do with the bucket what the agent can.
fn environment(examined: &ExaminedBox, found: &mut Findings) {
    let file = unit_environment::FILE;
    let Ok(meta) = examined.root.real(Path::new(file)).metadata() else {
        return;
    };
    let mode = meta.mode() & 0o7777;
    if mode & 0o077 != 0 {
        found.warn(
            format!("{file} may be read by others than its owner (mode {mode:04o}): credentials stand there"),
            format!("chmod 0600 {file}; where they were read by somebody, make new ones"),
        );
    }
    if examined.root.is_machine() && meta.uid() != 0 {
        found.warn(
            format!("{file} belongs to user {}, not to root: that user decides as whom the agent asks the bucket", meta.uid()),
            format!("chown root:root {file}"),
        );
    }
}

fn usable(settings: &Settings, machine: bool, found: &mut Findings) {
    if matches!(&settings.bucket, BucketUrl::S3 { bucket, .. } if bucket == SAMPLE) {
        found.broken(
            format!("the configuration is still the sample: fleet is in the bucket {SAMPLE}"),
            "set fleet in agentd.toml to your bucket, then systemctl restart agentd",
        );
    }
    let Some(file) = &settings.file else {
        return;
    };
    let Ok(meta) = file.metadata() else {
        return;
    };
    if meta.mode() & 0o022 != 0 {
        found.warn(
            format!(
                "{} may be written by others than its owner (mode {:04o}): they decide what this box does",
                file.display(),
                meta.mode() & 0o7777
            ),
            format!("chmod 0644 {}", file.display()),
        );
    }
    if machine && meta.uid() != 0 {
        found.warn(
            format!(
                "{} belongs to user {}, not to root: that user decides what this box does",
                file.display(),
                meta.uid()
            ),
            format!("chown root:root {}", file.display()),
        );
    }
}
