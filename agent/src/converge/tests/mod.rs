//! Runs on a scratch root with real documents, and transactions against a stand-in for systemctl.

mod bounds;
mod fast_lane;
mod faults;
mod files;
mod members;
mod overtaken;
mod passing;
mod runs;
mod seal;
mod transactions;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use super::{Converger, Intent};
use crate::fleet::Document;
use crate::node::eviction::Evictions;
use crate::node::{Elections, HostsScope};
use crate::report::{RunRecord, Trigger};
use crate::settings::{GuardSettings, JournalSettings};
use crate::system::file::Files;
use crate::system::package_manager::Patience;
use crate::system::platform::{Family, Platform};
use crate::system::root::Root;

const HEAVY: &str = include_str!("../../../../tests/fleets/heavy.json");

/// A box under a scratch root.
struct Box {
    dir: tempfile::TempDir,
    converger: Converger,
    fleet: Value,
}

impl Box {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::under(dir.path()).unwrap()).remembering();
        let converger = Converger {
            files,
            platform: Platform::of(Family::Centos),
            packages: Patience::default(),
            guard: GuardSettings::default(),
            journal: JournalSettings {
                runs: 5,
                bytes: 1 << 20,
            },
            needed_names: ["s3.shop.example.com".to_owned()].into(),
            booting: false.into(),
            served: std::sync::Mutex::default(),
            swept: false.into(),
        };
        Self {
            dir,
            converger,
            fleet: serde_json::from_str(HEAVY).unwrap(),
        }
    }

    /// Publishes the next version with `edit` applied to the `signed` part.
    fn edit(&mut self, edit: impl FnOnce(&mut Value)) {
        let signed = &mut self.fleet["signed"];
        signed["version"] = (signed["version"].as_u64().unwrap() + 1).into();
        edit(signed);
    }

    fn intent(&self, node: &str) -> Intent {
        let document = Document::read(&serde_json::to_vec(&self.fleet).unwrap()).unwrap();
        Intent {
            document,
            node: node.parse().unwrap(),
            hosts: HostsScope::Products,
            elections: Elections::default(),
            evictions: Evictions::default(),
        }
    }

    async fn run(&self, node: &str) -> RunRecord {
        self.converger
            .run(&self.intent(node), Trigger::Person, &|_, _| ())
            .await
            .unwrap()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a person at work in a scratch directory"
    )]
    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Every path under the root with its inode and modification time: equal means that nothing was written.
    fn stamps(&self) -> BTreeMap<PathBuf, (u64, SystemTime)> {
        fn walk(dir: &Path, into: &mut BTreeMap<PathBuf, (u64, SystemTime)>) {
            use std::os::unix::fs::MetadataExt;
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let meta = path.symlink_metadata().unwrap();
                into.insert(path.clone(), (meta.ino(), meta.modified().unwrap()));
                if meta.is_dir() {
                    walk(&path, into);
                }
            }
        }
        let mut stamps = BTreeMap::new();
        walk(self.dir.path(), &mut stamps);
        stamps
    }
}
