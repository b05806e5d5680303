use proptest::prelude::*;
use serde::de;
use serde_json::json;

use super::*;

/// Strings that must never get through, whatever the type: each has ended up in somebody's configuration file.
const HOSTILE: &[&str] = &[
    "",
    " ",
    "\n",
    "a\n",
    "\na",
    "a\nb",
    "a\r\nb",
    "a\0b",
    "a\tb",
    "a\u{7f}b",
    "a\u{1b}[2Jb",
    "a\u{2028}b",
    "a\u{202e}b",
    "ünïcode",
    "а", // Cyrillic
    "a\u{0}",
    "\u{feff}a",
    " a",
    "a ",
];

fn agrees<T>(good: &[&str], bad: &[&str])
where
    T: FromStr<Err = InvalidString> + fmt::Display + de::DeserializeOwned + JsonSchema,
{
    let schema = serde_json::to_value(T::json_schema(&mut SchemaGenerator::default())).unwrap();
    let pattern = schema["pattern"].as_str().unwrap();
    let pattern = regex_lite::Regex::new(pattern).unwrap();
    for text in good {
        assert!(text.parse::<T>().is_ok(), "{text:?} was refused");
        let read: T = serde_json::from_value(json!(text)).unwrap();
        assert_eq!(read.to_string(), *text);
        assert!(pattern.is_match(text), "the schema refuses {text:?}");
    }
    for text in bad.iter().chain(HOSTILE) {
        assert!(text.parse::<T>().is_err(), "{text:?} was accepted");
        let error = serde_json::from_value::<T>(json!(text)).err().unwrap();
        assert!(!error.to_string().contains("invalid type"), "{error}");
    }
    for value in [json!(null), json!(1), json!(true), json!([]), json!({})] {
        assert!(serde_json::from_value::<T>(value).is_err());
    }
}

fn long(len: usize) -> String {
    "a".repeat(len)
}

#[test]
fn names() {
    agrees::<Name>(
        &["a", "0", "web-1", "a--b", &long(63)],
        &[
            &long(64),
            "-a",
            "a-",
            "-",
            "A",
            "Web-1",
            "a_b",
            "a.b",
            "a/b",
            "..",
            ".",
            "a%b",
            "a'b",
            "a\"b",
            "a;b",
            "a$b",
            "a`b`",
            "a\\b",
        ],
    );
}

#[test]
fn host_aliases() {
    agrees::<HostAlias>(
        &[
            "a",
            "db_master",
            "_db",
            "db_",
            "mysql-master",
            "db_1.shop.example.com",
            &long(63),
        ],
        &[
            "localhost",
            "a.localhost",
            "DB_MASTER",
            "-db",
            "db-",
            "a..b",
            ".a",
            "a.",
            "10.0.0.1",
            "::1",
            "db master",
            "db#master",
            "db%master",
            &long(64),
        ],
    );
}

#[test]
fn host_names() {
    let longest = format!("{}.{}.{}.{}", long(63), long(63), long(63), long(61));
    let too_long = format!("{longest}a");
    agrees::<HostName>(
        &[
            "a",
            "shop.example.com",
            "1.example.com",
            "xn--bcher-kva.example",
            "mysql-master",
            &longest,
        ],
        &[
            &too_long,
            "localhost",
            "a.localhost",
            "www.example.com.",
            ".example.com",
            "a..b",
            "WWW.example.com",
            "*.example.com",
            "www_1.example.com",
            "10.0.0.1",
            "10.0.0.256",
            "1.2",
            "127",
            "::1",
            "a.-b",
            "a b",
            "a:80",
            "http://a",
            &format!("{}.com", long(64)),
        ],
    );
}

#[test]
fn absolute_paths() {
    agrees::<AbsolutePath>(
        &[
            "/a",
            "/etc/shop/memcached.json",
            "/srv/a_b/c+d@e/.hidden",
            "/...",
            "/a/..b",
        ],
        &[
            "/",
            "a",
            "a/b",
            "/a/",
            "//a",
            "/a//b",
            "/..",
            "/a/../b",
            "/a/./b",
            "/.",
            "/a b",
            "/a\"b",
            "/a'b",
            "/a%b",
            "/a$b",
            "/a*b",
            "/a<b>",
            "/a#b",
            "/a\\b",
            "/a:b",
            "~/a",
            &format!("/{}", long(256)),
            &format!("{}/a", format!("/{}", long(250)).repeat(5)),
        ],
    );
}

