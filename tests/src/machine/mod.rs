//! A fleet of real machines for tests: each boots its own systemd from a root file system that `tests/setup` built,
//! in about half a second, with its own disk, its own address and its own control groups.
//!
//! ```text
//! test ── pipe ──► keeper: own mount, PID, network, IPC, host name and cgroup namespaces
//!                   │  bridge 10.77.0.1/24; servers of the test (S3) run here, see `Fleet::spawn_in_net`
//!                   ├─ port1 ── host0 10.77.0.11   systemd-nspawn: web-1
//!                   └─ port2 ── host0 10.77.0.21   systemd-nspawn: cache-1
//! ```
//!
//! Nothing outlives the test. Disks are overlays on a tmpfs, mounts and interfaces exist only in the keeper's
//! namespaces, and the keeper ends when the pipe from the test closes, which the kernel sees to also after SIGKILL;
//! being the first process of its PID namespace, it takes everything with it. What remains then is an empty
//! directory among the control groups, and the next fleet sweeps that away. So fleets run side by side, all with
//! the same addresses.
//!
//! What a host must offer: root, the package systemd-container, and a mounted cgroup2 file system that we may write to
//! (`/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` beside version 1). PID 1 of the host may be anything:
//! machines are not registered with it. Inside a machine version 2 alone is mounted, without controllers, for
//! the host's own group holds processes: unit sandboxing, watchdogs, the journal, `Restart=` work as
//! usual, while `MemoryMax=` and the like are accepted and not enforced.
//!
//! All machines count as the host's root where the kernel limits inotify; opening a fleet raises those limits of the
//! host (`limits`).

mod bucket;
mod cgroup;
mod fleet;
mod limits;
mod node;
mod process;
pub mod watch;

use std::path::{Path, PathBuf};

pub use bucket::{
    FleetBucket, agent_config, ask_memcached, credentials, with_agent, with_agent_and,
    with_credentials,
};
pub use fleet::{Fleet, NetChild};
pub use node::Machine;
pub use process::{Output, Trouble, run, wait_until};

/// The address of the test itself: servers started with [`Fleet::spawn_in_net`] listen here.
pub const TEST_ADDRESS: &str = "10.77.0.1";

/// Which root file system a machine boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// Debian as it comes. Apache and memcached are installed, not enabled; cron is enabled.
    Debian,
    /// The same servers under `CentOS`'s names and paths, and an `os-release` that says so.
    CentosLayout,
}

impl Image {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Debian, Self::CentosLayout];

    fn directory(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::CentosLayout => "centos-layout",
        }
    }

    /// Apache's unit.
    pub fn apache_unit(self) -> &'static str {
        match self {
            Self::Debian => "apache2.service",
            Self::CentosLayout => "httpd.service",
        }
    }

    /// cron's unit.
    pub fn cron_unit(self) -> &'static str {
        match self {
            Self::Debian => "cron.service",
            Self::CentosLayout => "crond.service",
        }
    }
}

/// A file to be put on a machine's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedFile {
    /// Absolute path; directories in between are made.
    pub path: String,
    /// Content.
    pub bytes: Vec<u8>,
    /// Permission bits. The owner is root.
    pub mode: u32,
}

/// What machine to boot.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    /// Its host name, unique in the fleet.
    pub name: String,
    /// Its disk, at first.
    pub image: Image,
    /// Another root file system to boot from, of the image's layout. It is only read, and brings its own machine-id or none.
    pub disk: Option<PathBuf>,
    /// Its address in 10.77.0.0/24.
    pub address: String,
    /// Added before it boots.
    pub files: Vec<AddedFile>,
    /// Units enabled before it boots.
    pub enable: Vec<String>,
    /// A directory with a file system of its own, and how many megabytes it has.
    pub data: Option<(String, u32)>,
}

impl MachineSpec {
    /// A machine with nothing added.
    pub fn new(name: &str, image: Image, address: &str) -> Self {
        Self {
            name: name.into(),
            image,
            disk: None,
            address: address.into(),
            files: Vec::new(),
            enable: Vec::new(),
            data: None,
        }
    }

    /// With this directory on a small disk of its own, with what the image has there: one that can be filled, or made
    /// to hang ([`Machine::hang_disk`]), alone.
    #[must_use]
    pub fn data(mut self, path: &str, megabytes: u32) -> Self {
        self.data = Some((path.into(), megabytes));
        self
    }

