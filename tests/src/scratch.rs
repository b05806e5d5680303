//! A box under a scratch root, a directory as its bucket, and the real agent run on it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::machine::{Output, Trouble, built, run};

/// How long one run of the agent may take, under strace too.
const PATIENCE: Duration = Duration::from_mins(1);

/// What holds the agent's own state, under the root.
const OWN: [&str; 2] = ["var/lib/agentd", "run/agentd"];

/// What stands at a path, for comparing content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stands {
    /// A file: its permission bits and content.
    File(u32, Vec<u8>),
    /// A link, and where it points.
    Link(PathBuf),
    /// A directory and its permission bits.
    Directory(u32),
}

/// What changes at a path with any write: inode, links, owner, mode, size, and the times of content and status.
pub type Stamp = (u64, u64, u32, u32, u32, u64, (i64, i64), (i64, i64));

/// A tree, by paths relative to the root.
pub type Tree = BTreeMap<PathBuf, Stands>;

/// A scratch directory with `box/`, the root, and `bucket/`.
#[derive(Debug)]
pub struct Scratch {
    dir: TempDir,
    agentd: PathBuf,
    node: String,
}

impl Scratch {
    /// A box of CentOS's layout, as it was before the agent came, that is the server `node`.
    pub fn new(node: &str) -> Result<Self, Trouble> {
        Self::with_agent(node, &built("agentd")?)
    }

    /// The same, with another build of the agent.
    pub fn with_agent(node: &str, agentd: &Path) -> Result<Self, Trouble> {
        let dir = TempDir::with_prefix("agentd-scratch-")
            .map_err(|e| Trouble::caused("cannot make a scratch directory", e))?;
        let scratch = Self {
            dir,
            agentd: agentd.into(),
            node: node.into(),
        };
        Self::make_dir(&scratch.bucket())?;
        scratch.write("etc/os-release", "ID=\"centos\"\nVERSION_ID=\"9\"\n")?;
        scratch.write(
            "etc/hosts",
            "127.0.0.1 localhost\n# mine\n10.9.9.9 printer\n",
        )?;
        scratch.write(
            "etc/cron.d/0hourly",
            "01 * * * * root run-parts /etc/cron.hourly\n",
        )?;
        scratch.write(
            "etc/httpd/conf/httpd.conf",
            "Listen 80\nIncludeOptional conf.d/*.conf\n",
        )?;
        scratch.write("etc/httpd/conf.d/welcome.conf", "# somebody else's\n")?;
        Ok(scratch)
    }

