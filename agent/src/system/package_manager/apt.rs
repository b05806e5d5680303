//! The command lines of apt and dpkg.

use super::version::Version;

/// A question about a configuration file is answered with what the package proposes and, where it proposes nothing, with the
/// file that is there; locks are waited for elsewhere.
const COMMON: [&str; 15] = [
    "-y",
    "-q",
    "-o",
    "Dpkg::Use-Pty=0",
    "-o",
    "DPkg::Lock::Timeout=0",
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
    "-o",
    "Acquire::http::Timeout=30",
    "-o",
    "Acquire::https::Timeout=30",
    "--quiet=1",
];

fn apt(words: &[&str], specs: &[String]) -> Vec<String> {
    let fixed = ["/usr/bin/apt-get"].iter().chain(&COMMON).chain(words);
    let fixed = fixed.map(|word| (*word).to_owned());
    fixed.chain(specs.iter().cloned()).collect()
}

/// The newest lists of packages.
pub(super) fn update() -> Vec<String> {
    apt(&["update"], &[])
}

/// Nothing is ever removed for it. `again`: also what is there in part.
pub(super) fn install(specs: &[String], downgrade: bool, again: bool) -> Vec<String> {
    let mut words = vec!["--no-remove"];
    words.extend(downgrade.then_some("--allow-downgrades"));
    words.extend(again.then_some("--reinstall"));
    words.push("install");
    apt(&words, specs)
}

/// Not what it brought along: nobody asked for that to go.
pub(super) fn remove(names: &[String]) -> Vec<String> {
    apt(&["--no-auto-remove", "remove"], names)
}

/// The same without doing it.
pub(super) fn simulated(mut command: Vec<String>) -> Vec<String> {
    command.insert(1, "--simulate".to_owned());
    command
}

/// Goes on where dpkg was interrupted: with these, or with all that is there in part.
pub(super) fn configure(names: &[String]) -> Vec<String> {
    let words = [
        "/usr/bin/dpkg",
        "--force-confdef",
        "--force-confold",
        "--configure",
    ];
    let mut words = words.map(str::to_owned).to_vec();
    if names.is_empty() {
        words.push("-a".to_owned());
    }
    words.extend(names.iter().cloned());
    words
}

/// Says which versions of a package there are, a line each.
pub(super) fn versions(name: &str) -> Vec<String> {
    ["/usr/bin/apt-cache", "madison", "--", name]
        .map(str::to_owned)
        .to_vec()
}

/// The newest of the versions that `apt-cache madison` told which fits, as it is written.
pub(super) fn newest_that_fits(said: &str, name: &str, wanted: &str) -> Option<String> {
    // They come newest first.
    let fits = |line: &str| {
        let mut fields = line.split('|').map(str::trim);
        let (of, version) = (fields.next()?, fields.next()?);
        (of == name && Version::of(wanted).fits(version)).then(|| version.to_owned())
    };
    said.lines().find_map(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_that_fits_is_taken() {
        let said = "     alpha |      2.0-1 | file:/srv/repo ./ Packages\n     alpha |      1.0-2 | file:/srv/repo ./ Packages\n     alpha |      1.0-1 | file:/srv/repo ./ Packages\n";
        assert_eq!(
            newest_that_fits(said, "alpha", "1.0").as_deref(),
            Some("1.0-2")
        );
        assert_eq!(
            newest_that_fits(said, "alpha", "1.0-1").as_deref(),
            Some("1.0-1")
        );
        assert_eq!(newest_that_fits(said, "alpha", "3"), None);
    }
}
