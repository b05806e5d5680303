//! The packages: what is in them, and what happens to a machine when they come, are renewed and go.

#![cfg(test)]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use node_agent_tests::machine::watch::{Apache, converged, sample, see, serves};
use node_agent_tests::machine::{
    AddedFile, Fleet, FleetBucket, Image, Machine, MachineSpec, Output, agent_config, built,
    credentials, run,
};
use serde_json::json;

/// Longer than any step should take on a busy host.
const SOON: Duration = Duration::from_secs(30);
/// Longer than any package manager or check of packages takes.
const LONG: Duration = Duration::from_mins(5);
/// A version that no release had.
const HIGHER: &str = "99.1";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("/"))
}

/// The packages of this version.
static THESE: LazyLock<Packages> = LazyLock::new(|| Packages::make(None));
/// Those of a later one.
static LATER: LazyLock<Packages> = LazyLock::new(|| Packages::make(Some(HIGHER)));

/// The packages of one version, by their names; in memory, so that nothing is left on the disk.
struct Packages(Vec<(String, Vec<u8>)>);

impl Packages {
    /// Made of the programs of this build or, where `TEST_PROGRAMS` says so, of those in another directory.
    fn make(version: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = repository().join("packaging/build");
        let programs = programs();
        let mut argv = vec![script.to_str().unwrap(), "--fast"];
        argv.extend(["--programs", programs.to_str().unwrap()]);
        argv.extend(["--output", directory.path().to_str().unwrap()]);
        argv.extend(version.iter().flat_map(|version| ["--version", version]));
        let said = run(&argv, b"", LONG).unwrap();
        assert!(said.success(), "{said:?}");
        let made = std::fs::read_dir(directory.path()).unwrap();
        let made = made.map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        });
        Self(made.collect())
    }

    fn get(&self, ending: &str) -> &(String, Vec<u8>) {
        let found = self.0.iter().find(|(name, _)| name.ends_with(ending));
        found.unwrap()
    }

    /// Puts one on this host's disk.
    #[expect(
        clippy::disallowed_methods,
        reason = "a scratch file needs no durability"
    )]
    fn put(&self, ending: &str, directory: &Path) -> String {
        let (name, bytes) = self.get(ending);
        let path = directory.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    /// Puts one on a machine's disk.
    fn file(&self, ending: &str, path: &str) -> AddedFile {
        AddedFile {
            path: path.into(),
            bytes: self.get(ending).1.clone(),
            mode: 0o644,
        }
    }
}

fn programs() -> PathBuf {
    match std::env::var_os("TEST_PROGRAMS") {
        Some(directory) => repository().join(directory),
        None => built("agentd").unwrap().parent().unwrap().to_owned(),
    }
}

/// Runs a command of this host that must succeed: what it printed.
#[track_caller]
fn must(argv: &[&str]) -> String {
    let said = run(argv, b"", LONG).unwrap();
    assert!(said.success(), "{argv:?}: {said:?}");
    said.stdout
}