#[test]
fn url_paths() {
    agrees::<UrlPath>(
        &["/", "/media", "/media/", "/a.b_c~d-e/f", "/.well-known/x"],
        &[
            "media",
            "/..",
            "/a/../b",
            "/a b",
            "/a?b",
            "/a#b",
            "/a%2e",
            "/a\"b",
            "/a<b",
            "http://a/",
        ],
    );
}

#[test]
fn user_names() {
    agrees::<UserName>(
        &[
            "root",
            "_apt",
            "www-data",
            "a",
            "Deploy",
            "jane.doe",
            "jane@example.com",
            "4web",
            "a+b",
            &long(64),
        ],
        &[
            &long(65),
            "0",
            "1000",
            "-a",
            ".a",
            "@a",
            "+a",
            "a:b",
            "a b",
            "root\n",
            "a$",
            "a/b",
            "a\\b",
            "a%b",
            "a#b",
            "a\"b",
        ],
    );
}

#[test]
fn accounts() {
    agrees::<AccountName>(
        &["a", "_x", "deploy", "shop-2", "a_b", &long(32)],
        &[
            "A",
            "0a",
            "-a",
            "a.b",
            "a@b",
            "a+b",
            "a$",
            "a:b",
            "a/b",
            &long(33),
        ],
    );
    agrees::<GroupName>(
        &["wheel", "systemd-journal", "Admins", "a.b", &long(32)],
        &["0a", "-a", ".a", "a@b", "a,b", "a:b", "a b", &long(33)],
    );
    agrees::<AccountComment>(
        &["Jane", "Jane Doe, laptop", "a $HOME \\ b", &long(128)],
        &["a:b", ":", &long(129)],
    );
    agrees::<SudoRule>(
        &[
            "ALL=(ALL) ALL",
            "ALL=(root) NOPASSWD: /usr/bin/systemctl reload httpd, /bin/ls \\\\*",
            &long(1000),
        ],
        &["ALL=ALL \\", "a", &long(1001)],
    );
}

#[test]
fn ids_of_accounts() {
    for (id, good) in [
        (999, false),
        (1000, true),
        (60_000, true),
        (60_001, false),
        (0, false),
    ] {
        assert_eq!(AccountId::new(id).is_some(), good, "{id}");
        assert_eq!(serde_json::from_value::<AccountId>(json!(id)).is_ok(), good);
    }
}

#[test]
fn variables() {
    agrees::<VariableName>(
        &["PATH", "_", "a1_B", &long(64)],
        &["1A", "A-B", "A.B", "A=B", "A B", "\"A\"", "%A", &long(65)],
    );
    let value = |text: &str| text.parse::<VariableValue>().is_ok();
    for good in [
        "",
        " a",
        "it's 100% $HOME \\n",
        "say \"x\" # y",
        "=",
        &long(900),
    ] {
        assert!(value(good), "{good:?}");
        assert_fits::<VariableValue>(good, true);
    }
    for bad in [
        " ",
        "a ",
        "'\"",
        "a\nb",
        "a\tb",
        "a\0",
        "\u{fc}",
        "\u{7f}",
        &long(901),
    ] {
        assert!(!value(bad), "{bad:?}");
    }
    assert_fits::<VariableValue>("'\"", false);
    assert_fits::<VariableValue>("a ", false);
}

fn assert_fits<T: JsonSchema>(text: &str, wanted: bool) {
    let schema = serde_json::to_value(T::json_schema(&mut SchemaGenerator::default())).unwrap();
    let pattern = regex_lite::Regex::new(schema["pattern"].as_str().unwrap()).unwrap();
    assert_eq!(pattern.is_match(text), wanted, "{text:?}");
}

