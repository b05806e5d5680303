//! A repository of small packages, made with rpmbuild or dpkg-deb, for machines whose real dnf or apt installs from it.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::machine::{Image, Machine, Trouble, cache, image_root, run};

/// Where the repository stands on a machine.
pub const ON_MACHINE: &str = "/srv/repository";
/// Longer than making a package takes on a busy host.
const LONG: Duration = Duration::from_mins(2);

/// A package: `/usr/share/NAME/version`, and what is said here.
#[derive(Debug, Clone, Default)]
pub struct Made<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version, without a release: that is 1.
    pub version: &'a str,
    /// Packages that it needs.
    pub requires: &'a [&'a str],
    /// The script before its files come.
    pub before: &'a str,
    /// The script after they have come.
    pub after: &'a str,
    /// It has a configuration file, `/etc/NAME.conf`, which says the version.
    pub configured: bool,
    /// So many megabytes.
    pub megabytes: usize,
    /// More files: path and content.
    pub files: &'a [(&'a str, &'a str)],
}

impl<'a> Made<'a> {
    /// A package with nothing in it.
    pub fn new(name: &'a str, version: &'a str) -> Self {
        Self {
            name,
            version,
            ..Self::default()
        }
    }
}

/// A repository in the making.
#[derive(Debug)]
pub struct Repository {
    dir: tempfile::TempDir,
    image: Image,
}

impl Repository {
    /// An empty one for machines of this image. That of CentOS's layout has what every package of rpm's needs.
    pub fn new(image: Image) -> Result<Self, Trouble> {
        let dir = tempfile::tempdir().map_err(|e| Trouble::caused("cannot make a directory", e))?;
        let repository = Self { dir, image };
        fs::create_dir_all(repository.packages()).map_err(unwritten)?;
        if image == Image::CentosLayout {
            let sh = Made::new("sh", "1");
            repository.rpm(&sh, "Provides: /bin/sh\n")?;
            repository.versionlock()?;
        }
        Ok(repository)
    }

    fn packages(&self) -> PathBuf {
        self.dir.path().join("repository")
    }

    /// Adds a package.
    pub fn add(&self, made: &Made<'_>) -> Result<(), Trouble> {
        match self.image {
            Image::CentosLayout => self.rpm(made, ""),
            Image::Debian => self.deb(made),
        }
    }

    /// Adds one of Debian's own packages, as `tests/setup` fetched it for the image.
    pub fn add_fetched(&self, name: &str) -> Result<(), Trouble> {
        let fetched = cache().join("packages");
        let entries = fs::read_dir(&fetched).map_err(unwritten)?;
        let is_it = |path: &PathBuf| {
            let file = path.file_name().and_then(|file| file.to_str());
            file.is_some_and(|file| file.starts_with(&format!("{name}_")))
        };
        let mut found = entries.flatten().map(|entry| entry.path());
        let deb = found.find(is_it).ok_or_else(|| {
            Trouble::new(format!(
                "no {name} in {}: run tests/setup",
                fetched.display()
            ))
        })?;
        let to = self.packages().join(deb.file_name().unwrap_or_default());
        fs::copy(&deb, to).map(drop).map_err(unwritten)
    }

    /// The plugin of dnf that keeps packages at their versions, as CentOS has it in a package.
    fn versionlock(&self) -> Result<(), Trouble> {
        let root = image_root(Image::CentosLayout)?;
        let plugin = root.join("usr/share/dnf-plugins/versionlock.py");
        let plugin = fs::read_to_string(plugin)
            .map_err(|e| Trouble::caused("the image has no dnf: run tests/setup", e))?;
        let plugins = "/usr/lib/python3/dist-packages/dnf-plugins/versionlock.py";
        self.add(&Made {
            files: &[
                (plugins, &plugin),
                (
                    "/etc/dnf/plugins/versionlock.conf",
                    "[main]\nenabled = 1\nlocklist = /etc/dnf/plugins/versionlock.list\n",
                ),
                ("/etc/dnf/plugins/versionlock.list", ""),
            ],
            ..Made::new("python3-dnf-plugin-versionlock", "4.3.1")
        })
    }

    /// The files of a package, in a directory.
    fn tree(&self, made: &Made<'_>) -> Result<PathBuf, Trouble> {
        let tree = self.dir.path().join("tree");
        let _ = fs::remove_dir_all(&tree);
        let (name, version) = (made.name, made.version);
        let mut files = vec![(
            format!("/usr/share/{name}/version"),
            format!("{version}\n").into_bytes(),
        )];
        if made.configured {
            let text = format!("version={version}\n");
            files.push((format!("/etc/{name}.conf"), text.into_bytes()));
        }
        if made.megabytes > 0 {
            // What cannot be compressed: the host's own random bytes, many times.
            let mut bytes = vec![0; made.megabytes << 20];
            let mut seed = 88_172_645_463_325_252_u64;
            for chunk in bytes.chunks_mut(8) {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let word = seed.to_le_bytes();
                chunk.copy_from_slice(word.get(..chunk.len()).unwrap_or_default());
            }
            files.push((format!("/usr/share/{name}/bulk"), bytes));
        }
        for (path, text) in made.files {
            files.push(((*path).to_owned(), text.as_bytes().to_vec()));
        }
        for (path, bytes) in files {
            let at = tree.join(path.trim_start_matches('/'));
            let parent = at.parent().unwrap_or(&tree);
            fs::create_dir_all(parent).map_err(unwritten)?;
            write(&at, bytes).map_err(unwritten)?;
        }
        Ok(tree)
    }

