//! Typed strings: every string of the document that can reach a file, a command or a URL.
//!
//! Each type accepts only what is safe wherever the agent writes it, so that control characters,
//! quotes and path tricks are impossible by type. What a string *refers to* is checked elsewhere.

mod amounts;
mod due;
mod evict;
mod host;
pub mod schedule;
mod share;
mod values;
mod written;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer};
use smol_str::SmolStr;

use written::read_written;

pub use amounts::{Addresses, Connections, ItemSize, Niceness, Threads, Weight};
pub use evict::EvictAfter;
pub use share::Share;
pub use values::{ByteSize, Network, Port, Span, Stamp};
pub use written::InvalidString;
pub(super) use written::Written;

/// Makes a newtype over `String` with one accepted form: `FromStr`, serde and JSON Schema agree on it.
macro_rules! typed_string {
    ($(#[$doc:meta])* $type:ident, expected: $expected:literal, pattern: $pattern:literal, accepts: $accepts:expr) => {
        typed_string!($(#[$doc])* $type, expected: $expected, pattern: $pattern, check: |text| {
            let accepts: fn(&str) -> bool = $accepts;
            if accepts(text) {
                Ok(())
            } else {
                Err(InvalidString(concat!("expected ", $expected).into()))
            }
        });
    };
    ($(#[$doc:meta])* $type:ident, expected: $expected:expr, pattern: $pattern:literal, check: $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $type(SmolStr);

        // Not derived: maps of thousands of names compare little else, and a comparison of texts is inlined.
        impl Ord for $type {
            fn cmp(&self, other: &Self) -> Ordering {
                self.as_str().cmp(other.as_str())
            }
        }

        impl PartialOrd for $type {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl $type {
            /// What a person should have written, as error messages say it.
            pub const EXPECTED: &'static str = $expected;

            /// The string as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidString;

            fn from_str(text: &str) -> Result<Self, InvalidString> {
                let check: fn(&str) -> Result<(), InvalidString> = $check;
                check(text).map(|()| Self(text.into()))
            }
        }

        impl Written for $type {
            const EXPECTED: &'static str = Self::EXPECTED;
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                read_written(deserializer)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.pad(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $expected })
            }
        }
    };
}

mod account;
mod dns;
mod file;
mod key;
mod php;
mod release;
mod web;

pub use account::{AccountComment, AccountId, AccountName, GroupName, SudoRule};
pub use dns::{DnsServer, Ttl};
pub use file::{
    AwsSecretName, CommandWord, FileMode, FileText, LONGEST_TEXT, LinkTarget, ObjectKey, Sha256Hex,
};
pub use key::PublicKey;
pub use php::{Children, IniName, IniValue, PoolValue, Requests};
pub use release::{
    AnswerStatus, KeptReleases, PageText, ReleasePath, ReleaseVersion, RequestPath, Retries,
    WarmUps,
};
pub use web::{
    DirectoryPath, ErrorStatus, LogFormat, Realm, RedirectStatus, RedirectUrl, SiteDomain,
};

/// A name within a path, of characters that no configuration file gives a meaning, and that leads nowhere else.
fn is_path_part(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= 255
        && part != "."
        && part != ".."
        && part
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._+@-".contains(&b))
}

fn is_label(text: &str) -> bool {
    let edge =
        |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

fn is_host_name(text: &str, is_label: fn(&str) -> bool) -> bool {
    text.len() <= 253
        && text != "localhost"
        && !text.ends_with(".localhost")
        && text.split('.').all(is_label)
        // `10.0.0.256` and `1.2` are addresses to some resolvers.
        && !text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

/// A label as `/etc/hosts` may have it: also with underscores, which names in DNS cannot have.
fn is_alias_label(text: &str) -> bool {
    text.len() <= 63
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

typed_string!(
    /// The name of a server, product, role, cron job or site.
    Name,
    expected: "a name of 1 to 63 lower-case letters, digits and hyphens, no hyphen at either end",
    pattern: "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    accepts: is_label
);

typed_string!(
    /// A DNS host name in lower case, without a trailing dot. Never `localhost`.
    HostName,
    expected: host::EXPECTED,
    pattern: "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$",
    check: host::check
);

typed_string!(
    /// A name for `/etc/hosts` only: a host name that may have underscores (`db_master`). Never `localhost`.
    HostAlias,
    expected: "a lower-case host name such as mysql-master or db_master (labels of letters, digits, hyphens and underscores; not localhost, not an address)",
    pattern: "^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$",
    accepts: |text| is_host_name(text, is_alias_label)
);

typed_string!(
    /// An absolute path with no `.`, `..`, doubled or trailing slash, of characters that no configuration file gives a meaning.
    AbsolutePath,
    expected: "an absolute path of letters, digits and any of / . _ + @ - (no .., no // and no / at the end)",
    pattern: "^(/[A-Za-z0-9._+@-]+)+$",
    accepts: |text| {
        text.len() <= 1024
            && text.strip_prefix('/').is_some_and(|rest| {
                rest.split('/').all(is_path_part)
            })
    }
);

typed_string!(
    /// The path part of a URL, as Apache's `Alias` takes it.
    UrlPath,
    expected: "a URL path such as /media (letters, digits and any of / . _ ~ -)",
    pattern: "^/[A-Za-z0-9._~/-]*$",
    accepts: |text| {
        text.len() <= 1024
            && text.starts_with('/')
            && !text.split('/').any(|part| part == "..")
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._~-".contains(&b))
    }
);

typed_string!(
    /// A Unix account's name, as accounts of directories have them too: `www-data`, `Deploy`, `jane.doe@example.com`.
    UserName,
    expected: "a user name of 1 to 64 letters, digits and any of _ . @ + - (a letter, digit or _ first, not digits only)",
    pattern: "^(?:[A-Za-z_]|[0-9]+[A-Za-z_.@+-])[A-Za-z0-9_.@+-]{0,63}$",
    accepts: |text| {
        text.len() <= 64
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.@+-".contains(&b))
            // A number is an id to chown and others.
            && !text.bytes().all(|b| b.is_ascii_digit())
    }
);

typed_string!(
    /// The name of an environment variable.
    VariableName,
    expected: "a variable's name of 1 to 64 letters, digits and _, no digit first",
    pattern: "^[A-Za-z_][A-Za-z0-9_]{0,63}$",
    accepts: |text| {
        text.len() <= 64
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    }
);

typed_string!(
    /// The value of an environment variable: cron takes it between quotes, knows no escapes there, and drops spaces at the end.
    VariableValue,
    expected: "one line of at most 900 printable ASCII characters, not with both kinds of quotes, no space at the end",
    pattern: "^([ !#-~]{0,899}[!#-~]|[ -&(-~]{0,899}[!-&(-~])?$",
    accepts: |text| {
        text.len() <= 900 && is_printable(text) && !text.ends_with(' ') && !(text.contains('"') && text.contains('\''))
    }
);

typed_string!(
    /// Who gets mail, as cron takes it: accounts and addresses, separated by commas; nobody.
    MailTo,
    expected: "mail addresses or accounts, separated by commas without spaces, 256 characters at most; empty for nobody",
    pattern: "^([A-Za-z0-9_][A-Za-z0-9_.+-]*(@[A-Za-z0-9.-]+)?(,[A-Za-z0-9_][A-Za-z0-9_.+-]*(@[A-Za-z0-9.-]+)?)*)?$",
    accepts: |text| {
        // cron itself takes no other characters, so that none means anything to the mailer's shell.
        let is_account = |text: &str| {
            text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.+-".contains(&b))
        };
        let is_host = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
        };
        text.is_empty()
            || text.len() <= 256
                && text.split(',').all(|one| match one.split_once('@') {
                    Some((account, host)) => is_account(account) && is_host(host),
                    None => is_account(one),
                })
    }
);

typed_string!(
    /// A time zone's name in the system's database.
    TimeZoneName,
    expected: "a time zone such as Europe/Berlin or UTC",
    pattern: "^[A-Za-z][A-Za-z0-9_+-]{0,31}(/[A-Za-z0-9_+-]{1,32}){0,2}$",
    accepts: |text| {
        text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && text.split('/').count() <= 3
            && text.split('/').all(|part| {
                !part.is_empty()
                    && part.len() <= 32
                    && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b))
            })
    }
);

typed_string!(
    /// A systemd service's name, as CentOS knows it, with or without `.service`.
    UnitName,
    expected: "a systemd service name such as httpd or php-fpm.service",
    pattern: "^[A-Za-z0-9][A-Za-z0-9:_.@-]{0,127}$",
    accepts: |text| {
        text.len() <= 128
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b":_.@-".contains(&b))
    }
);

