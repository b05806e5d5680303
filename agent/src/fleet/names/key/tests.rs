use super::*;

/// Made by `ssh-keygen`, for this test alone.
const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICrIcGmMR0bE1+YqCEmACtjOPDKZxDBQPDFLcSAlzaTZ";

#[test]
fn lines_of_authorized_keys() {
    for line in [
        ED25519.to_owned(),
        format!("{ED25519} deploy"),
        format!("{ED25519} jane doe, laptop"),
        format!(
            "restrict,pty,from=\"10.0.0.0/8,*.example.com\",command=\"/bin/a \\\"b c\\\" d\" {ED25519} deploy"
        ),
        format!("no-X11-forwarding {ED25519}"),
    ] {
        let key: PublicKey = line
            .parse()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(key.blob(), ED25519.split(' ').nth(1).unwrap());
    }
    let key: PublicKey = format!("from=\"a b\" {ED25519} c").parse().unwrap();
    assert_eq!(key.options(), "from=\"a b\"");
}

#[test]
fn what_sshd_would_pass_over_is_refused_with_the_reason() {
    for (line, why) in [
        ("", "expected an SSH public key"),
        ("deploy", "expected an SSH public key"),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            "this is a private key",
        ),
        ("ssh-ed25519", "no key in base64"),
        (
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
            "no whole key of type ssh-ed25519",
        ),
        (ED25519.strip_suffix('Z').unwrap(), "no key in base64"),
        (
            ED25519.strip_suffix("zaTZ").unwrap(),
            "no whole key of type ssh-ed25519",
        ),
        (&format!("{ED25519}AAAA"), "something after the key"),
        (
            &ED25519.replace("ssh-ed25519 ", "ssh-rsa "),
            "the key itself is of another type",
        ),
        (
            &ED25519.replace("ssh-ed25519 ", "ssh-dss "),
            "expected an SSH public key",
        ),
        (
            &format!("restrict, pty {ED25519}"),
            "expected an SSH public key",
        ),
        (&format!("restrict,,pty {ED25519}"), "is no option"),
        (
            &format!("restrict, {ED25519}"),
            "separated by single commas",
        ),
        (&format!("comand=\"x\" {ED25519}"), "`comand` is no option"),
        (
            &format!("command=x {ED25519}"),
            "wants a value in double quotes",
        ),
        (
            &format!("command=\"x {ED25519}"),
            "expected an SSH public key",
        ),
        (
            &format!("{ED25519}\n{ED25519}"),
            "expected an SSH public key",
        ),
        (&format!("{ED25519} dépôt"), "expected an SSH public key"),
    ] {
        let error = line.parse::<PublicKey>().unwrap_err().0;
        assert!(error.contains(why), "{line}: {error}");
    }
}

/// A key of that type with fields of these lengths.
fn key(kind: &str, fields: &[&[u8]]) -> String {
    let mut blob = Vec::new();
    for field in [kind.as_bytes()].into_iter().chain(fields.iter().copied()) {
        blob.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
        blob.extend(field);
    }
    format!("{kind} {}", encoded(&blob))
}

fn encoded(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let mut padded = [0; 4];
        padded[1..=group.len()].copy_from_slice(group);
        let number = u32::from_be_bytes(padded);
        for place in 0..4 {
            let digit = DIGITS[(number >> (18 - 6 * place) & 63) as usize];
            text.push(if place > group.len() {
                '='
            } else {
                digit as char
            });
        }
    }
    text
}

#[test]
fn keys_of_all_types_and_sizes() {
    let rsa = |bytes: usize| {
        let mut modulus = vec![0; 1];
        modulus.extend(vec![0xff; bytes]);
        key("ssh-rsa", &[&[1, 0, 1], &modulus])
    };
    for good in [
        rsa(256),
        rsa(512),
        key("ecdsa-sha2-nistp256", &[b"nistp256", &[4; 65]]),
        key("ecdsa-sha2-nistp384", &[b"nistp384", &[4; 97]]),
        key("ecdsa-sha2-nistp521", &[b"nistp521", &[4; 133]]),
        key("sk-ssh-ed25519@openssh.com", &[&[1; 32], b"ssh:"]),
        key(
            "sk-ecdsa-sha2-nistp256@openssh.com",
            &[b"nistp256", &[4; 65], b"ssh:"],
        ),
    ] {
        assert_eq!(check(&good), Ok(()), "{good}");
    }
    assert_eq!(
        check(&rsa(128)).unwrap_err().0,
        "an RSA key of 1024 bits: expected one of 2048 to 16384, or better an Ed25519 key"
    );
    assert!(check(&rsa(4096)).is_err());
    assert!(check(&key("ecdsa-sha2-nistp256", &[b"nistp256", &[4; 64]])).is_err());
}

#[test]
fn base64_is_read_as_it_is_written() {
    for length in 1..70 {
        let bytes: Vec<u8> = (0..length).collect();
        assert_eq!(base64(&encoded(&bytes)), Some(bytes));
    }
    for wrong in [
        "", "A", "AA", "AAA", "A===", "AA=A", "AAAA=", "AA A", "AA-_",
    ] {
        assert_eq!(base64(wrong), None, "{wrong}");
    }
}
