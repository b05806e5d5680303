//! What the file says: each setting right by itself, none of them required yet.

use toml::de::DeTable;

use super::mistakes::Mistakes;
use super::section::Section;
use super::values::{DocumentLimit, Endpoint, Span, Word};
use super::{BucketUrl, HostsScope, LogFormat, MetadataUse, trust};
use crate::fleet::Name;
use crate::fleet::names::{AbsolutePath, ByteSize, DnsServer};
use crate::system::platform::PlatformOverrides;

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct FileSettings {
    pub fleet: Option<BucketUrl>,
    pub trust: Option<trust::Said>,
    pub node: Option<Name>,
    pub fleet_name: Option<Name>,
    pub poll: Option<Span<100, 3_600_000>>,
    pub reports: Option<bool>,
    pub hosts: Option<HostsScope>,
    pub document_limit: Option<DocumentLimit>,
    pub s3_endpoint: Option<Endpoint>,
    pub s3_region: Option<Word>,
    pub s3_path_style: Option<bool>,
    pub s3_timeout: Option<Span<100, 30_000>>,
    pub guard_share: Option<f64>,
    pub guard_from: Option<usize>,
    pub metadata: Option<MetadataUse>,
    pub metadata_tag: Option<Word>,
    pub metadata_endpoint: Option<Endpoint>,
    pub journal_runs: Option<usize>,
    pub journal_bytes: Option<ByteSize>,
    pub packages_timeout: Option<Span<1_000, 7_200_000>>,
    pub packages_lock_timeout: Option<Span<0, 3_600_000>>,
    pub log_format: Option<LogFormat>,
    pub log_level: Option<tracing::Level>,
    pub dns_server: Option<DnsServer>,
    pub dns_key: Option<AbsolutePath>,
    pub lease_poll: Option<Span<500, 60_000>>,
    pub lease_poll_idle: Option<Span<500, 45_000>>,
    pub database: super::database::Said,
    pub platform: PlatformOverrides,
}

impl FileSettings {
    /// Reads the file's text. What is wrong in it goes to `mistakes`, all of it.
    pub(super) fn read(text: &str, mistakes: &mut Mistakes<'_>) -> Self {
        let (document, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            // What a broken line was meant to say is unknown: judging the rest would only add noise.
            for error in errors {
                mistakes.at(
                    error.span(),
                    format!("this is not TOML: {}", error.message()),
                );
            }
            return Self::default();
        }
        let mut top = Section::top(document.get_ref());
        let mut read = Self {
            fleet: top.parsed("fleet", mistakes),
            trust: trust::read(&mut top, mistakes),
            node: top.parsed("node", mistakes),
            fleet_name: top.parsed("fleet_name", mistakes),
            poll: top.parsed("poll", mistakes),
            lease_poll: top.parsed("lease_poll", mistakes),
            lease_poll_idle: top.parsed("lease_poll_idle", mistakes),
            reports: top.flag("reports", mistakes),
            hosts: top.word(
                "hosts",
                &[
                    ("products", HostsScope::Products),
                    ("fleet", HostsScope::Fleet),
                ],
                mistakes,
            ),
            document_limit: top.parsed("document_limit", mistakes),
            ..Self::default()
        };
        read.sections(&mut top, mistakes);
        top.finish(mistakes);
        read
    }

    fn sections(&mut self, top: &mut Section<'_, '_>, mistakes: &mut Mistakes<'_>) {
        let mut s3 = top.section("s3", mistakes);
        self.s3_endpoint = s3.parsed("endpoint", mistakes);
        self.s3_region = s3.parsed("region", mistakes);
        self.s3_path_style = s3.flag("path_style", mistakes);
        self.s3_timeout = s3.parsed("timeout", mistakes);
        s3.finish(mistakes);

        let mut guard = top.section("guard", mistakes);
        self.guard_share = guard.share("share", mistakes);
        self.guard_from = guard.number("from", (1, 1_000_000), mistakes);
        guard.finish(mistakes);

        let mut identity = top.section("identity", mistakes);
        self.metadata = identity.word(
            "metadata",
            &[
                ("auto", MetadataUse::Auto),
                ("on", MetadataUse::On),
                ("off", MetadataUse::Off),
            ],
            mistakes,
        );
        self.metadata_tag = identity.parsed("tag", mistakes);
        self.metadata_endpoint = identity.parsed("endpoint", mistakes);
        identity.finish(mistakes);

        let mut packages = top.section("packages", mistakes);
        self.packages_timeout = packages.parsed("timeout", mistakes);
        self.packages_lock_timeout = packages.parsed("lock_timeout", mistakes);
        packages.finish(mistakes);

        let mut journal = top.section("journal", mistakes);
        self.journal_runs = journal.number("runs", (1, 100_000), mistakes);
        self.journal_bytes = journal.parsed("bytes", mistakes);
        journal.finish(mistakes);

        let mut dns = top.section("dns", mistakes);
        self.dns_server = dns.parsed("server", mistakes);
        self.dns_key = dns.parsed("key", mistakes);
        dns.finish(mistakes);

        let mut log = top.section("log", mistakes);
        self.log_format = log.word("format", LogFormat::WORDS, mistakes);
        self.log_level = log.word(
            "level",
            &[
                ("error", tracing::Level::ERROR),
                ("warn", tracing::Level::WARN),
                ("info", tracing::Level::INFO),
                ("debug", tracing::Level::DEBUG),
                ("trace", tracing::Level::TRACE),
            ],
            mistakes,
        );
        log.finish(mistakes);

        self.database = super::database::Said::read(top, mistakes);
        self.platform = super::platform::read(top, mistakes);
    }
}
