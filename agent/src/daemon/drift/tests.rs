use std::time::Instant;

use super::*;

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
        let mut drift = DriftWatch::new(&root);
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
        let mut drift = DriftWatch::new(&root);
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
        let mut drift = DriftWatch::new(&root);
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
        let mut drift = DriftWatch::new(&root);
        drift.follow(&owned);
        drift.follow(&owned[..1]);
        put(&root.real(&owned[1]), "two\n");
        assert!(soon(&mut drift).await.is_empty());
        put(&root.real(&owned[0]), "two\n");
        assert_eq!(soon(&mut drift).await, ["/etc/hosts"]);
    });
}