    /// The root that the agent gets.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("box")
    }

    fn bucket(&self) -> PathBuf {
        self.dir.path().join("bucket")
    }

    fn make_dir(dir: &Path) -> Result<(), Trouble> {
        fs::create_dir_all(dir)
            .map_err(|e| Trouble::caused(format!("cannot make {}", dir.display()), e))
    }

    /// Writes a file of the box as a person would.
    pub fn write(&self, path: &str, text: &str) -> Result<(), Trouble> {
        Self::write_at(&self.root().join(path), text.as_bytes())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a person at work in a scratch directory"
    )]
    fn write_at(path: &Path, bytes: &[u8]) -> Result<(), Trouble> {
        Self::make_dir(path.parent().unwrap_or(path))?;
        fs::write(path, bytes)
            .map_err(|e| Trouble::caused(format!("cannot write {}", path.display()), e))
    }

    /// Puts the document into the bucket, whole at once.
    pub fn publish(&self, document: &Value) -> Result<(), Trouble> {
        let beside = self.dir.path().join("fleet.json.new");
        Self::write_at(&beside, document.to_string().as_bytes())?;
        fs::rename(beside, self.bucket().join("fleet.json"))
            .map_err(|e| Trouble::caused("cannot publish", e))
    }

    /// The command line of one run for the directory's document.
    pub fn once(&self) -> Vec<String> {
        self.once_with(&["--fleet", &format!("file://{}", self.bucket().display())])
    }

    /// The command line of one run with `more` arguments.
    pub fn once_with(&self, more: &[&str]) -> Vec<String> {
        let (agentd, root) = (
            self.agentd.display().to_string(),
            self.root().display().to_string(),
        );
        [
            agentd.as_str(),
            "--root",
            &root,
            "--node",
            &self.node,
            "--trust",
            "none",
            "--once",
        ]
        .iter()
        .chain(more)
        .map(|&word| word.to_owned())
        .collect()
    }

    /// Runs a command line to its end, with `before` before it: `env NAME=VALUE`, `strace …`.
    pub fn run(&self, before: &[&str], line: &[String]) -> Result<Output, Trouble> {
        let words: Vec<&str> = ["env", "AWS_EC2_METADATA_DISABLED=true"]
            .into_iter()
            .chain(before.iter().copied())
            .chain(line.iter().map(String::as_str))
            .collect();
        run(&words, b"", PATIENCE)
    }

    /// One run that must end with one of `codes`.
    pub fn converge(&self, codes: &[i32]) -> Result<Output, Trouble> {
        let output = self.run(&[], &self.once())?;
        if output.code.is_some_and(|code| codes.contains(&code)) {
            Ok(output)
        } else {
            Err(Trouble::new(format!(
                "agentd --once ended with {:?}, not one of {codes:?}:\n{}{}",
                output.code, output.stdout, output.stderr
            )))
        }
    }

    /// Keeps a copy of the box as it is, to come back to.
    pub fn keep(&self, name: &str) -> Result<(), Trouble> {
        Self::copy(&self.root(), &self.dir.path().join(name))
    }

    /// Makes the box what it was when it was kept.
    pub fn come_back(&self, name: &str) -> Result<(), Trouble> {
        Self::copy(&self.dir.path().join(name), &self.root())
    }

    fn copy(from: &Path, to: &Path) -> Result<(), Trouble> {
        if to.exists() {
            fs::remove_dir_all(to)
                .map_err(|e| Trouble::caused(format!("cannot remove {}", to.display()), e))?;
        }
        let (from, to) = (from.display().to_string(), to.display().to_string());
        let copied = run(&["cp", "-a", &from, &to], b"", PATIENCE)?;
        if copied.success() {
            Ok(())
        } else {
            Err(Trouble::caused("cannot copy the box", copied.stderr))
        }
    }

    /// Everything under the root but the agent's own state.
    pub fn tree(&self) -> Result<Tree, Trouble> {
        let mut tree = Tree::new();
        self.walk(|path, whole, meta| {
            if OWN
                .iter()
                .any(|own| path.starts_with(own) || Path::new(own).starts_with(path))
            {
                return Ok(());
            }
            let mode = meta.mode() & 0o7777;
            let stands = if meta.is_symlink() {
                Stands::Link(fs::read_link(whole)?)
            } else if meta.is_dir() {
                Stands::Directory(mode)
            } else {
                Stands::File(mode, fs::read(whole)?)
            };
            tree.insert(path.into(), stands);
            Ok(())
        })?;
        Ok(tree)
    }

    /// Everything under the root, state and socket included: equal stamps mean that nothing was written.
    pub fn stamps(&self) -> Result<BTreeMap<PathBuf, Stamp>, Trouble> {
        let mut stamps = BTreeMap::new();
        self.walk(|path, _, meta| {
            let stamp = (
                meta.ino(),
                meta.nlink(),
                meta.uid(),
                meta.gid(),
                meta.mode(),
                meta.size(),
                (meta.mtime(), meta.mtime_nsec()),
                (meta.ctime(), meta.ctime_nsec()),
            );
            stamps.insert(path.into(), stamp);
            Ok(())
        })?;
        Ok(stamps)
    }

    /// The agent's temporary files, wherever they lie.
    pub fn leftovers(&self) -> Result<Vec<PathBuf>, Trouble> {
        let mut left = Vec::new();
        self.walk(|path, _, _| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') && name.contains(".agentd-") {
                left.push(path.into());
            }
            Ok(())
        })?;
        Ok(left)
    }

    /// The ledger without what differs from run to run: when, in which run and for which version.
    pub fn ledger(&self) -> Result<Value, Trouble> {
        let mut ledger = self.state("ledger.json")?;
        if let Some(paths) = ledger.get_mut("things").and_then(Value::as_object_mut) {
            for owned in paths.values_mut().filter_map(Value::as_object_mut) {
                for changing in ["run", "written", "version"] {
                    owned.remove(changing);
                }
            }
        }
        Ok(ledger)
    }

    /// A file of the agent's state.
    pub fn state(&self, name: &str) -> Result<Value, Trouble> {
        let path = self.root().join("var/lib/agentd").join(name);
        let said = |e: &dyn std::fmt::Display| Trouble::caused(format!("cannot read {name}"), e);
        let bytes = fs::read(path).map_err(|e| said(&e))?;
        serde_json::from_slice(&bytes).map_err(|e| said(&e))
    }

    fn walk(
        &self,
        mut visit: impl FnMut(&Path, &Path, &fs::Metadata) -> std::io::Result<()>,
    ) -> Result<(), Trouble> {
        let root = self.root();
        let mut waiting = vec![root.clone()];
        let mut step = |dir: &Path, waiting: &mut Vec<PathBuf>| -> std::io::Result<()> {
            for entry in fs::read_dir(dir)? {
                let whole = entry?.path();
                let meta = whole.symlink_metadata()?;
                visit(whole.strip_prefix(&root).unwrap_or(&whole), &whole, &meta)?;
                if meta.is_dir() {
                    waiting.push(whole);
                }
            }
            Ok(())
        };
        while let Some(dir) = waiting.pop() {
            step(&dir, &mut waiting)
                .map_err(|e| Trouble::caused(format!("cannot look at {}", dir.display()), e))?;
        }
        Ok(())
    }
}
