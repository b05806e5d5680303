//! Certificates with their private keys, as files on the machine: whether they fit together, for whom and how long.

mod validity;

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use jiff::Timestamp;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use webpki::EndEntityCert;

use super::digest::sha256_hex;

/// The most bytes of a file of certificates or of a key.
const LIMIT: u64 = 256 * 1024;
/// The most certificates of a chain.
const LONGEST_CHAIN: usize = 16;
/// Characters of a fingerprint.
const FINGERPRINT: usize = 16;

/// A certificate whose private key is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The beginning of the SHA-256 of all certificates of the file, in hexadecimal.
    pub fingerprint: String,
    /// The host names that it is for, lower-case; `*.example.com` stands for one label.
    pub names: Vec<String>,
    /// From when on it is good.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Every account can read the key.
    pub exposed: bool,
}

impl Certificate {
    /// Reads both files, links followed. The error says which file is wrong, and what.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, String> {
        let chain = chain(certificate)?;
        let private = private_key(key)?;
        fits(&chain, &private, certificate, key)?;
        let mut all = Vec::new();
        for one in &chain {
            all.extend_from_slice(one);
        }
        let mut fingerprint = sha256_hex(&all);
        fingerprint.truncate(FINGERPRINT);
        let wrong = |what: String| format!("{}: {what}", certificate.display());
        let parsed: Vec<EndEntityCert<'_>> = (chain.iter())
            .map(EndEntityCert::try_from)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(format!("not a certificate as X.509 has it: {error:?}")))?;
        in_order(&parsed).map_err(wrong)?;
        let leaf = parsed
            .first()
            .ok_or_else(|| wrong("no certificate in it".into()))?;
        let (from, until) = chain
            .first()
            .and_then(|leaf| validity::of(leaf))
            .ok_or_else(|| wrong("it does not say how long it is good".into()))?;
        Ok(Self {
            fingerprint,
            // Browsers look at alternative names only.
            names: leaf
                .valid_dns_names()
                .map(str::to_ascii_lowercase)
                .collect(),
            from,
            until,
            exposed: key.metadata().is_ok_and(|meta| meta.mode() & 0o004 != 0),
        })
    }

    /// Whether browsers take it for this host name.
    pub fn covers(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| {
            *name == host
                || name
                    .strip_prefix("*.")
                    .is_some_and(|rest| parent == Some(rest))
        })
    }
}

/// Until when the certificate in a file is good, the first where there are several; its key is not looked at. Links are followed.
pub fn good_until(certificate: &Path) -> Result<Timestamp, String> {
    let chain = chain(certificate)?;
    let validity = chain.first().and_then(|leaf| validity::of(leaf));
    let (_, until) = validity.ok_or_else(|| {
        format!(
            "{}: it does not say how long it is good",
            certificate.display()
        )
    })?;
    Ok(until)
}