/// Names of the files of a directory of the repository.
fn names_in(directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir(repository().join(directory)).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn both_packages_contain_everything() {
    let directory = tempfile::tempdir().unwrap();
    let [deb, rpm] = ["deb", "rpm"].map(|ending| THESE.put(ending, directory.path()));
    contain_everything(&deb, &rpm);

    // An edited configuration survives an upgrade only if the packages say that it is one.
    let conffiles = must(&["dpkg-deb", "--info", &deb, "conffiles"]);
    assert_eq!(conffiles, "/etc/agentd/agentd.toml\n");
    let flags = ["[%{FILENAMES} %{FILEFLAGS:fflags}\n]", &rpm];
    let flags = must(&[&["rpm", "-qp", "--queryformat"], &flags[..]].concat());
    assert!(flags.contains("/etc/agentd/agentd.toml cn\n"), "{flags}");

    let strict = ["--allow-root", "--fail-on", "error,warning", &deb];
    must(&[&["lintian"], &strict[..]].concat());
    if std::env::var_os("TEST_PROGRAMS").is_some() {
        // Not the newer one that this host's own tables would ask for.
        let depends = must(&["dpkg-deb", "--field", &deb, "Depends"]);
        assert_eq!(depends, "ca-certificates, libc6 (>= 2.17)\n");
    }
    only_glibc_is_required(&rpm);
}

#[track_caller]
fn contain_everything(deb: &str, rpm: &str) {
    let deb = must(&["dpkg-deb", "--contents", deb]);
    let rpm = must(&["rpm", "-qlp", rpm]);
    let deb: Vec<_> = deb
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5)?.strip_prefix('.'))
        .collect();
    let rpm: Vec<_> = rpm.lines().collect();

    let mut wanted: Vec<String> = [
        "/usr/sbin/agentd",
        "/usr/bin/agentctl",
        "/etc/agentd/agentd.toml",
        "/usr/share/bash-completion/completions/agentctl",
        "/usr/share/fish/vendor_completions.d/agentctl.fish",
        "/usr/share/node-agent/fleet.schema.json",
        "/usr/share/doc/node-agent/README.md",
        "/usr/share/doc/node-agent/examples/fleet.json",
        "/usr/share/doc/node-agent/sbom.spdx.json",
    ]
    .map(str::to_owned)
    .into();
    let pages = must(&[programs().join("manual").to_str().unwrap()]);
    for page in pages.lines() {
        let (_, section) = page.rsplit_once('.').unwrap();
        wanted.push(format!("/usr/share/man/man{section}/{page}.gz"));
    }
    for page in names_in("docs") {
        wanted.push(format!("/usr/share/doc/node-agent/docs/{page}"));
    }
    let (in_deb, in_rpm) = ("/lib/systemd/system", "/usr/lib/systemd/system");
    let units = names_in("systemd");
    let units = || units.iter().filter(|name| name.ends_with(".service"));
    assert!(units().count() >= 2);
    let missing: Vec<_> = wanted
        .iter()
        .cloned()
        .chain(units().map(|unit| format!("{in_deb}/{unit}")))
        .chain(["/usr/share/doc/node-agent/copyright".into()])
        .chain(["/usr/share/zsh/vendor-completions/_agentctl".into()])
        .filter(|path| {
            !deb.iter()
                .any(|packed| packed == path || *packed == format!("{path}.gz"))
        })
        .collect();
    assert!(missing.is_empty(), "not in the .deb: {missing:?}\n{deb:#?}");
    let missing: Vec<_> = wanted
        .into_iter()
        .chain(units().map(|unit| format!("{in_rpm}/{unit}")))
        .chain(["/usr/share/licenses/node-agent/LICENSE".into()])
        .chain(["/usr/share/zsh/site-functions/_agentctl".into()])
        .filter(|path| !rpm.contains(&path.as_str()))
        .collect();
    assert!(missing.is_empty(), "not in the .rpm: {missing:?}\n{rpm:#?}");
}

/// The .rpm asks for nothing that a machine may not have, CentOS 7's rpm included.
#[track_caller]
fn only_glibc_is_required(rpm: &str) {
    let requires = must(&["rpm", "-qp", "--requires", rpm]);
    let known = [
        "/bin/sh",
        "/bin/bash",
        "ca-certificates",
        "config(node-agent)",
        "systemd",
        "rtld(GNU_HASH)",
        "rpmlib(CompressedFileNames)",
        "rpmlib(FileDigests)",
        "rpmlib(PayloadFilesHavePrefix)",
        "rpmlib(PayloadIsXz)",
        "ld-linux-x86-64.so.2",
        "libc.so.6",
        "libm.so.6",
        "libdl.so.2",
        "libpthread.so.0",
        "librt.so.1",
    ];
    // A build for a try is for this host only, and needs its compiler's library.
    let here = std::env::var_os("TEST_PROGRAMS").is_none();
    let strange: Vec<_> = requires
        .lines()
        .filter(|line| !known.iter().any(|name| line.starts_with(name)))
        .filter(|line| !(here && line.starts_with("libgcc_s.so.1")))
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
}

