//! Names by which the agent reaches the bucket: no document may lead them elsewhere.

use std::collections::BTreeSet;

use super::Settings;

/// Variables that name outbound proxies.
const PROXIES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];

impl Settings {
    /// The hosts of the endpoint, of the metadata service and of outbound proxies, in lower case, as far as these are set: those
    /// of AWS itself no document may name at all.
    pub fn names_needed(&self) -> BTreeSet<String> {
        let proxies = PROXIES.iter().filter_map(|name| std::env::var(name).ok());
        needed(
            self.s3
                .endpoint
                .iter()
                .chain(&self.identity.endpoint)
                .cloned()
                .chain(proxies),
        )
    }
}

fn needed(urls: impl Iterator<Item = String>) -> BTreeSet<String> {
    urls.filter_map(|url| host(&url)).collect()
}

/// The host of a URL, with or without its scheme, in lower case. `None`: it is an address, or nothing that has a host.
fn host(url: &str) -> Option<String> {
    let whole = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let url = reqwest::Url::parse(&whole).ok()?;
    url.domain().map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_out_of_urls_and_addresses_are_none() {
        let urls = [
            "https://S3.Example.com:9000/x",
            "http://user:secret@proxy:3128",
            "other.example.com:3128",
            "http://169.254.169.254",
            "http://[fd00:ec2::254]/",
            "",
        ];
        let found = needed(urls.iter().map(|url| (*url).to_owned()));
        let found: Vec<_> = found.iter().map(String::as_str).collect();
        assert_eq!(found, ["other.example.com", "proxy", "s3.example.com"]);
    }
}
