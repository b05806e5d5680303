//! docs/operations.md: the blocks of its first fleet are run as they stand, in order, on a machine that has nothing but the
//! agent, and end as the page says.

#![cfg(test)]

use std::time::Duration;

use node_agent_tests::machine::{Fleet, Image, MachineSpec, wait_until};

const PAGE: &str = include_str!("../../docs/operations.md");
const SOON: Duration = Duration::from_mins(1);

/// A block to run, and the exit code that the page announces.
struct Block {
    line: usize,
    code: i32,
    script: String,
}

/// The blocks after a comment `<!-- run -->` or `<!-- run: CODE -->`.
fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = PAGE.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(marker) = line.strip_prefix("<!-- run") else {
            continue;
        };
        let code = marker.trim_end_matches(" -->").trim_start_matches(": ");
        let code = if code.is_empty() {
            0
        } else {
            code.parse().unwrap()
        };
        let (_, fence) = lines.next().unwrap();
        assert_eq!(fence, "```sh", "line {}", number + 2);
        let script: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| *line != "```")
            .collect();
        blocks.push(Block {
            line: number + 1,
            code,
            script: script.join("\n"),
        });
    }
    blocks
}

#[test]
fn the_first_fleet_comes_up_as_the_page_says() {
    let blocks = blocks();
    assert!(blocks.len() >= 8, "{}", blocks.len());
    let fleet = Fleet::new().unwrap();
    let machine = fleet
        .boot(
            MachineSpec::new("web-1", Image::Debian, "10.77.0.11")
                .with_agent_installed("# written by the page\n")
                .unwrap()
                .enable("apache2.service"),
        )
        .unwrap();
    for block in blocks {
        // The page shows what a person types into bash; each line must do.
        let argv = ["bash", "-euo", "pipefail", "-c", &block.script];
        let said = machine.run_with(&argv, b"", SOON).unwrap();
        let log = || machine.journal("agentd.service").unwrap_or_default();
        let line = block.line;
        assert_eq!(
            said.code,
            Some(block.code),
            "line {line}: {said:?}\n{}",
            log()
        );
    }
    // What a reader has at the end: version 3, which is the first content again.
    wait_until("the page's fleet to stand", SOON, || {
        machine
            .run(&["agentctl", "status"])
            .is_ok_and(|said| said.code == Some(0) && said.stdout.contains("first version 3"))
    })
    .unwrap();
    assert!(!machine.exists("/etc/shop/memcached.json"));
    let shop = machine.get("http://10.77.0.11/", Some("shop.example.com"));
    assert_eq!(shop.unwrap(), (200, "the shop\n".into()));

    // The emergency stop, and its end, as the page has them.
    for command in [
        "systemctl mask --now agentd",
        "systemctl unmask agentd && systemctl enable --now agentd",
    ] {
        assert!(
            PAGE.contains(&format!("```sh\n{command}\n```")),
            "{command}"
        );
    }
    machine
        .must(&["systemctl", "mask", "--now", "agentd"])
        .unwrap();
    machine
        .write("/etc/cron.d/agentd-shop_tick", b"edited\n")
        .unwrap();
    machine.reboot().unwrap();
    assert_eq!(
        machine.read("/etc/cron.d/agentd-shop_tick").unwrap(),
        "edited\n"
    );
    let shop = machine.get("http://10.77.0.11/", Some("shop.example.com"));
    assert_eq!(shop.unwrap().0, 200);
    let argv = [
        "sh",
        "-c",
        "systemctl unmask agentd && systemctl enable --now agentd",
    ];
    machine.must(&argv).unwrap();
    wait_until("the edit to be repaired", SOON, || {
        machine
            .read("/etc/cron.d/agentd-shop_tick")
            .is_ok_and(|text| text.contains("date >/run/tick"))
    })
    .unwrap();
}