typed_string!(
    /// A package's name, without architecture, version or wildcards.
    PackageName,
    expected: "a package's name such as httpd or php-mysqlnd (letters, digits and any of _ . + -)",
    pattern: "^[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}$",
    accepts: |text| {
        text.len() <= 128
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.+-".contains(&b))
    }
);

typed_string!(
    /// A package's version, with or without epoch and release.
    PackageVersion,
    expected: "a package's version such as 2.4.57 or 2.4.57-5.el9 (letters, digits and any of . + ~ ^ : _ -, a letter or digit first)",
    pattern: "^[A-Za-z0-9][A-Za-z0-9.+~^:_-]{0,127}$",
    accepts: |text| {
        text.len() <= 128
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".+~^:_-".contains(&b))
    }
);

typed_string!(
    /// A cloud's instance id.
    InstanceId,
    expected: "an instance id such as i-0a1b2c3d4e5f60718",
    pattern: "^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$",
    accepts: |text| {
        text.len() <= 128
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    }
);

typed_string!(
    /// An availability zone, rack or data centre.
    ZoneName,
    expected: "a zone such as us-east-1a (letters, digits, _ . and -)",
    pattern: "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$",
    accepts: |text| {
        text.len() <= 63
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    }
);

typed_string!(
    /// An HTTP header's name.
    HeaderName,
    expected: "a header name of letters, digits and hyphens",
    pattern: "^[A-Za-z][A-Za-z0-9-]{0,63}$",
    accepts: |text| {
        text.len() <= 64
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    }
);