#[test]
fn receivers_of_mail() {
    for good in [
        "",
        "root",
        "ops@example.com",
        "root,jane.doe+cron@example.com,_a",
    ] {
        assert!(good.parse::<MailTo>().is_ok(), "{good:?}");
        assert_fits::<MailTo>(good, true);
    }
    let long = "a,".repeat(200) + "a";
    for bad in [
        " ",
        "a b",
        "a, b",
        ",",
        "a,",
        "@example.com",
        "a@",
        "-t",
        "a@b@c",
        "a;b",
        "a|b",
        "a`b`",
        "$(b)",
        "a\nb",
        "\"a\"",
        &long,
    ] {
        assert!(bad.parse::<MailTo>().is_err(), "{bad:?}");
    }
}

#[test]
fn time_zones() {
    agrees::<TimeZoneName>(
        &[
            "UTC",
            "Europe/Berlin",
            "America/Argentina/Buenos_Aires",
            "Etc/GMT+5",
            "America/Port-au-Prince",
        ],
        &[
            "/etc/passwd",
            "Europe/",
            "/Europe",
            "Europe//Berlin",
            "Europe/../x",
            "a/b/c/d",
            "Europe/Berlin ",
            "UTC;id",
            "$(id)",
            "a b",
            ":Europe/Berlin",
            "1/2",
        ],
    );
}

#[test]
fn unit_names() {
    agrees::<UnitName>(
        &["httpd", "php-fpm.service", "memcached@shop", "a:b_c"],
        &[
            "-a",
            ".a",
            "@a",
            "a/b",
            "../a",
            "a b",
            "a%i",
            "a;b",
            &long(129),
        ],
    );
}

#[test]
fn zones_and_instances() {
    agrees::<ZoneName>(
        &["us-east-1a", "rack_7.b", &long(63)],
        &["-a", "a b", "a/b", &long(64)],
    );
    agrees::<InstanceId>(
        &["i-0a00000000000011", &long(128)],
        &["-i", "i/0", "i 0", &long(129)],
    );
}

#[test]
fn headers() {
    agrees::<HeaderName>(
        &["X-Frame-Options", "a"],
        &["1a", "-a", "X Frame", "X:", "a_b", "a\"", &long(65)],
    );
    agrees::<HeaderValue>(
        &[
            "DENY",
            "max-age=31536000; includeSubDomains",
            "\"quoted\\\" % $\"",
            "a",
            &long(8190),
        ],
        &[&long(8191)],
    );
}

#[test]
fn names_of_sites() {
    agrees::<SiteDomain>(
        &["a", "www.example.com", "*.example.com", "*.com", "*"],
        &[
            "**",
            "*example.com",
            "www.*.example.com",
            "www.*",
            "*.",
            "*.*",
            "*..com",
            "*.localhost",
            "Www.example.com",
            "*.1",
            &format!("*.{}", ["a"; 130].join(".")),
        ],
    );
    let error = "w*.example.com".parse::<SiteDomain>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "a * stands for whole labels and only at the front: *.example.com, or * alone"
    );
    let exactness = |text: &str| text.parse::<SiteDomain>().unwrap().exactness();
    assert!(exactness("a.b") > exactness("*.b.c"));
    assert!(exactness("*.b.c") > exactness("*.c"));
    assert!(exactness("*.c") > exactness("*"));
}

#[test]
fn directories_of_sites() {
    agrees::<DirectoryPath>(
        &["/a", "/srv/My Sites/it's (new), a=b & c!/x~1", "/a b/c d"],
        &[
            "/",
            "a",
            "/a/",
            "//a",
            "/..",
            "/a/../b",
            "/a/.",
            "/a /b",
            "/ a",
            "/a/ b",
            "/a\"b",
            "/a\\b",
            "/a$b",
            "/${a}",
            "/a%b",
            "/a*",
            "/a?",
            "/a[b]",
            "/a;b",
            "/a#b",
            "/a<b>",
            &format!("/{}", long(256)),
        ],
    );
}

#[test]
fn redirects_lead_to_plain_urls() {
    agrees::<RedirectUrl>(
        &[
            "https://www.example.com",
            "http://a",
            "https://www.example.com/",
            "https://www.example.com:8443/a/b_c~d-e.f",
            "https://www.example.com/a?b=c&d=e+f",
            "https://www.example.com?b",
        ],
        &[
            "www.example.com",
            "ftp://www.example.com",
            "//www.example.com",
            "https://",
            "https:///a",
            "https://user@www.example.com",
            "https://www.example.com:0",
            "https://www.example.com:+1",
            "https://www.example.com:65536",
            "https://www.example.com:",
            "https://10.0.0.1/",
            "https://www.example.com/a b",
            "https://www.example.com/$1",
            "https://www.example.com/%{HTTP_HOST}",
            "https://www.example.com/%20",
            "https://www.example.com/\"",
            "https://www.example.com/a#b",
            "https://www.example.com/../a",
            "https://www.example.com/a?b?c",
            "HTTPS://www.example.com/",
        ],
    );
}

