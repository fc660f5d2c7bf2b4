//! Canonical text: sorted keys (the value keeps them so), no white space, fixed escapes.

use super::{Json, Text, has};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The canonical text of a value, non-ASCII characters as they are.
pub fn canonical<S: Text>(value: &Json<S>) -> String {
    let mut out = String::new();
    canonical_into(value, &mut out);
    out
}

/// Appends the canonical text of a value.
pub fn canonical_into<S: Text>(value: &Json<S>, out: &mut String) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(true) => out.push_str("true"),
        Json::Bool(false) => out.push_str("false"),
        Json::Number(text) => out.push_str(text.as_ref()),
        Json::String(text) => canonical_string(text.as_ref(), out),
        Json::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                canonical_into(item, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (index, (key, item)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                canonical_string(key.as_ref(), out);
                out.push(':');
                canonical_into(item, out);
            }
            out.push('}');
        }
    }
}

/// Appends a quoted string as canonical JSON has it: only `"`, `\` and what lies below U+0020 escaped.
pub fn canonical_string(text: &str, out: &mut String) {
    out.push('"');
    push_escaped(text, out, |byte| byte < 0x20 || byte == b'"' || byte == b'\\');
    out.push('"');
}

/// Appends a quoted string as digest JSON has it: every character outside U+0020..U+007E escaped as
/// `\uxxxx`, above U+FFFF as a surrogate pair.
pub fn ascii_string(text: &str, out: &mut String) {
    out.push('"');
    push_escaped(text, out, |byte| !(0x20..0x7f).contains(&byte) || byte == b'"' || byte == b'\\');
    out.push('"');
}

/// Copies runs that need no escape whole; `special` says which bytes start a character that does.
fn push_escaped(text: &str, out: &mut String, special: impl Fn(u8) -> bool) {
    let bytes = text.as_bytes();
    if !has(bytes, &special) {
        return out.push_str(text); // nearly always
    }
    let mut run = 0;
    let mut at = 0;
    while at < bytes.len() {
        if !special(bytes[at]) {
            at += 1;
            continue;
        }
        out.push_str(&text[run..at]);
        // A special byte is ASCII or the first of a character: the bytes before it were whole ones.
        let Some(character) = text[at..].chars().next() else { break };
        push_escape(character, out);
        at += character.len_utf8();
        run = at;
    }
    out.push_str(&text[run..]);
}

fn push_escape(character: char, out: &mut String) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        other => {
            for unit in other.encode_utf16(&mut [0; 2]) {
                out.push_str("\\u");
                for shift in [12, 8, 4, 0] {
                    out.push(char::from(HEX[usize::from(*unit >> shift) & 0xf]));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, canonical_form: &str, ascii_form: &str) {
        let (mut plain, mut ascii) = (String::new(), String::new());
        canonical_string(text, &mut plain);
        ascii_string(text, &mut ascii);
        assert_eq!(plain, canonical_form);
        assert_eq!(ascii, ascii_form);
    }

    #[test]
    fn escapes_follow_the_contract_in_both_forms() {
        check("plain", r#""plain""#, r#""plain""#);
        check("q\"b\\s/", r#""q\"b\\s/""#, r#""q\"b\\s/""#);
        check("\u{8}\u{c}\n\r\t", r#""\b\f\n\r\t""#, r#""\b\f\n\r\t""#);
        check("\0\u{1f}", r#""\u0000\u001f""#, r#""\u0000\u001f""#);
        check("a\u{7f}b", "\"a\u{7f}b\"", r#""a\u007fb""#);
        check("é\u{2028}価", "\"é\u{2028}価\"", r#""\u00e9\u2028\u4fa1""#);
        check("x🚀y", "\"x🚀y\"", r#""x\ud83d\ude80y""#);
    }
}