    fn rpm(&self, made: &Made<'_>, more: &str) -> Result<(), Trouble> {
        let tree = self.tree(made)?;
        let mut spec = format!(
            "Name: {}\nVersion: {}\nRelease: 1\nSummary: for tests\nLicense: MIT\nBuildArch: noarch\nAutoReqProv: no\n{more}",
            made.name, made.version
        );
        for other in made.requires {
            let _ = writeln!(spec, "Requires: {other}");
        }
        let _ = write!(
            spec,
            "%description\nFor tests.\n%install\ncp -a {}/. %{{buildroot}}\n",
            tree.display()
        );
        for (section, script) in [("pre", made.before), ("post", made.after)] {
            if !script.is_empty() {
                let _ = writeln!(spec, "%{section} -p /bin/sh\n{script}");
            }
        }
        let _ = writeln!(spec, "%files\n/usr/share/{}", made.name);
        if made.configured {
            let _ = writeln!(spec, "%config(noreplace) /etc/{}.conf", made.name);
        }
        for (path, _) in made.files {
            let config = if path.starts_with("/etc/") {
                "%config(noreplace) "
            } else {
                ""
            };
            let _ = writeln!(spec, "{config}{path}");
        }
        let file = self.dir.path().join("package.spec");
        write(&file, spec).map_err(unwritten)?;
        let to = format!("_rpmdir {}", self.packages().display());
        let top = format!("_topdir {}", self.dir.path().join("build").display());
        let file = file.display().to_string();
        must(&[
            "rpmbuild",
            "-bb",
            "--quiet",
            "--define",
            &to,
            "--define",
            &top,
            "--define",
            "_build_id_links none",
            "--define",
            "_binary_payload w1.gzdio",
            &file,
        ])
    }

    fn deb(&self, made: &Made<'_>) -> Result<(), Trouble> {
        let tree = self.tree(made)?;
        let control = tree.join("DEBIAN");
        fs::create_dir_all(&control).map_err(unwritten)?;
        let mut text = format!(
            "Package: {}\nVersion: {}-1\nArchitecture: all\nMaintainer: Tests <tests@example.com>\nDescription: for tests\n",
            made.name, made.version
        );
        if !made.requires.is_empty() {
            let _ = writeln!(text, "Depends: {}", made.requires.join(", "));
        }
        write(control.join("control"), text).map_err(unwritten)?;
        if made.configured {
            let conffile = format!("/etc/{}.conf\n", made.name);
            write(control.join("conffiles"), conffile).map_err(unwritten)?;
        }
        for (file, script) in [("preinst", made.before), ("postinst", made.after)] {
            if !script.is_empty() {
                let path = control.join(file);
                write(&path, format!("#!/bin/sh\n{script}\n")).map_err(unwritten)?;
                let mode = fs::Permissions::from_mode(0o755);
                fs::set_permissions(&path, mode).map_err(unwritten)?;
            }
        }
        let name = format!("{}_{}-1_all.deb", made.name, made.version);
        let to = self.packages().join(name);
        must(&[
            "dpkg-deb",
            "--build",
            "-Zgzip",
            "-z1",
            "--root-owner-group",
            &shown(&tree),
            &shown(&to),
        ])
    }

    /// Puts it on a machine as it is by now, as the only repository there.
    pub fn publish(&self, machine: &Machine) -> Result<(), Trouble> {
        let dir = shown(&self.packages());
        match self.image {
            Image::CentosLayout => must(&["createrepo_c", "--quiet", &dir])?,
            Image::Debian => {
                let script =
                    r#"cd "$1" && dpkg-scanpackages --multiversion . >Packages 2>/dev/null"#;
                must(&["sh", "-c", script, "scan", &dir])?;
            }
        }
        let archive = self.dir.path().join("archive.tar");
        must(&["tar", "-C", &dir, "-cf", &shown(&archive), "."])?;
        let bytes = fs::read(&archive).map_err(unwritten)?;
        let script = r#"rm -rf "$1" && mkdir -p "$1" && tar -xf - -C "$1" --no-same-owner"#;
        let unpack = ["sh", "-c", script, "unpack", ON_MACHINE];
        let output = machine.run_with(&unpack, &bytes, LONG)?;
        if !output.success() {
            return Err(Trouble::new(format!(
                "cannot unpack the repository: {output:?}"
            )));
        }
        match self.image {
            Image::CentosLayout => machine.write(
                "/etc/yum.repos.d/tests.repo",
                format!("[tests]\nname=tests\nbaseurl=file://{ON_MACHINE}\ngpgcheck=0\nmetadata_expire=1h\n").as_bytes(),
            ),
            Image::Debian => machine.write(
                "/etc/apt/sources.list",
                format!("deb [trusted=yes] file:{ON_MACHINE} ./\n").as_bytes(),
            ),
        }
    }
}

fn must(argv: &[&str]) -> Result<(), Trouble> {
    let output = run(argv, b"", LONG)?;
    if output.success() {
        return Ok(());
    }
    Err(Trouble::new(format!("{argv:?} failed: {output:?}")))
}

fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
    fs::File::create(path)?.write_all(bytes.as_ref())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn unwritten(error: std::io::Error) -> Trouble {
    Trouble::caused("cannot make a package", error)
}
