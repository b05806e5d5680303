//! Values as Apache's configuration reads them back, unchanged.

/// The variable that stands for a dollar sign where one would otherwise begin a variable.
const DOLLAR: &str = "${AGENTD_DOLLAR}";

/// What must stand before the first use of a value that [`quoted`] had to write with [`DOLLAR`].
const DEFINE_DOLLAR: &str = "Define AGENTD_DOLLAR \"$\"\n";

/// One argument of a directive.
///
/// Apache replaces `${NAME}` before it looks at quotes and offers no escape, but does not look again at what
/// it put in: so the dollar sign of a literal `${` comes from a variable itself. See [`defines_for`].
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            '$' if characters.peek() == Some(&'{') => out.push_str(DOLLAR),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// The value argument of `mod_headers`' `Header set`, quoted: the client gets exactly `value`.
///
/// `mod_headers` has two grammars of its own within the argument: a format (`%t`, `\n`), and an expression
/// where the argument begins with `expr=`, for which a format has no escape. Such a value is written as an expression.
pub(super) fn header_value(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    if value.starts_with("expr=") {
        out.push_str("expr=");
        for character in value.chars() {
            if matches!(character, '\\' | '%' | '$') {
                out.push('\\');
            }
            out.push(character);
        }
    } else {
        for character in value.chars() {
            if matches!(character, '\\' | '%') {
                out.push(character);
            }
            out.push(character);
        }
    }
    quoted(&out)
}

/// What must stand before `text` for its quoted values to be read back right: nothing, or one line.
pub(super) fn defines_for(text: &str) -> &'static str {
    if text.contains(DOLLAR) {
        DEFINE_DOLLAR
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_are_escaped_once() {
        assert_eq!(quoted(r#"a "b" \c\"#), r#""a \"b\" \\c\\""#);
    }

    #[test]
    fn a_literal_variable_keeps_its_dollar_sign() {
        let text = quoted("$5 ${HOME}");
        assert_eq!(text, "\"$5 ${AGENTD_DOLLAR}{HOME}\"");
        assert_eq!(defines_for(&text), "Define AGENTD_DOLLAR \"$\"\n");
        assert_eq!(defines_for("\"$5\""), "");
    }

    #[test]
    fn header_values_survive_both_grammars() {
        assert_eq!(header_value("max-age=60"), "\"max-age=60\"");
        assert_eq!(header_value("100%"), "\"100%%\"");
        assert_eq!(header_value(r"a\n"), r#""a\\\\n""#);
        assert_eq!(header_value("expr=%{X} $1"), r#""expr=expr=\\%{X} \\$1""#);
    }
}