    /// Booted from this root file system, which must not lie under /tmp or /run: see [`disks`].
    #[must_use]
    pub fn disk(mut self, root: &Path) -> Self {
        self.disk = Some(root.into());
        self
    }

    /// With a file more, readable by all.
    #[must_use]
    pub fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push(AddedFile {
            path: path.into(),
            bytes: bytes.into(),
            mode: 0o644,
        });
        self
    }

    /// With a unit more that starts at boot.
    #[must_use]
    pub fn enable(mut self, unit: &str) -> Self {
        self.enable.push(unit.into());
        self
    }

    /// With the agent, started at boot with this `agentd.toml`.
    pub fn agent(self, config: &str) -> Result<Self, Trouble> {
        Ok(self.with_agent_installed(config)?.enable("agentd.service"))
    }

    /// With the agent and this `agentd.toml`, not started by itself.
    pub fn with_agent_installed(mut self, config: &str) -> Result<Self, Trouble> {
        self.files.extend(agent_files(config)?);
        Ok(self)
    }
}

/// The programs just built, the units of `systemd/`, and a configuration, where a package would put them.
fn agent_files(config: &str) -> Result<Vec<AddedFile>, Trouble> {
    let mut files = vec![AddedFile {
        path: "/etc/agentd/agentd.toml".into(),
        bytes: config.into(),
        mode: 0o644,
    }];
    for (name, directory) in [("agentd", "/usr/sbin"), ("agentctl", "/usr/bin")] {
        files.push(AddedFile {
            path: format!("{directory}/{name}"),
            bytes: read(&built(name)?)?,
            mode: 0o755,
        });
    }
    let units = repository().join("systemd");
    let entries = std::fs::read_dir(&units)
        .map_err(|e| Trouble::caused(format!("cannot list {}", units.display()), e))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let target = match path.extension().and_then(|kind| kind.to_str()) {
            Some("service" | "socket" | "timer" | "path" | "target" | "slice") => {
                format!("/usr/lib/systemd/system/{name}")
            }
            Some("preset") => format!("/usr/lib/systemd/system-preset/{name}"),
            // As packages do: `systemd/tmpfiles.conf` becomes `tmpfiles.d/agentd.conf`.
            Some("conf") if name.contains("tmpfiles") => "/usr/lib/tmpfiles.d/agentd.conf".into(),
            Some("conf") if name.contains("sysusers") => "/usr/lib/sysusers.d/agentd.conf".into(),
            _ => continue,
        };
        files.push(AddedFile {
            path: target,
            bytes: read(&path)?,
            mode: 0o644,
        });
    }
    Ok(files)
}

/// A program of this workspace, as built for these tests.
pub fn built(name: &str) -> Result<PathBuf, Trouble> {
    // Tests lie in target/<profile>/deps, programs in target/<profile>.
    let own =
        std::env::current_exe().map_err(|e| Trouble::caused("cannot find this test's file", e))?;
    let program = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file());
    program.ok_or_else(|| {
        Trouble::new(format!(
            "{name} is not built: run `cargo build --workspace` first"
        ))
    })
}

/// The top of the repository.
pub fn repository() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    std::fs::read(path).map_err(|e| Trouble::caused(format!("cannot read {}", path.display()), e))
}

/// A directory for root file systems that a test makes itself, where fleets can boot them. Removed on drop.
pub fn disks() -> Result<tempfile::TempDir, Trouble> {
    tempfile::Builder::new()
        .prefix(".made-by-a-test-")
        .tempdir_in(images())
        .map_err(|e| Trouble::caused("cannot make a directory for a root file system", e))
}

/// The root file system of an image, as `tests/setup` made it. It must not be changed.
pub fn image_root(image: Image) -> Result<PathBuf, Trouble> {
    let path = images().join(image.directory());
    path.canonicalize()
        .map_err(|e| Trouble::caused(format!("no {}: run tests/setup", path.display()), e))
}

/// Where `tests/setup` keeps what takes long to make.
pub(crate) fn cache() -> PathBuf {
    let cache = std::env::var_os("TEST_CACHE").map(PathBuf::from);
    cache.unwrap_or_else(|| repository().join(".cache"))
}

/// Where `tests/setup` puts the root file systems.
fn images() -> PathBuf {
    cache().join("images")
}