#[test]
fn realms() {
    agrees::<Realm>(
        &[
            "Restricted",
            "The shop's (new) office: 2nd, #1"
                .replace('#', "no. ")
                .as_str(),
            &long(64),
        ],
        &["a\"b", "a\\b", "%{x}", "${x}", "<x>", &long(65)],
    );
}

#[test]
fn formats_of_logs() {
    agrees::<LogFormat>(
        &["combined", "common", "off", "%h %a \"%r\" %>s \\t${x}", "%"],
        &[
            "vhost_combined",
            "none",
            "Combined",
            " %h",
            "%h ",
            &format!("%{}", long(1024)),
        ],
    );
}

#[test]
fn statuses_of_errors() {
    agrees::<ErrorStatus>(
        &["400", "403", "404", "417", "429", "500", "503", "511"],
        &[
            "200", "302", "399", "418", "421", "451", "509", "512", "600", "40", "4040", "+40",
            "٤04", "4xx",
        ],
    );
}

#[test]
fn statuses_of_redirects() {
    for good in [301, 302, 307, 308] {
        let status: RedirectStatus = serde_json::from_value(json!(good)).unwrap();
        assert_eq!(json!(status), json!(good));
    }
    for bad in [
        json!(300),
        json!(303),
        json!(200),
        json!("301"),
        json!(null),
    ] {
        assert!(serde_json::from_value::<RedirectStatus>(bad).is_err());
    }
}

#[test]
fn shell_commands() {
    agrees::<ShellCommand>(
        &["/bin/true", "date +%F | mail -s 'a \"b\"' root", &long(900)],
        &[&long(901)],
    );
}

#[test]
fn signatures() {
    let armored =
        |body: &str| format!("-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----");
    agrees::<SshsigText>(
        &[
            &armored("U1NIU0lH\nAA=="),
            &format!("{}\n", armored("AA==")),
            &armored(&long(4000)),
        ],
        &[
            "U1NIU0lH",
            &armored(""),
            &armored("a b"),
            &armored(&long(4001)),
            &format!(" {}", armored("AA==")),
        ],
    );
    agrees::<KeyName>(
        &["ops-2026", "alice@laptop", "Alice's token", &long(64)],
        &[" ops", "ops ", "a\tb", "ö", &long(65)],
    );
}

#[test]
fn schedules() {
    agrees::<CronSchedule>(
        &[
            "*/5 * * * mon-fri",
            "@daily",
            "@reboot",
            "H/15 H(0-5) * * *",
        ],
        &["@Reboot", "* * * *"],
    );
}

#[test]
fn amounts_of_memory() {
    agrees::<ByteSize>(
        &["1M", "64M", "2G", "1024G"],
        &[
            "0M",
            "64",
            "64K",
            "64MB",
            "64m",
            "1.5G",
            "-1M",
            "+1M",
            " 1M",
            "01M",
            "M",
            "1025G",
            "99999999999M",
            "٣M",
        ],
    );
    assert_eq!("2048M".parse::<ByteSize>().unwrap().to_string(), "2G");
    assert_eq!("2G".parse::<ByteSize>().unwrap().mebibytes(), 2048);
}

#[test]
fn lengths_of_time() {
    agrees::<Span>(
        &["1s", "30s", "15m", "2h", "7d", "366d"],
        &[
            "0s",
            "15",
            "m",
            "1.5h",
            "-1s",
            "+1s",
            "01s",
            "1W",
            "15 m",
            "367d",
            "99999999999999999999d",
            "1٣",
        ],
    );
    assert_eq!("90s".parse::<Span>().unwrap().to_string(), "90s");
    assert_eq!("7200s".parse::<Span>().unwrap().to_string(), "2h");
    assert_eq!("5w".parse::<Span>().unwrap().to_string(), "35d");
    assert_eq!("1y".parse::<Span>().unwrap().to_string(), "365d");
    assert!("2y".parse::<Span>().is_err());
}