/// A file of at most [`LIMIT`] bytes.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let told = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            format!("{} is not there", path.display())
        } else {
            format!("cannot read {}: {error}", path.display())
        }
    };
    let is_file = path.metadata().map_err(told)?.is_file();
    if !is_file {
        // A pipe would be waited for.
        return Err(format!("{} is no file", path.display()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(told)?;
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() as u64 > LIMIT {
        return Err(format!(
            "{} has more than {} KiB",
            path.display(),
            LIMIT / 1024
        ));
    }
    Ok(bytes)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .take(LONGEST_CHAIN + 1)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{} is damaged: {error}", path.display()))?;
    match chain.len() {
        0 => Err(format!(
            "{} has no certificate in it (a part that begins with -----BEGIN CERTIFICATE-----)",
            path.display()
        )),
        number if number > LONGEST_CHAIN => Err(format!(
            "{} has more than {LONGEST_CHAIN} certificates: it should have the site's own and those of its issuers",
            path.display()
        )),
        _ => Ok(chain),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let encrypted = bytes
            .windows(b"ENCRYPTED".len())
            .any(|part| part == b"ENCRYPTED");
        match error {
            _ if encrypted => format!(
                "the key in {} has a passphrase, which nobody types when Apache starts: take it off with openssl pkey",
                path.display()
            ),
            PemError::NoItemsFound => format!(
                "{} has no private key in it (a part that begins with -----BEGIN PRIVATE KEY-----)",
                path.display()
            ),
            error => format!("{} is damaged: {error}", path.display()),
        }
    })
}

fn fits(
    chain: &[CertificateDer<'static>],
    private: &PrivateKeyDer<'static>,
    certificate: &Path,
    key: &Path,
) -> Result<(), String> {
    let signer = any_supported_type(private).map_err(|_| {
        format!(
            "the key in {} is of a kind that is not known here: RSA, ECDSA (P-256, P-384, P-521) and Ed25519 are",
            key.display()
        )
    })?;
    match CertifiedKey::new(chain.to_vec(), signer).keys_match() {
        Ok(()) | Err(TlsError::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(TlsError::InconsistentKeys(_)) => Err(format!(
            "the key in {} is not that of the certificate in {}",
            key.display(),
            certificate.display()
        )),
        Err(error) => Err(format!("{}: {error}", certificate.display())),
    }
}

/// The site's own first, then who issued it, and so on: clients that do not sort them could not follow.
fn in_order(chain: &[EndEntityCert<'_>]) -> Result<(), String> {
    for (index, pair) in chain.windows(2).enumerate() {
        if let [one, issuer] = pair
            && one.issuer() != issuer.subject()
        {
            return Err(format!(
                "certificate {} of the file did not issue certificate {}: the site's own goes first, then who issued it, and so on",
                index + 2,
                index + 1
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    /// Made by openssl, as people make theirs.
    struct Made {
        dir: tempfile::TempDir,
    }

    impl Made {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let made = Self { dir };
            made.openssl("req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=ca -keyout ca.key -out ca.pem");
            made.openssl("ecparam -name prime256v1 -genkey -noout -out site.key");
            made.openssl("req -new -key site.key -subj /CN=shop -out site.csr");
            made.put(
                "names",
                "subjectAltName=DNS:Shop.example.com,DNS:*.img.example.com",
            );
            made.openssl("x509 -req -in site.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 10 -extfile names -out site.pem");
            made
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        #[expect(clippy::disallowed_methods, reason = "a scratch file")]
        fn put(&self, name: &str, text: impl AsRef<[u8]>) {
            std::fs::write(self.path(name), text).unwrap();
        }

        #[expect(clippy::disallowed_methods, reason = "it ends by itself")]
        fn openssl(&self, arguments: &str) {
            let output = Command::new("openssl")
                .args(arguments.split(' '))
                .current_dir(self.dir.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
        }

        fn join(&self, parts: [&str; 2], name: &str) {
            let parts = parts.map(|part| std::fs::read_to_string(self.path(part)).unwrap());
            self.put(name, parts.concat());
        }

        fn read(&self, certificate: &str, key: &str) -> Result<Certificate, String> {
            Certificate::read(&self.path(certificate), &self.path(key))
                .map_err(|error| error.replace(&format!("{}/", self.dir.path().display()), ""))
        }
    }

    #[test]
    fn a_pair_tells_its_names_and_dates() {
        let made = Made::new();
        let certificate = made.read("site.pem", "site.key").unwrap();
        assert_eq!(certificate.names, ["shop.example.com", "*.img.example.com"]);
        let days = (certificate.until.as_second() - certificate.from.as_second()) / 86_400;
        assert_eq!(days, 10);
        assert!(!certificate.exposed);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(made.path("site.key"), mode).unwrap();
        assert!(made.read("site.pem", "site.key").unwrap().exposed);
        for (host, covered) in [
            ("shop.example.com", true),
            ("SHOP.example.com", true),
            ("a.img.example.com", true),
            ("*.img.example.com", true),
            ("img.example.com", false),
            ("a.b.img.example.com", false),
            ("example.com", false),
        ] {
            assert_eq!(certificate.covers(host), covered, "{host}");
        }
        made.join(["site.pem", "ca.pem"], "chain.pem");
        let chain = made.read("chain.pem", "site.key").unwrap();
        assert_eq!(chain.until, certificate.until);
        assert_ne!(chain.fingerprint, certificate.fingerprint);
        assert_eq!(chain.fingerprint.len(), FINGERPRINT);
    }

    #[test]
    fn what_does_not_fit_together_is_told_with_its_file() {
        let made = Made::new();
        let said = |certificate, key| made.read(certificate, key).unwrap_err();
        assert_eq!(
            said("site.pem", "ca.key"),
            "the key in ca.key is not that of the certificate in site.pem"
        );
        made.join(["ca.pem", "site.pem"], "turned.pem");
        insta::assert_snapshot!(said("turned.pem", "ca.key"), @"turned.pem: certificate 2 of the file did not issue certificate 1: the site's own goes first, then who issued it, and so on");
        assert_eq!(said("gone.pem", "site.key"), "gone.pem is not there");
        assert_eq!(said("site.pem", "gone.key"), "gone.key is not there");
        assert!(said("site.key", "site.key").contains("no certificate in it"));
        assert!(said("site.pem", "site.pem").contains("no private key in it"));
        made.openssl("pkcs8 -topk8 -in site.key -passout pass:x -out closed.key");
        assert!(said("site.pem", "closed.key").contains("has a passphrase"));
        std::fs::create_dir(made.path("dir")).unwrap();
        assert_eq!(said("dir", "site.key"), "dir is no file");
        made.put("large", vec![b'x'; 300 * 1024]);
        assert_eq!(said("large", "site.key"), "large has more than 256 KiB");
        made.put(
            "cut.pem",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        );
        assert!(said("cut.pem", "site.key").starts_with("cut.pem: "));
    }
}