#[test]
fn a_program_that_is_not_portable_is_told() {
    let check = repository().join("packaging/portable");
    let check = |program: &str| run(&[check.to_str().unwrap(), program], b"", SOON).unwrap();
    // This host is newer than CentOS 7, and so is what was built for it alone.
    let said = check("/usr/bin/env");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stderr.contains("the newest allowed is 2.17"),
        "{said:?}"
    );
    assert!(said.stderr.contains("@GLIBC_2.34\n"), "{said:?}");
    // Old enough symbols, but a library that is not everywhere.
    let text = check("/etc/passwd");
    assert_eq!(text.code, Some(1), "{text:?}");
    if std::env::var_os("TEST_PROGRAMS").is_some() {
        for program in ["agentd", "agentctl"] {
            let said = check(programs().join(program).to_str().unwrap());
            assert!(said.success(), "{said:?}");
        }
    }
}

/// The sample fleet's web server, with two versions of the package on its disk and no agent yet.
fn web(image: Image, ending: &str) -> MachineSpec {
    let mut spec = MachineSpec::new("web-1", image, "10.77.0.11")
        .enable(image.apache_unit())
        .file("/srv/shop/current/public/index.html", "the shop")
        .file("/srv/shop/current/admin/index.html", "the shop's office")
        .file("/srv/video/current/public/index.html", "the videos");
    spec.files
        .push(THESE.file(ending, &format!("/root/1.{ending}")));
    spec.files
        .push(LATER.file(ending, &format!("/root/2.{ending}")));
    spec
}

fn served(machine: &Machine) -> bool {
    serves(machine, "shop.example.com", "the shop")
}

/// A package manager's work on a machine, which must succeed.
#[track_caller]
fn manage(machine: &Machine, argv: &[&str]) -> Output {
    let argv = [&["env", "DEBIAN_FRONTEND=noninteractive"], argv].concat();
    let said = machine.run_with(&argv, b"", LONG).unwrap();
    assert!(said.success(), "{argv:?}: {said:?}");
    said
}

/// What must be the same before and after an upgrade: what Apache does, what was decided, what a person wrote.
fn kept(machine: &Machine) -> (Apache, [String; 3]) {
    let files = [
        "/var/lib/agentd/ledger.json",
        "/var/lib/agentd/document.json",
        "/etc/agentd/agentd.toml",
    ];
    let files = files.map(|path| machine.read(path).unwrap());
    (Apache::of(machine).unwrap(), files)
}