#[test]
fn moments() {
    agrees::<Stamp>(
        &["2026-11-22T20:00:00Z", "2026-11-22T20:00:00.5Z"],
        &[
            "2026-11-22",
            "2026-11-22T20:00Z",
            "2026-11-22 20:00:00Z",
            "2026-11-22T20:00:00",
            "2026-11-22t20:00:00z",
            "2026-11-22T20:00:00Z[UTC]",
            "2026-11-22T20:00:00.Z",
            "2026-13-22T20:00:00Z",
            "2026-02-30T20:00:00Z",
            "20261122T200000Z",
            "tomorrow",
            "1795377600",
        ],
    );
    let east: Stamp = "2026-11-22T21:00:00+01:00".parse().unwrap();
    assert_eq!(east.to_string(), "2026-11-22T20:00:00Z");
}

#[test]
fn networks() {
    agrees::<Network>(
        &[
            "10.0.0.0/8",
            "127.0.0.1",
            "0.0.0.0/0",
            "2001:db8::/32",
            "::1",
        ],
        &[
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0",
            "10.0.0.0/",
            "all",
            "10.0.0.0/255.0.0.0",
            "fe80::1%eth0",
        ],
    );
    let error = "10.0.0.1/8".parse::<Network>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected a network with no host bits set: `10.0.0.0/8`"
    );
}

#[test]
fn ports() {
    for good in [1, 80, 65535] {
        let port: Port = serde_json::from_value(json!(good)).unwrap();
        assert_eq!(u64::from(port.get()), good);
    }
    for bad in [
        json!(0),
        json!(65536),
        json!(-1),
        json!(1.5),
        json!("80"),
        json!(null),
    ] {
        assert!(serde_json::from_value::<Port>(bad).is_err());
    }
}

/// What a type accepts, its JSON Schema accepts: an editor never marks what the agent takes.
fn within_the_schema<T: FromStr + JsonSchema>(text: &str) -> Result<(), TestCaseError> {
    if text.parse::<T>().is_ok() {
        let schema = serde_json::to_value(T::json_schema(&mut SchemaGenerator::default())).unwrap();
        let pattern = regex_lite::Regex::new(schema["pattern"].as_str().unwrap()).unwrap();
        prop_assert!(pattern.is_match(text), "{:?}", text);
        prop_assert!(!text.chars().any(char::is_control));
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_schema_is_never_stricter_than_the_types(
        any in ".{0,12}",
        name in "[-a-z0-9.\n]{0,8}",
        path in "/?[a./%\n]{0,8}",
        amount in "[-+0-9.]{0,4}[MGsmhdwy ]{0,2}",
        network in "[0-9a-f.:]{0,9}(/[0-9]{0,3})?",
        moment in "20[0-9]{2}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9](:[0-5][0-9])?[.0-9]{0,2}[Zz+0:]{0,6}",
    ) {
        for text in [&any, &name, &path, &amount, &network, &moment] {
            within_the_schema::<Name>(text)?;
            within_the_schema::<HostName>(text)?;
            within_the_schema::<AbsolutePath>(text)?;
            within_the_schema::<DirectoryPath>(text)?;
            within_the_schema::<SiteDomain>(text)?;
            within_the_schema::<RedirectUrl>(text)?;
            within_the_schema::<Realm>(text)?;
            within_the_schema::<LogFormat>(text)?;
            within_the_schema::<ErrorStatus>(text)?;
            within_the_schema::<UrlPath>(text)?;
            within_the_schema::<UserName>(text)?;
            within_the_schema::<UnitName>(text)?;
            within_the_schema::<ZoneName>(text)?;
            within_the_schema::<InstanceId>(text)?;
            within_the_schema::<HeaderName>(text)?;
            within_the_schema::<HeaderValue>(text)?;
            within_the_schema::<ShellCommand>(text)?;
            within_the_schema::<CronSchedule>(text)?;
            within_the_schema::<ByteSize>(text)?;
            within_the_schema::<Span>(text)?;
            within_the_schema::<Stamp>(text)?;
            within_the_schema::<Network>(text)?;
        }
    }
}
