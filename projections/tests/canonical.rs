//! JSON in and canonical JSON out: what is read exactly, what is refused and where, one text for
//! one value. `serde_json` is the oracle wherever it loses nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::borrow::Cow;

use dg_projections::event::{EventType, Keeping, parse_line};
use dg_projections::json::{Json, MAX_DEPTH, Problem, ascii_string, borrow, canonical, parse};
use proptest::prelude::*;
use serde_json::Value;

#[track_caller]
fn check(text: &str, expected: &str) {
    let value = parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(canonical(&value), expected, "{text}");
}

#[track_caller]
fn bad(text: &str, problem: &str, path: &str) {
    let error = parse(text).expect_err(text);
    assert_eq!((error.to_string().as_str(), error.path().as_str()), (problem, path), "{text}");
}

#[test]
fn numbers_are_kept_as_written_but_for_minus_zero() {
    for number in [
        "0",
        "-1",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "1000000000000000000000000000000000000000000000000001",
    ] {
        check(number, number);
        check(&format!("{{\"a\":[{number}]}}"), &format!("{{\"a\":[{number}]}}"));
    }
    check("-0", "0");
    check("[-0,{\"a\":-0}]", "[0,{\"a\":0}]");
    assert_eq!(parse("9223372036854775807").unwrap().as_i64(), Some(i64::MAX));
    assert_eq!(parse("9223372036854775808").unwrap().as_i64(), None);
}

#[test]
fn of_a_repeated_key_the_last_counts_at_any_depth() {
    check("{\"a\":1,\"b\":2,\"a\":3}", "{\"a\":3,\"b\":2}");
    check("[{\"x\":{\"a\":[1],\"\\u0061\":{}}}]", "[{\"x\":{\"a\":{}}}]");
    check("{\"\":1,\"\":null}", "{\"\":null}");
}

#[test]
fn keys_are_sorted_by_code_point_and_not_by_utf_16() {
    let text = "{\"é\":1,\"\u{ffff}\":2,\"\u{10000}\":3,\"a\":4,\"A\":5,\"\":6,\"aa\":7,\"_\":8}";
    let sorted = "{\"\":6,\"A\":5,\"_\":8,\"a\":4,\"aa\":7,\"é\":1,\"\u{ffff}\":2,\"\u{10000}\":3}";
    check(text, sorted);
}

