//! A formula's text in tokens.

use super::FormulaError;

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Int(i64),
    Float(f64),
    /// A name or a word such as `and`.
    Name(String),
    /// An operator, a bracket or a comma.
    Sign(&'static str),
    End,
}

/// A token and the column where it begins, counted from 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) column: usize,
}

/// All signs, those first that begin like a shorter one.
const SIGNS: [&str; 34] = [
    "**", "&&", "||", "==", "!=", "<=", ">=", "??", "?.", "..", ".", "::", "+", "-", "*", "/", "%",
    "^", "<", ">", "!", "=", "?", ":", ",", ";", "(", ")", "[", "]", "{", "}", "|", "#",
];

/// Cuts the text into tokens; the last one is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, FormulaError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    // Columns count characters, not bytes.
    let column = |rest: &str| text[..text.len() - rest.len()].chars().count() + 1;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let at = column(rest);
        let Some(first) = rest.chars().next() else {
            tokens.push(Placed {
                token: Token::End,
                column: at,
            });
            return Ok(tokens);
        };
        if let Some(comment) = rest.strip_prefix("//") {
            rest = comment.find('\n').map_or("", |end| &comment[end..]);
            continue;
        }
        if let Some(comment) = rest.strip_prefix("/*") {
            let end = comment
                .find("*/")
                .ok_or_else(|| FormulaError::at(at, "a comment is left open"))?;
            rest = &comment[end + 2..];
            continue;
        }
        let (token, length) =
            if first.is_ascii_digit() || first == '.' && begins_with_digit(&rest[1..]) {
                number(rest).map_err(|problem| FormulaError::at(at, problem))?
            } else if first.is_alphabetic() || matches!(first, '_' | '$') {
                let end = rest
                    .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$')))
                    .unwrap_or(rest.len());
                (Token::Name(rest[..end].to_owned()), end)
            } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                (Token::Sign(sign), sign.len())
            } else if matches!(first, '"' | '\'' | '`') {
                return Err(FormulaError::at(at, "texts are not supported in formulas"));
            } else {
                return Err(FormulaError::at(
                    at,
                    format!("unexpected {:?}", first.to_string()),
                ));
            };
        tokens.push(Placed { token, column: at });
        rest = &rest[length..];
    }
}

fn begins_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

/// A number at the beginning of `text`, and its length: `12`, `1_000`, `0x1f`, `0b11`, `0o17`, `1.5`, `.5`, `1e3`.
fn number(text: &str) -> Result<(Token, usize), String> {
    for (prefix, radix) in [
        ("0x", 16),
        ("0X", 16),
        ("0b", 2),
        ("0B", 2),
        ("0o", 8),
        ("0O", 8),
    ] {
        if let Some(digits) = text.strip_prefix(prefix) {
            let end = digits
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(digits.len());
            let length = prefix.len() + end;
            let value = i64::from_str_radix(&digits[..end].replace('_', ""), radix)
                .map_err(|_| format!("{:?} is no number", &text[..length]))?;
            return Ok((Token::Int(value), length));
        }
    }
    let digits = |from: usize| {
        text[from..]
            .find(|c: char| !(c.is_ascii_digit() || c == '_'))
            .map_or(text.len(), |end| from + end)
    };
    let mut end = digits(0);
    let mut whole = true;
    // Not the first dot of a range.
    if text[end..].starts_with('.') && !text[end..].starts_with("..") {
        whole = false;
        end = digits(end + 1);
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        if begins_with_digit(&text[end + 1 + sign..]) {
            whole = false;
            end = digits(end + 1 + sign);
        }
    }
    let written = &text[..end];
    let plain = written.replace('_', "");
    let token = if whole {
        plain.parse().ok().map(Token::Int)
    } else {
        plain
            .parse()
            .ok()
            .filter(|value: &f64| value.is_finite())
            .map(Token::Float)
    };
    Ok((
        token.ok_or_else(|| format!("{written:?} is no number that a formula can hold"))?,
        end,
    ))
}
