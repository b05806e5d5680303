//! A product's code: which release of it stands on its servers, and what shows that it works.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cron_run::CronRun;
use super::names::{
    AnswerStatus, CommandWord, DirectoryPath, HeaderName, HeaderValue, KeptReleases, Name,
    ObjectKey, PageText, ReleasePath, ReleaseVersion, RequestPath, Retries, Sha256Hex, Span,
    UserName, WarmUps,
};
use super::strict;

/// Where products have their code: `/srv/PRODUCT`.
const PRODUCTS: &str = "/srv";
/// How long a release's command may take where a document says nothing.
const USUAL_COMMAND: Duration = Duration::from_mins(5);
/// How long the answer to a smoke test may take where a document says nothing.
const USUAL_ANSWER: Duration = Duration::from_secs(5);

/// The release of a product's code. It is unpacked below `/srv/PRODUCT/releases` and switched to with the sites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Its version: the name of its directory. What has another content has another version.
    pub version: ReleaseVersion,
    /// The key of its archive in the fleet's bucket: `.tar.zst` or `.tar.gz`. At most 4 GiB.
    pub object: ObjectKey,
    /// The SHA-256 of that archive.
    pub sha256: Sha256Hex,
    /// The account that its files belong to (default: root), uid 1000 at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// Directories that all releases share: links to `/srv/PRODUCT/shared/…` stand in their place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<ReleasePath>,
    /// How many releases stay on a machine (default 3), the one in use among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<KeptReleases>,
    /// A command that must succeed before the release is switched to.
    #[serde(
        default,
        deserialize_with = "strict::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub before: Option<BeforeSwitch>,
    /// The roles on whose servers it stands. Empty: every server of the product.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Name>,
}

impl Release {
    /// How many releases stay, said or not.
    pub fn kept(&self) -> usize {
        usize::from(self.keep.unwrap_or(KeptReleases::USUAL).get())
    }
}

/// A command that is run in a release before it is switched to: migrations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BeforeSwitch {
    /// The program and its arguments, without a shell. A relative path is one within the release.
    #[schemars(length(min = 1, max = 64))]
    pub command: Vec<CommandWord>,
    /// On each server, or on the first active one by name; the others do not wait for it.
    #[serde(default, deserialize_with = "strict::word")]
    pub run: CronRun,
    /// How long it may take (default 5m, at most 1h).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

impl BeforeSwitch {
    /// How long it may take, said or not.
    pub fn time(&self) -> Duration {
        self.timeout.map_or(USUAL_COMMAND, Span::duration)
    }
}

/// A question to a site of the product, asked of the server itself, and the answer that shows that it works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SmokeTest {
    /// Which site of the product.
    pub site: Name,
    /// What is asked.
    pub path: RequestPath,
    /// The status of the answer (default 200). Redirects are not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<AnswerStatus>,
    /// Headers of the answer, each with what must stand in its value.
    #[serde(
        default,
        deserialize_with = "strict::map",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub header: BTreeMap<HeaderName, HeaderValue>,
    /// What must stand in the first MiB of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<PageText>,
    /// What must not stand there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<PageText>,
    /// How long the answer may take (default 5s, at most 60s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
    /// How often it is asked again, a second later, before it counts as failed (default 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// Requests made after a switch before the one that counts, whatever their answers (default 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<WarmUps>,
}

impl SmokeTest {
    /// The status that is expected, said or not.
    pub fn expected_status(&self) -> u16 {
        self.status.unwrap_or(AnswerStatus::OK).get()
    }

    /// How long the answer may take, said or not.
    pub fn time(&self) -> Duration {
        self.within.map_or(USUAL_ANSWER, Span::duration)
    }

    /// How often it is asked again, said or not.
    pub fn tries_more(&self) -> u8 {
        self.retries.unwrap_or(Retries::USUAL).get()
    }

    /// How many requests warm the site up, said or not.
    pub fn warm_ups(&self) -> u8 {
        self.warm_up.unwrap_or(WarmUps::NONE).get()
    }
}

/// Where a product has its code: `/srv/shop`.
pub fn home(product: &Name) -> String {
    format!("{PRODUCTS}/{product}")
}

/// What of `directory` comes after `/srv/PRODUCT/current`: empty, or beginning with a slash. `None`: it is not there.
pub fn below_current<'d>(directory: &'d DirectoryPath, product: &Name) -> Option<&'d str> {
    let rest = directory.as_str().strip_prefix(&home(product))?;
    let rest = rest.strip_prefix("/current")?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// The product whose `current` stands on the way to `directory`, if one does.
pub fn product_of_current(directory: &DirectoryPath) -> Option<&str> {
    let mut parts = directory
        .as_str()
        .strip_prefix(PRODUCTS)?
        .split('/')
        .skip(1);
    let product = parts.next()?;
    (parts.next()? == "current").then_some(product)
}