typed_string!(
    /// An HTTP header's value: one line of printable ASCII. How Apache quotes it is the sites resource's work.
    HeaderValue,
    expected: "one line of 1 to 8190 printable ASCII characters, no space at either end",
    pattern: "^[!-~]([ -~]*[!-~])?$",
    // What Apache itself takes in one header of a request, and what content security policies grow to.
    accepts: |text| !text.is_empty() && text.len() <= 8190 && is_printable(text) && text.trim() == text
);

typed_string!(
    /// A shell command in one line, as a person would type it.
    ShellCommand,
    expected: "one line of 1 to 900 printable ASCII characters, no space at either end",
    pattern: "^[!-~]([ -~]{0,898}[!-~])?$",
    // Cron implementations cap a crontab's command near 1,000 characters; escaping may lengthen ours.
    accepts: |text| !text.is_empty() && text.len() <= 900 && is_printable(text) && text.trim() == text
);

typed_string!(
    /// A crontab schedule: five fields, in which `H` is a value of each server's own, or one of cron's `@` words.
    CronSchedule,
    expected: schedule::EXPECTED,
    pattern: "^(@(hourly|daily|midnight|weekly|monthly|yearly|annually|reboot)|[-0-9*/,()A-Za-z]+( [-0-9*/,()A-Za-z]+){4})$",
    check: schedule::check
);

typed_string!(
    /// What people call a key that signs: the comment of its line.
    KeyName,
    expected: "a key's name of 1 to 64 printable ASCII characters, no space at either end",
    pattern: "^[!-~]([ -~]{0,62}[!-~])?$",
    accepts: |text| !text.is_empty() && text.len() <= 64 && is_printable(text) && text.trim() == text
);

typed_string!(
    /// A signature in OpenSSH's armor. Whether it is one, and of what, is seen where it is checked.
    SshsigText,
    expected: "what ssh-keygen -Y sign prints, from -----BEGIN SSH SIGNATURE----- on, with its line ends as \\n",
    pattern: "^-----BEGIN SSH SIGNATURE-----\n[A-Za-z0-9+/=\n]{1,4000}\n-----END SSH SIGNATURE-----\n?$",
    accepts: |text| {
        text.strip_prefix("-----BEGIN SSH SIGNATURE-----\n")
            .map(|rest| rest.strip_suffix('\n').unwrap_or(rest))
            .and_then(|rest| rest.strip_suffix("\n-----END SSH SIGNATURE-----"))
            .is_some_and(|body| {
                (1..=4000).contains(&body.len())
                    && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=\n".contains(&b))
            })
    }
);

#[cfg(test)]
mod tests;
