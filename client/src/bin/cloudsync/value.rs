//! Values as they are typed and shown: JSON, on one line.
//!
//! Never: a number or a name changed; only spaces between them go.

use cloudsync_engine::replica::Content;
use cloudsync_protocol::id::hex;
use serde_json::value::RawValue;

/// JSON without the spaces that mean nothing.
pub(crate) fn minified(text: &str) -> Result<String, serde_json::Error> {
    serde_json::from_str::<&RawValue>(text)?;
    let mut minified = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            ' ' | '\t' | '\n' | '\r' if !in_string => continue,
            '"' if !escaped => in_string = !in_string,
            _ => {}
        }
        escaped = in_string && c == '\\' && !escaped;
        minified.push(c);
    }
    Ok(minified)
}

/// A record's value as JSON: `null` when it is deleted or does not open. What another app wrote and is no JSON is shown as hexadecimal.
pub(crate) fn json(content: &Content) -> Box<RawValue> {
    let text = match content {
        Content::Deleted | Content::Damaged => "null".to_owned(),
        Content::Value(bytes) => std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| minified(text).ok())
            .unwrap_or_else(|| format!("{{\"$hex\":\"{}\"}}", hex(bytes))),
    };
    RawValue::from_string(text).expect("it was checked to be JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_spaces_between_things_go() {
        let typed = "{ \"a b\" : [ 1.10 , 12345678901234567890123 ],\n\t\"c\\\" \\\\\" : \" \" }";
        assert_eq!(minified(typed).unwrap(), "{\"a b\":[1.10,12345678901234567890123],\"c\\\" \\\\\":\" \"}");
        assert!(minified("{a}").is_err() && minified("1 2").is_err() && minified("").is_err());
    }

    #[test]
    fn what_is_no_json_is_shown_all_the_same() {
        assert_eq!(json(&Content::Value(vec![0xff, 0x00].into())).get(), "{\"$hex\":\"ff00\"}");
        assert_eq!(json(&Content::Deleted).get(), "null");
    }
}