#[test]
fn escapes_are_the_contracts() {
    check(r#""\"\\\/\b\f\n\r\t""#, r#""\"\\/\b\f\n\r\t""#);
    check(r#""\u0000\u001F\u007f\u2028\u00E9""#, "\"\\u0000\\u001f\u{7f}\u{2028}é\"");
    check(r#""\ud83d\ude80\uD83D\uDE80\ud800\udc00\udbff\udfff""#, "\"🚀🚀\u{10000}\u{10ffff}\"");
    check("\" \t\"".replace('\t', "\\u0009").as_str(), "\" \\t\"");
}

#[test]
fn what_needs_an_escape_is_found_wherever_it_stands() {
    for before in 0..80 {
        for after in [0, 1, 40] {
            let [before, after] = [before, after].map(|length| "é".repeat(length));
            for (raw, escaped) in
                [("\"", "\\\""), ("\\", "\\\\"), ("\u{1f}", "\\u001f"), ("\n", "\\n")]
            {
                let text = format!("\"{before}{escaped}{after}\"");
                let value = Json::String(format!("{before}{raw}{after}"));
                assert_eq!(parse(&text), Ok(value.clone()));
                assert_eq!(canonical(&value), text);
            }
            for control in ["\u{0}", "\t", "\u{1f}"] {
                let error = parse(&format!("\"{before}{control}{after}\"")).unwrap_err();
                assert_eq!(error.problem, Problem::Syntax("an escape for the control character"));
                assert_eq!(error.offset, 1 + before.len());
            }
        }
    }
}

#[test]
fn a_borrowed_string_is_a_piece_of_its_text_unless_it_has_an_escape() {
    let text = r#"{"plain":"é\n","na\u006de":12}"#;
    let Ok(Json::Object(members)) = borrow(text) else { panic!("{text}") };
    let is_piece = |text: &Cow<'_, str>| matches!(text, Cow::Borrowed(_));
    let found: Vec<_> = members
        .iter()
        .map(|(key, value)| match value {
            Json::String(text) | Json::Number(text) => (is_piece(key), is_piece(text)),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(found, [(false, true), (true, false)]);
}

#[test]
fn lone_surrogates_are_refused_where_they_stand() {
    let lone = "a lone surrogate is not a character";
    for text in [
        "\"\\ud800\"",
        "\"\\udfff\"",
        "\"\\udc00\\ud800\"",
        "\"\\ud800x\"",
        "\"\\ud800\\n\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud800\\ud800\\udc00\"",
    ] {
        bad(text, lone, "$");
        bad(&format!("{{\"a\":[0,{text}]}}"), lone, "$.a[1]");
        bad(&format!("[{{{text}:1}}]"), lone, "$[0]");
        let error = parse(text).unwrap_err();
        assert_eq!((error.problem, error.offset), (Problem::LoneSurrogate, "\"\\ud800".len()));
    }
}

#[test]
fn fractions_and_exponents_are_found_at_any_depth() {
    let found = |text: &str| parse(text).unwrap().first_non_integer();
    assert_eq!(found("[1,-0,{\"a\":\"1.5\"},null]"), None);
    for (text, path) in [
        ("1.0", ""),
        ("1e5", ""),
        ("-1E-5", ""),
        ("[0,[1,2.5]]", "[1][1]"),
        ("{\"b\":1.5,\"a\":[{\"x y\":1e1}]}", ".a[0][\"x y\"]"),
    ] {
        assert_eq!(found(text).as_deref(), Some(path), "{text}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested =
        |levels: usize, inner: &str| format!("{}{inner}{}", "[".repeat(levels), "]".repeat(levels));
    let objects = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    for inner in ["", "1", "\"\""] {
        check(&nested(MAX_DEPTH, inner), &nested(MAX_DEPTH, inner));
        let error = parse(&nested(MAX_DEPTH + 1, inner)).expect_err(inner);
        assert_eq!(error.problem, Problem::TooDeep);
        assert_eq!(error.path(), format!("${}", "[0]".repeat(MAX_DEPTH)));
    }
    check(&objects(MAX_DEPTH), &objects(MAX_DEPTH));
    assert_eq!(parse(&objects(MAX_DEPTH + 1)).unwrap_err().problem, Problem::TooDeep);
    for text in ["[".repeat(1_000_000), "{\"a\":".repeat(1_000_000)] {
        assert_eq!(parse(&text).unwrap_err().problem, Problem::TooDeep);
    }
}

#[test]
fn syntax_errors_name_the_column_and_the_path() {
    let at =
        |column: usize, expected: &str| format!("not JSON at column {column}: expected {expected}");
    for (text, column, expected, path) in [
        ("", 1, "a value", "$"),
        ("  \t\r\n", 6, "a value", "$"),
        ("tru", 1, "a value", "$"),
        ("\u{feff}1", 1, "a value", "$"),
        ("\u{a0}1", 1, "a value", "$"),
        ("1 2", 3, "nothing more", "$"),
        ("{}x", 3, "nothing more", "$"),
        ("01", 2, "nothing more", "$"),
        ("+1", 1, "a value", "$"),
        (".5", 1, "a value", "$"),
        ("-", 2, "a digit", "$"),
        ("1.", 3, "a digit after the point", "$"),
        ("1e+", 4, "a digit in the exponent", "$"),
        ("[1,]", 4, "a value", "$[1]"),
        ("[1 2]", 4, "',' or ']'", "$"),
        ("{\"a\":{\"b\":}}", 11, "a value", "$.a.b"),
        ("{\"a\" 1}", 6, "':' after the key", "$"),
        ("{\"a\":1,}", 8, "a key in quotes", "$"),
        ("{a:1}", 2, "a key in quotes", "$"),
        ("{\"a\":1", 7, "',' or '}'", "$"),
        ("\"abc", 5, "'\"' at the end of the string", "$"),
        ("\"a\\x\"", 4, "an escape", "$"),
        ("\"\\u12g4\"", 6, "four hexadecimal digits", "$"),
        ("\"\\ud800\\u12\"", 12, "four hexadecimal digits", "$"),
        ("\"a\nb\"", 3, "an escape for the control character", "$"),
        ("[\"\u{0}\"]", 3, "an escape for the control character", "$[0]"),
    ] {
        bad(text, &at(column, expected), path);
    }
    for byte in 0..0x20u8 {
        assert!(parse(&format!("\"{}\"", char::from(byte))).is_err(), "{byte}");
    }
    check("\" \u{7f}\u{80}\u{2028}\"", "\" \u{7f}\u{80}\u{2028}\"");
}

/// Values that `serde_json` holds exactly.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        texts().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(texts(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Strings with more than their share of what needs care.
fn texts() -> impl Strategy<Value = String> {
    let special = "\0\u{1}\u{8}\t\n\u{c}\r\u{1f} \"/\\a~\u{7f}\u{80}é\u{2028}\u{ffff}\u{10000}🚀";
    let special: Vec<char> = special.chars().collect();
    let character = prop_oneof![any::<char>(), prop::sample::select(special)];
    prop::collection::vec(character, 0..8).prop_map(String::from_iter)
}

/// The same value in another text: space wherever it may be, each character escaped, and each
/// object with a first member that a later one replaces.
fn verbose(value: &Value) -> String {
    let quoted = |text: &str| {
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
        format!("\"{units}\"")
    };
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            format!("[\r{} ]", items.iter().map(verbose).collect::<Vec<_>>().join("\t, "))
        }
        Value::Object(members) => {
            let member = |(key, item): (&String, &Value)| quoted(key) + " :\n" + &verbose(item);
            let replaced = members.keys().map(|key| quoted(key) + ":[1.5]");
            let all: Vec<_> = replaced.chain(members.iter().map(member)).collect();
            format!("{{ {} }}", all.join(" ,"))
        }
        other => other.to_string(),
    }
}

/// Texts that are nearly JSON.
fn almost_json() -> impl Strategy<Value = String> {
    let pieces = "[ ] { } : , \" \"a\" 0 1 - . e E + \\ u d800 dc00 \\u0041 true null x \u{1} é";
    let pieces: Vec<&str> = pieces.split(' ').chain([" "]).collect();
    prop::collection::vec(prop::sample::select(pieces), 0..12).prop_map(|list| list.concat())
}

proptest! {
    #![proptest_config(common::cases(512))]

    #[test]
    fn one_value_has_one_text_however_it_was_written(value in values()) {
        let text = value.to_string(); // serde_json: sorted keys, no space, the same escapes
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        for source in [&text, &pretty, &verbose(&value)] {
            let parsed = parse(source).unwrap();
            prop_assert_eq!(&canonical(&parsed), &text);
            let borrowed = borrow(source).unwrap();
            prop_assert_eq!(&canonical(&borrowed), &text);
            prop_assert_eq!(&borrowed.map(&Cow::into_owned), &parsed);
            prop_assert_eq!(parse(&text).unwrap(), parsed);
        }
    }

    #[test]
    fn what_is_json_is_what_serde_json_takes(text in almost_json()) {
        let borrowed = borrow(&text).map(|value| canonical(&value));
        prop_assert_eq!(borrowed, parse(&text).map(|value| canonical(&value)));
        match (parse(&text), serde_json::from_str::<Value>(&text)) {
            (Ok(ours), Ok(theirs)) if ours.first_non_integer().is_none() => {
                prop_assert_eq!(canonical(&ours), theirs.to_string());
            }
            (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("out of range")),
            (ours, theirs) => prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}", text),
        }
    }

    #[test]
    fn big_integers_survive_a_round_trip(digits in "-?[1-9][0-9]{0,60}") {
        prop_assert_eq!(parse(&digits).unwrap(), Json::Number(digits.clone()));
        prop_assert_eq!(canonical(&parse(&digits).unwrap()), digits);
    }

    #[test]
    fn a_digest_string_is_a_canonical_one_with_the_rest_escaped(text in texts()) {
        let escape = |character: char| {
            let units = character.encode_utf16(&mut [0; 2]).to_vec();
            units.into_iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>()
        };
        let expected: String = serde_json::to_string(&text).unwrap().chars()
            .map(|c| if (' '..='~').contains(&c) { c.to_string() } else { escape(c) })
            .collect();
        let mut found = String::new();
        ascii_string(&text, &mut found);
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(parse(&found).unwrap(), Json::String(text));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = parse(&text);
        prop_assert!(parse_line(&text, &text, Keeping::LogSeq).is_err());
    }

    #[test]
    fn no_damage_to_an_event_makes_it_panic(
        kind in prop::sample::select(EventType::ALL.to_vec()),
        at in any::<prop::sample::Index>(),
        length in 0..4usize,
        patch in prop_oneof![any::<String>(), Just("\\u0000".to_owned()), Just("1e999".to_owned())],
    ) {
        let mut text = common::envelope(kind).to_string();
        let at = at.index(text.len());
        text.replace_range(at..(at + length).min(text.len()), &patch);
        for keeping in [Keeping::NewNumbers, Keeping::LogSeq] {
            if let Ok(line) = parse_line(&text, "house", keeping) {
                let again = parse(&line.event.payload).unwrap();
                prop_assert_eq!(canonical(&again), line.event.payload);
            }
        }
    }
}
