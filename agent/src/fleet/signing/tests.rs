use aws_lc_rs::digest::{SHA256, SHA512, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64ct::{Base64, Encoding as _};

use super::*;
use crate::fleet::Signature;

/// A key, as a file or a token has it.
pub(crate) struct TestKey {
    pair: Ed25519KeyPair,
    name: &'static str,
    token: bool,
}

/// How a signature is made.
#[derive(Clone, Copy)]
struct Way {
    namespace: &'static str,
    hash: &'static str,
    flags: u8,
}

const USUAL: Way = Way {
    namespace: DOCUMENT_NAMESPACE,
    hash: "sha512",
    flags: 1,
};

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend(bytes);
}

impl TestKey {
    pub(crate) fn new(seed: u8, name: &'static str) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let token = false;
        Self { pair, name, token }
    }

    fn in_a_token(seed: u8, name: &'static str) -> Self {
        Self {
            token: true,
            ..Self::new(seed, name)
        }
    }

    const fn kind(&self) -> &'static str {
        if self.token {
            "sk-ssh-ed25519@openssh.com"
        } else {
            "ssh-ed25519"
        }
    }

    fn blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        field(&mut blob, self.kind().as_bytes());
        field(&mut blob, self.pair.public_key().as_ref());
        if self.token {
            field(&mut blob, b"ssh:");
        }
        blob
    }

    fn line(&self) -> String {
        let blob = Base64::encode_string(&self.blob());
        format!("{} {blob} {}", self.kind(), self.name)
    }

    fn public(&self) -> SigningKey {
        SigningKey::from_line(&self.line()).unwrap()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        self.sign_so(message, USUAL)
    }

    pub(crate) fn sign_for(&self, message: &[u8], namespace: &'static str) -> Signature {
        self.sign_so(message, Way { namespace, ..USUAL })
    }

    fn sign_so(&self, message: &[u8], way: Way) -> Signature {
        let of_message = match way.hash {
            "sha256" => digest(&SHA256, message),
            _ => digest(&SHA512, message),
        };
        let mut signed = b"SSHSIG".to_vec();
        for part in [
            way.namespace.as_bytes(),
            b"",
            way.hash.as_bytes(),
            of_message.as_ref(),
        ] {
            field(&mut signed, part);
        }
        let mut proof = Vec::new();
        field(&mut proof, self.kind().as_bytes());
        if self.token {
            let mut by_token = digest(&SHA256, b"ssh:").as_ref().to_vec();
            by_token.push(way.flags);
            by_token.extend([0, 0, 0, 9]);
            by_token.extend(digest(&SHA256, &signed).as_ref());
            field(&mut proof, self.pair.sign(&by_token).as_ref());
            proof.extend([way.flags, 0, 0, 0, 9]);
        } else {
            field(&mut proof, self.pair.sign(&signed).as_ref());
        }
        let mut blob = b"SSHSIG\0\0\0\x01".to_vec();
        for part in [
            &self.blob()[..],
            way.namespace.as_bytes(),
            b"",
            way.hash.as_bytes(),
            &proof,
        ] {
            field(&mut blob, part);
        }
        armored(&blob, self.name)
    }
}

fn armored(blob: &[u8], name: &str) -> Signature {
    let text = Base64::encode_string(blob);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(70)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    let armor = format!(
        "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
        lines.join("\n")
    );
    Signature {
        key: name.parse().unwrap(),
        sshsig: armor.parse().unwrap(),
    }
}

pub(crate) fn trusted(keys: &[&TestKey], threshold: usize) -> Keyring {
    Keyring::new(keys.iter().map(|key| key.public()).collect(), threshold).unwrap()
}

fn verdict(
    keyring: &Keyring,
    message: &[u8],
    signatures: &[Signature],
) -> Result<Vec<String>, String> {
    keyring
        .signers(message, signatures, DOCUMENT_NAMESPACE)
        .map(|names| names.iter().map(ToString::to_string).collect())
        .map_err(|why| why.to_string())
}

const MESSAGE: &[u8] = b"{\"fleet\": \"small\"}";

#[test]
fn what_ssh_keygen_signed_counts() {
    // ssh-keygen -t ed25519 -N '' -C ops-2026; printf MESSAGE | ssh-keygen -Y sign -n node-agent-fleet -f key
    let line = include_str!("testdata/ops-2026.pub");
    let armor = include_str!("testdata/ops-2026.sig");
    let keyring = Keyring::new(vec![SigningKey::from_line(line).unwrap()], 1).unwrap();
    let signature = Signature {
        key: "whatever".parse().unwrap(),
        sshsig: armor.parse().unwrap(),
    };
    assert_eq!(keyring.keys()[0].to_string(), line.trim_end());
    let fingerprint = include_str!("testdata/ops-2026.fingerprint");
    assert_eq!(keyring.keys()[0].fingerprint(), fingerprint.trim_end());
    let signatures = [signature];
    assert_eq!(
        verdict(&keyring, MESSAGE, &signatures),
        Ok(vec!["ops-2026".into()])
    );
    assert!(verdict(&keyring, b"{\"fleet\":\"small\"}", &signatures).is_err());
}

