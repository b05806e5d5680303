//! What services say when something is wrong, less what they say always.

/// Words of Apache that stand before every complaint of its and have nothing to do with it: it found no name or address for
/// the machine, a root directory is not there yet (the report tells that itself), its script refers to somebody else.
const NOISE: [&str; 6] = [
    "AH00557",
    "AH00558",
    "AH00112",
    "Action '-t",
    "The Apache error log may have more information",
    "The apache2 configtest failed",
];

/// Whether a line says nothing of what is wrong.
pub(super) fn is_noise(line: &str) -> bool {
    line.trim().is_empty() || NOISE.iter().any(|noise| line.contains(noise))
}

/// What a command said, without the noise; all of it where that is all.
pub(super) fn without_noise(said: &str) -> String {
    let lines: Vec<&str> = said.lines().filter(|line| !is_noise(line)).collect();
    if lines.is_empty() {
        said.to_owned()
    } else {
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complaint_is_what_is_left() {
        let said = "AH00557: apache2: apr_sockaddr_info_get() failed for web-1\nAH00558: apache2: Could not reliably determine the server's fully qualified domain name\nAH00526: Syntax error on line 4 of /etc/x.conf:\nInvalid command 'Header'\nAction '-t -D AGENTD_STAGED' failed.\nThe Apache error log may have more information.";
        assert_eq!(
            without_noise(said),
            "AH00526: Syntax error on line 4 of /etc/x.conf:\nInvalid command 'Header'"
        );
        assert_eq!(without_noise("AH00558: alone"), "AH00558: alone");
    }
}
