//! Parses JSON that is not quite JSON, so that the text of one value does not make a whole page unreadable.
//!
//! A text that was cut between the two halves of a UTF-16 pair is written as `"\ud83d"`, and `serde_json` rejects the
//! document. It also rejects control characters, bytes that are not UTF-8, and escapes that JSON does not have.

use std::iter::Peekable;

use serde::de::DeserializeOwned;

/// Replaces a character that cannot be read.
const REPLACEMENT: &str = "\\ufffd";

/// Parses a document. If it is not JSON because of characters in its texts, replaces them and returns true with it.
pub(super) fn parse_leniently<T: DeserializeOwned>(body: &[u8]) -> Result<(T, bool), serde_json::Error> {
    match serde_json::from_slice(body) {
        Ok(value) => Ok((value, false)),
        Err(error) if error.is_syntax() || error.is_eof() => match serde_json::from_str(&mended(body)) {
            Ok(value) => Ok((value, true)),
            // The first error describes what HubSpot sent.
            Err(_) => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Replaces everything in the texts of a document that JSON does not allow there. Leaves the rest unchanged.
fn mended(body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    let mut mended = String::with_capacity(body.len());
    let mut chars = body.chars().peekable();
    let mut in_text = false;
    while let Some(char) = chars.next() {
        match char {
            '"' => {
                in_text = !in_text;
                mended.push('"');
            }
            '\\' if in_text => escape(&mut chars, &mut mended),
            '\0'..='\u{1f}' if in_text => mended.push_str(&format!("\\u{:04x}", u32::from(char))),
            _ => mended.push(char),
        }
    }
    mended
}

/// Writes the escape whose backslash was just read.
fn escape(chars: &mut Peekable<impl Iterator<Item = char> + Clone>, mended: &mut String) {
    match chars.peek() {
        Some('u') => {
            chars.next();
            let first = unit(chars);
            match first {
                Some(high @ 0xD800..=0xDBFF) => {
                    let mut ahead = chars.clone();
                    let low = (ahead.next() == Some('\\') && ahead.next() == Some('u')).then(|| unit(&mut ahead));
                    match low.flatten() {
                        Some(low @ 0xDC00..=0xDFFF) => {
                            mended.push_str(&format!("\\u{high:04x}\\u{low:04x}"));
                            *chars = ahead;
                        }
                        _ => mended.push_str(REPLACEMENT),
                    }
                }
                Some(0xDC00..=0xDFFF) | None => mended.push_str(REPLACEMENT),
                Some(unit) => mended.push_str(&format!("\\u{unit:04x}")),
            }
        }
        Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => {
            mended.push('\\');
            mended.extend(chars.next());
        }
        // The backslash belongs to the text. It begins no escape.
        _ => mended.push_str("\\\\"),
    }
}

/// Reads the four hexadecimal digits of an escape. Consumes nothing if there are not four.
fn unit(chars: &mut Peekable<impl Iterator<Item = char> + Clone>) -> Option<u16> {
    let mut ahead = chars.clone();
    let digits: String = ahead.by_ref().take(4).collect();
    let is_hexadecimal = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let unit = is_hexadecimal.then(|| u16::from_str_radix(&digits, 16).ok()).flatten()?;
    *chars = ahead;
    Some(unit)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn text(body: &[u8]) -> (Value, bool) {
        parse_leniently(body).unwrap()
    }

    #[test]
    fn what_is_json_is_read_as_it_is() {
        assert_eq!(text(br#""a\ud83d\ude00\n\uffff""#), ("a\u{1f600}\n\u{ffff}".into(), false));
    }

    #[test]
    fn what_no_text_can_hold_is_replaced() {
        let table: [(&[u8], &str); 9] = [
            (br#""CTO \ud83d""#, "CTO \u{fffd}"),
            (br#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (br#""\ude00 \ud83dx""#, "\u{fffd} \u{fffd}x"),
            (br#""\ud83d\n\ud83d""#, "\u{fffd}\n\u{fffd}"),
            (br#""\u12""#, "\u{fffd}12"),
            (br#""C:\x \\ \"""#, "C:\\x \\ \""),
            (b"\"a\x01\tb\"", "a\u{1}\tb"),
            (b"\"a\xffb\"", "a\u{fffd}b"),
            (b"\"\xed\xa0\xbd\"", "\u{fffd}\u{fffd}\u{fffd}"),
        ];
        for (body, expected) in table {
            assert_eq!(text(body), (expected.into(), true), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn what_is_no_document_stays_unreadable() {
        for body in ["", "{", r#"{"a": "b"#, "<html>\u{1}</html>"] {
            assert!(parse_leniently::<Value>(body.as_bytes()).is_err(), "{body}");
        }
    }
}
