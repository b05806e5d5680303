//! Promise: what a box is called, and whose an address is, does not change because the agent came: `hostname -f`,
//! look-ups of addresses, and so a database's grants to clients by their names.
//!
//! Machines with lines of their own in `/etc/hosts`, real `MariaDB`. Needs what `tests/setup` makes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests, and what they share"
)]

use std::time::Duration;

use node_agent_tests::database::sql;
use node_agent_tests::machine::{
    Fleet, FleetBucket, Image, Machine, MachineSpec, TEST_ADDRESS, wait_until, with_agent,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

const CNF: &str = "[mariadb]\nbind_address = 0.0.0.0\n";

/// A web server, which the test plays, and the database that it uses; `domain` is the fleet's.
fn document(version: u64, domain: Option<&str>) -> Value {
    let mut document = json!({"signatures": [], "signed": {
        "format": 1, "fleet": "test", "version": version,
        "issued": "2026-01-01T00:00:00Z", "expires": "2036-01-01T00:00:00Z",
        "servers": {
            "db-1": {"address": "10.77.0.31", "roles": ["database"], "products": ["shop"]},
            "web-1": {"address": TEST_ADDRESS, "roles": ["web"], "products": ["shop"]},
        },
        "roles": {"database": {}, "web": {}},
        "products": {"shop": {"database": {"chain": ["db-1"], "aliases": {"master": ["mysql-master", "db_master"]}}}},
    }});
    if let (Some(domain), Some(signed)) = (domain, document.get_mut("signed")) {
        signed["domain"] = domain.into();
    }
    document
}

/// What the box is called in full, in which domain, and who has its and the client's address.
fn names(machine: &Machine) -> Vec<String> {
    let asked: [&[&str]; 5] = [
        &["hostname", "-f"],
        &["dnsdomainname"],
        &["getent", "hosts", "10.77.0.31"],
        &["getent", "hosts", TEST_ADDRESS],
        &["getent", "hosts", "127.0.1.1"],
    ];
    // Of a line only the address and the first name count.
    let first_words = |said: String| {
        let words: Vec<&str> = said.split_whitespace().take(2).collect();
        words.join(" ")
    };
    asked
        .iter()
        .map(|argv| first_words(machine.run(argv).unwrap().stdout))
        .collect()
}

/// Who the client on the web server is to the database, restarted just now: it remembers names of addresses.
fn client(fleet: &Fleet, database: &Machine) -> String {
    database
        .must(&["systemctl", "restart", "mariadb.service"])
        .unwrap();
    let said = fleet
        .run(
            &[
                "mariadb",
                "--no-defaults",
                "-h10.77.0.31",
                "-ushop",
                "-pshop",
                "-N",
                "-B",
                "-e",
                "SELECT CURRENT_USER()",
            ],
            SOON,
        )
        .unwrap();
    said.stdout.trim().to_owned() + &said.stderr
}

#[track_caller]
fn converged(machine: &Machine, version: u64) {
    let told = format!("version {version},");
    let said = || machine.run(&["agentctl", "status"]).unwrap();
    wait_until("agentctl status to be 0", SOON, || {
        let said = said();
        said.success() && said.stdout.contains(&told)
    })
    .unwrap_or_else(|e| panic!("{e}: {:?}\n{}", said(), machine.read("/etc/hosts").unwrap()));
}

#[test]
fn names_and_grants_by_name_stay_as_they_were() {
    // Debian's installer writes the first, others the box's own address.
    for (image, own) in [
        (Image::Debian, "127.0.1.1\tdb-1.example.com db-1\n"),
        (Image::CentosLayout, "10.77.0.31 db-1.example.com db-1\n"),
    ] {
        let fleet = Fleet::new().unwrap();
        let bucket = FleetBucket::start(&fleet).unwrap();
        let hosts = format!("127.0.0.1\tlocalhost\n{own}{TEST_ADDRESS} web-1.example.com\n");
        let spec = MachineSpec::new("db-1", image, "10.77.0.31")
            .file("/etc/hosts", hosts.as_str())
            .file("/etc/mysql/mariadb.conf.d/zz-test.cnf", CNF)
            .enable("mariadb.service");
        let database = fleet.boot(with_agent(spec).unwrap()).unwrap();
        sql(
            &database,
            "CREATE USER 'shop'@'%.example.com' IDENTIFIED BY 'shop'",
        )
        .unwrap();
        assert_eq!(client(&fleet, &database), "shop@%.example.com");
        let before = names(&database);
        assert_eq!(&before[..2], ["db-1.example.com", "example.com"]);

        bucket.publish(&document(1, None)).unwrap();
        converged(&database, 1);
        let mut after = names(&database);
        if before[2].is_empty() {
            // Nobody had that address before: it is the box's, by the name that the box has.
            assert_eq!(after[2], "10.77.0.31 db-1.example.com");
            after[2].clear();
        }
        assert_eq!(after, before, "{}", database.read("/etc/hosts").unwrap());
        assert_eq!(client(&fleet, &database), "shop@%.example.com");
        for alias in ["mysql-master", "db_master", "web-1"] {
            let said = database.must(&["getent", "ahostsv4", alias]).unwrap();
            let address = if alias == "web-1" {
                TEST_ADDRESS
            } else {
                "10.77.0.31"
            };
            assert!(said.starts_with(&format!("{address} ")), "{alias}: {said}");
        }
        // A program that calls the database by a name with an underscore.
        let said = database
            .must(&["sh", "-c", "mariadb -hdb_master -ushop -pnot 2>&1; true"])
            .unwrap();
        assert!(
            said.contains("Access denied for user 'shop'@'db-1.example.com'"),
            "{said}"
        );

        // A machine of an image without such lines has its names from the fleet's domain.
        database
            .must(&[
                "sed",
                "-i",
                "/^127.0.1.1\\|^10.77.0.31 db-1\\|^10.77.0.1 web-1/d",
                "/etc/hosts",
            ])
            .unwrap();
        bucket.publish(&document(2, Some("example.com"))).unwrap();
        converged(&database, 2);
        assert_eq!(
            &names(&database)[..4],
            [
                "db-1.example.com",
                "example.com",
                "10.77.0.31 db-1.example.com",
                "10.77.0.1 web-1.example.com"
            ]
        );
        assert_eq!(client(&fleet, &database), "shop@%.example.com");
    }
}