/// From the first installation over an upgrade to the daemon's end, in the distribution's own words.
fn lives(image: Image, ending: &str, install: &[&str], upgrade: &[&str], remove: &[&str]) {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&sample(1, |_| ())).unwrap();
    let web = fleet.boot(web(image, ending)).unwrap();

    // CentOS's own policy of what is enabled by an installation: nothing that it does not name.
    if image == Image::CentosLayout {
        let policy = "/usr/lib/systemd/system-preset/99-default-disable.preset";
        web.write(policy, b"disable *\n").unwrap();
    }

    manage(&web, install);
    // Every file as it was packed.
    let verify: &[&str] = match ending {
        "deb" => &["dpkg", "--verify", "node-agent"],
        _ => &["rpm", "--verify", "--nodeps", "node-agent"],
    };
    assert_eq!(manage(&web, verify).stdout, "");
    assert!(!web.is_active("agentd.service"));
    let enabled = web
        .run(&["systemctl", "is-enabled", "agentd.service"])
        .unwrap();
    assert_eq!(enabled.stdout, "disabled\n", "{enabled:?}");
    let status = web.run(&["agentctl", "status"]).unwrap();
    assert_eq!(status.code, Some(3), "{status:?}");
    // The installed sample belongs to no fleet.
    let unedited = web.run(&["agentd", "--once"]).unwrap();
    assert_eq!(unedited.code, Some(1), "{unedited:?}");
    assert!(unedited.stderr.contains("fleet"), "{unedited:?}");
    assert!(!web.read("/etc/hosts").unwrap().contains("mysql-master"));

    web.write("/etc/agentd/agentd.toml", agent_config("").as_bytes())
        .unwrap();
    web.write("/etc/agentd/environment", credentials().as_bytes())
        .unwrap();
    web.must(&["systemctl", "enable", "--now", "agentd.service"])
        .unwrap();
    see(&web, "the shop", || served(&web));
    see(&web, "agentctl status to be 0", || converged(&web));

    let (pid, before) = (
        web.property("agentd.service", "MainPID").unwrap(),
        kept(&web),
    );
    manage(&web, upgrade);
    assert!(web.is_active("agentd.service"));
    assert_ne!(pid, web.property("agentd.service", "MainPID").unwrap());
    see(&web, "agentctl status to be 0", || converged(&web));
    assert_eq!(before, kept(&web));
    // It follows the bucket as before.
    assert!(web.exists("/etc/cron.d/agentd-shop_tick"));
    let next = sample(2, |signed| signed["products"]["shop"]["cron"] = json!({}));
    bucket.publish(&next).unwrap();
    see(&web, "the new version", || {
        !web.exists("/etc/cron.d/agentd-shop_tick")
    });

    let hosts = web.read("/etc/hosts").unwrap();
    manage(&web, remove);
    assert!(!web.is_active("agentd.service"));
    let known = web.run(&["systemctl", "cat", "agentd.service"]).unwrap();
    assert!(!known.success(), "{known:?}");
    assert!(!web.exists("/usr/sbin/agentd") && !web.exists("/usr/bin/agentctl"));
    // What it kept stays, and goes on working; so do its state and its configuration.
    assert_eq!(hosts, web.read("/etc/hosts").unwrap());
    assert!(served(&web));
    assert!(web.exists("/var/lib/agentd/ledger.json"));

    if ending == "deb" {
        assert!(web.exists("/etc/agentd/agentd.toml"));
        manage(&web, &["apt-get", "purge", "--yes", "node-agent"]);
        assert!(!web.exists("/etc/agentd") && !web.exists("/var/lib/agentd"));
        let said = web.run(&["dpkg", "--status", "node-agent"]).unwrap();
        assert!(!said.success(), "{said:?}");
    } else {
        assert_eq!(
            web.read("/etc/agentd/agentd.toml.rpmsave").unwrap(),
            agent_config("")
        );
    }
    let wanted = web
        .must(&["sh", "-c", "ls /etc/systemd/system/*.wants"])
        .unwrap();
    assert!(!wanted.contains("agentd.service"), "{wanted}");
    assert_eq!(hosts, web.read("/etc/hosts").unwrap());
    web.reboot().unwrap();
    assert!(served(&web));
}

#[test]
fn a_deb_is_installed_upgraded_removed_and_purged() {
    let apt = ["apt-get", "install", "--yes", "--no-install-recommends"];
    lives(
        Image::Debian,
        "deb",
        &[&apt[..], &["/root/1.deb"]].concat(),
        &[&apt[..], &["/root/2.deb"]].concat(),
        &["apt-get", "remove", "--yes", "node-agent"],
    );
}

#[test]
fn an_rpm_is_installed_upgraded_and_removed() {
    // The machine's files are not rpm's, so nothing provides what is required; that is looked at elsewhere.
    lives(
        Image::CentosLayout,
        "rpm",
        &["rpm", "--force-debian", "--nodeps", "-i", "/root/1.rpm"],
        &["rpm", "--force-debian", "--nodeps", "-U", "/root/2.rpm"],
        &["rpm", "--force-debian", "-e", "node-agent"],
    );
}
