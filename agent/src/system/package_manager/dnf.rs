//! The command lines of dnf and rpm.

use super::version::Version;

fn dnf<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Vec<String> {
    // It never waits for others by itself: it would wait without an end.
    let common = [
        "/usr/bin/dnf",
        "-y",
        "--setopt=exit_on_lock=1",
        "--setopt=timeout=30",
        "--setopt=retries=3",
        "--color=never",
    ];
    let common = common.iter().map(|word| (*word).to_owned());
    common.chain(words.into_iter().map(Into::into)).collect()
}

/// A package in a version, as dnf wants it: with all parts, so that no hyphen of the name is taken for one of the version.
pub(super) fn spec(name: &str, version: Option<&str>) -> String {
    let Some(version) = version else {
        return name.to_owned();
    };
    let lock = Version::of(version).as_lock(name);
    lock.strip_suffix(".*").unwrap_or(&lock).to_owned()
}

/// `keep`: packages that stay as they are, whatever else would need. `refresh`: with the newest lists.
pub(super) fn install(specs: &[String], keep: &[String], refresh: bool) -> Vec<String> {
    let mut words = Vec::new();
    if refresh {
        words.push("--refresh".to_owned());
    }
    words.extend(keep.iter().map(|name| format!("--exclude={name}")));
    words.push("install".to_owned());
    words.extend(specs.iter().cloned());
    dnf(words)
}

/// Again, for scripts that may have been cut off.
pub(super) fn reinstall(names: &[String]) -> Vec<String> {
    dnf(["reinstall"]
        .map(str::to_owned)
        .into_iter()
        .chain(names.iter().cloned()))
}

/// Not what it brought along: nobody asked for that to go.
pub(super) fn remove(names: &[String]) -> Vec<String> {
    let words = ["--setopt=clean_requirements_on_remove=False", "remove"];
    dnf(words
        .map(str::to_owned)
        .into_iter()
        .chain(names.iter().cloned()))
}

/// Whether others that are installed need them: it fails then. Changes nothing.
pub(super) fn test_removal(names: &[String]) -> Vec<String> {
    let words = ["/usr/bin/rpm", "-e", "--test", "--"].map(str::to_owned);
    words.into_iter().chain(names.iter().cloned()).collect()
}