#[test]
fn keys_and_tokens_sign_with_either_hash() {
    let (file, token) = (TestKey::new(1, "file"), TestKey::in_a_token(2, "token"));
    let keyring = trusted(&[&file, &token], 2);
    for hash in ["sha256", "sha512"] {
        let way = Way { hash, ..USUAL };
        // With PIN (user verified, 4) as well as without.
        for flags in [1, 5] {
            let signatures = [
                token.sign_so(MESSAGE, Way { flags, ..way }),
                file.sign_so(MESSAGE, way),
            ];
            assert_eq!(
                verdict(&keyring, MESSAGE, &signatures),
                Ok(vec!["file".into(), "token".into()])
            );
        }
    }
}

#[test]
fn every_reason_is_told_apart() {
    let (ops, dev) = (TestKey::new(1, "ops"), TestKey::new(2, "dev"));
    let (stranger, token) = (TestKey::new(3, "stranger"), TestKey::in_a_token(4, "token"));
    let one = trusted(&[&ops, &dev, &token], 1);
    let two = trusted(&[&ops, &dev, &token], 2);
    let namespace = Way {
        namespace: "file",
        ..USUAL
    };
    let untouched = Way { flags: 0, ..USUAL };
    let no = |keyring: &Keyring, signatures: &[Signature]| {
        verdict(keyring, MESSAGE, signatures).unwrap_err()
    };
    // One key signs once, also under another name and made anew.
    let mut renamed = ops.sign_so(
        MESSAGE,
        Way {
            hash: "sha256",
            ..USUAL
        },
    );
    renamed.key = "dev".parse().unwrap();
    let told = [
        no(&one, &[]),
        no(&one, &[stranger.sign(MESSAGE)]),
        no(&one, &[ops.sign_so(MESSAGE, namespace)]),
        no(&one, &[ops.sign(b"{\"fleet\":\"small\"}")]),
        no(&one, &[token.sign_so(MESSAGE, untouched)]),
        no(
            &one,
            &[ops.sign_so(
                MESSAGE,
                Way {
                    hash: "md5",
                    ..USUAL
                },
            )],
        ),
        no(&one, &[armored(b"SSHSIG", "cut")]),
        no(&two, &[ops.sign(MESSAGE)]),
        no(&two, &[ops.sign(MESSAGE), renamed]),
        no(&two, &[ops.sign(MESSAGE), stranger.sign(MESSAGE)]),
    ];
    insta::assert_snapshot!(told.join("\n"));
    // What does not count does no harm beside what does.
    let enough = [stranger.sign(MESSAGE), dev.sign(MESSAGE), ops.sign(MESSAGE)];
    assert_eq!(
        verdict(&two, MESSAGE, &enough),
        Ok(vec!["ops".into(), "dev".into()])
    );
}

#[test]
fn no_flipped_bit_counts() {
    let (ops, token) = (TestKey::new(1, "ops"), TestKey::in_a_token(2, "token"));
    for key in [&ops, &token] {
        let keyring = trusted(&[key], 1);
        let signature = key.sign(MESSAGE);
        let body: String = signature
            .sshsig
            .as_str()
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        let blob = Base64::decode_vec(&body).unwrap();
        assert!(verdict(&keyring, MESSAGE, &[armored(&blob, "same")]).is_ok());
        for bit in 0..blob.len() * 8 {
            let mut flipped = blob.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let verdict = verdict(&keyring, MESSAGE, &[armored(&flipped, "flipped")]);
            assert!(verdict.is_err(), "bit {bit}");
        }
        for length in 1..blob.len() {
            let cut = armored(&blob[..length], "cut");
            assert!(verdict(&keyring, MESSAGE, &[cut]).is_err(), "{length}");
        }
    }
}

#[test]
fn lines_that_are_no_key_are_told_apart() {
    let good = TestKey::new(1, "ops").line();
    let nameless = good.trim_end_matches(" ops");
    let (cut, _) = good.split_at(40);
    let token = TestKey::in_a_token(1, "ops").line();
    let mixed = token.replace("sk-ssh-ed25519@openssh.com ", "ssh-ed25519 ");
    let told: Vec<String> = [
        "",
        "ops",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "ssh-rsa AAAA ops",
        "ecdsa-sha2-nistp256 AAAA ops",
        nameless,
        cut,
        &mixed,
        &format!("{good}\u{fc}"),
        &format!("restrict {good}"),
    ]
    .iter()
    .map(|line| SigningKey::from_line(line).unwrap_err().to_string())
    .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_keyring_that_cannot_be_is_refused() {
    let (ops, dev) = (TestKey::new(1, "ops"), TestKey::new(2, "dev"));
    let (twice, token) = (TestKey::new(1, "again"), TestKey::in_a_token(1, "token"));
    let namesake = TestKey::new(3, "ops");
    let no = |keys: &[&TestKey], threshold| {
        let keys = keys.iter().map(|key| key.public()).collect();
        Keyring::new(keys, threshold).unwrap_err().to_string()
    };
    let told = [
        no(&[], 1),
        no(&[&ops, &twice], 1),
        no(&[&ops, &token], 1),
        no(&[&ops, &namesake], 1),
        no(&[&ops, &dev], 0),
        no(&[&ops, &dev], 3),
    ];
    insta::assert_snapshot!(told.join("\n"));
}
