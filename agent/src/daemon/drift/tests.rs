use std::time::Instant;

use super::*;
use crate::system::root::Root;

/// What is touched within half a second.
async fn soon(drift: &mut DriftWatch) -> Vec<String> {
    let touched = tokio::time::timeout(Duration::from_millis(600), drift.touched()).await;
    touched
        .unwrap_or_default()
        .iter()
        .map(|path| path.display().to_string())
        .collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a scratch file needs no durability"
)]
fn put(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn scratch() -> (tempfile::TempDir, Root, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::under(dir.path()).unwrap();
    let owned = vec![
        PathBuf::from("/etc/hosts"),
        PathBuf::from("/etc/cron.d/agentd-a"),
    ];
    for path in &owned {
        put(&root.real(path), "one\n");
    }
    (dir, root, owned)
}

#[test]
fn edits_removals_and_modes_are_noticed_and_nothing_else() {
    let (_dir, root, owned) = scratch();
    block_on(async {
        let mut drift = DriftWatch::new(Files::new(root.clone()));
        drift.follow(&owned);
        assert_eq!(drift.trouble(), None);
        let hosts = root.real(Path::new("/etc/hosts"));

        // Reading, and other files of the directory, wake nobody.
        std::fs::read(&hosts).unwrap();
        put(&root.real(Path::new("/etc/other")), "x");
        assert!(soon(&mut drift).await.is_empty());

        put(&hosts, "two\n");
        assert_eq!(soon(&mut drift).await, ["/etc/hosts"]);
        let aside = root.real(Path::new("/etc/hosts.new"));
        put(&aside, "three\n");
        std::fs::rename(&aside, &hosts).unwrap();
        std::fs::remove_file(root.real(Path::new("/etc/cron.d/agentd-a"))).unwrap();
        assert_eq!(
            soon(&mut drift).await,
            ["/etc/cron.d/agentd-a", "/etc/hosts"]
        );
    });
}

#[test]
fn a_directory_that_is_removed_and_made_anew_is_followed_again() {
    let (_dir, root, owned) = scratch();
    block_on(async {
        let mut drift = DriftWatch::new(Files::new(root.clone()));
        drift.follow(&owned);
        let cron = root.real(Path::new("/etc/cron.d"));
        std::fs::remove_dir_all(&cron).unwrap();
        assert_eq!(soon(&mut drift).await, ["/etc/cron.d/agentd-a"]);
        put(&cron.join("agentd-a"), "one\n");
        drift.follow(&owned);
        assert!(soon(&mut drift).await.is_empty());
        put(&cron.join("agentd-a"), "two\n");
        assert_eq!(soon(&mut drift).await, ["/etc/cron.d/agentd-a"]);
    });
}

#[test]
fn somebody_who_never_stops_writing_is_not_waited_for() {
    let (_dir, root, owned) = scratch();
    block_on(async {
        let mut drift = DriftWatch::new(Files::new(root.clone()));
        drift.follow(&owned);
        let hosts = root.real(Path::new("/etc/hosts"));
        let writer = async {
            for _ in 0..100 {
                put(&hosts, "again\n");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let started = Instant::now();
        tokio::select! {
            () = writer => panic!("waited for quiet that never came"),
            touched = drift.touched() => assert_eq!(touched.len(), 1),
        }
        assert!(started.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn what_is_not_followed_any_more_wakes_nobody() {
    let (_dir, root, owned) = scratch();
    block_on(async {
        let mut drift = DriftWatch::new(Files::new(root.clone()));
        drift.follow(&owned);
        drift.follow(&owned[..1]);
        put(&root.real(&owned[1]), "two\n");
        assert!(soon(&mut drift).await.is_empty());
        put(&root.real(&owned[0]), "two\n");
        assert_eq!(soon(&mut drift).await, ["/etc/hosts"]);
    });
}

/// The masks of all watches of this process's inotify instances, as the kernel has them.
fn masks() -> Vec<u32> {
    let fdinfo = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    let texts = fdinfo.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    let inotify = lines.filter(|line| line.starts_with("inotify "));
    let masks = inotify.filter_map(|line| {
        let mask = line
            .split(' ')
            .find_map(|word| word.strip_prefix("mask:").map(str::to_owned))?;
        u32::from_str_radix(&mask, 16).ok()
    });
    masks.collect()
}

#[test]
fn the_kernel_is_not_asked_for_openings_nor_reads() {
    let (_dir, root, owned) = scratch();
    block_on(async {
        let mut drift = DriftWatch::new(Files::new(root.clone()));
        drift.follow(&owned);
        let masks = masks();
        assert!(masks.len() >= 2, "{masks:x?}");
        // ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE, DELETE_SELF, MOVE_SELF; no OPEN (20), ACCESS (1),
        // MODIFY (2), CLOSE_NOWRITE (10).
        assert!(masks.iter().all(|mask| *mask == 0xfcc), "{masks:x?}");
    });
}

#[test]
fn what_the_agent_itself_read_or_wrote_is_no_drift() {
    let (_dir, root, owned) = scratch();
    block_on(async {
        let files = Files::new(root.clone()).remembering();
        let mut drift = DriftWatch::new(files.clone());
        drift.follow(&owned);
        files.write(&owned[0], b"ours", 0o644).unwrap();
        files.remove(&owned[1]).unwrap();
        assert!(soon(&mut drift).await.is_empty(), "written by the agent");
        put(&root.real(&owned[0]), "theirs\n");
        files.read(&owned[0]).unwrap();
        assert!(soon(&mut drift).await.is_empty(), "seen by a run since");
        put(&root.real(&owned[0]), "theirs again\n");
        put(&root.real(&owned[1]), "back\n");
        let both = ["/etc/cron.d/agentd-a", "/etc/hosts"];
        assert_eq!(soon(&mut drift).await, both);
        // A directory that is swept away takes what the agent saw with it.
        files.read(&owned[0]).unwrap();
        std::fs::rename(root.real(Path::new("/etc")), root.real(Path::new("/gone"))).unwrap();
        assert!(soon(&mut drift).await.contains(&"/etc/hosts".to_owned()));
    });
}
