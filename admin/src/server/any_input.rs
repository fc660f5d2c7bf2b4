//! The parsers of requests, over inputs that nobody thought of: none panics, what was encoded comes
//! back, and what is understood is understood as the JSON parser does.

use dg_projections::json::{self, Json};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use proptest::collection::vec;
use proptest::prelude::*;

use super::elements::elements;
use super::query::{Query, TENANT, encode, segments, tenant};
use super::runs::Wanted;
use super::{respond, routes};

/// A request to this target; none when HTTP itself refuses it.
fn parts(method: &str, target: &str) -> Option<Parts> {
    let request = hyper::Request::builder().method(method).uri(target).body(()).ok()?;
    Some(request.into_parts().0)
}

/// Text out of what means something to the parsers.
fn special() -> impl Strategy<Value = String> {
    vec(
        prop_oneof![
            "[\\[\\]{}\",\\\\ %&=+/?:0-9a-f.\u{0}\né🚀-]",
            any::<char>().prop_map(String::from)
        ],
        0..60,
    )
    .prop_map(|pieces| pieces.concat())
}

/// A document of JSON, nested a little.
fn document() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        special().prop_map(|text| json::canonical(&Json::from(text))),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(" , "))),
            inner.prop_map(|value| format!("{{\"a,]\" : {value}}}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_a_parser_panic(text in special()) {
        let _ = (elements(&text, 10), segments(&text), Wanted::read(&text).is_ok());
        let target = format!("/v1/{}", text.replace(|c: char| !c.is_ascii_graphic(), "%"));
        for method in ["GET", "POST", "BREW"] {
            if let Some(parts) = parts(method, &target) {
                let _ = (routes::find(&parts).is_ok(), Query::of(&parts, &["a", "b"]));
            }
        }
    }

    #[test]
    fn no_member_of_a_run_makes_a_parser_panic(
        member in "mode|reason|dry_run|until_log_seq|projection_name|other",
        value in document(),
    ) {
        let run = r#""mode":"replay","reason":"x","projection_name":"all""#;
        let _ = Wanted::read(&format!("{{{run},\"{member}\":{value}}}")).is_ok();
        let _ = Wanted::read(&format!("{{\"{member}\":{value}}}")).is_ok();
    }

    #[test]
    fn segments_come_back_as_they_were_encoded(names in vec("[^\u{0}]{1,12}", 1..5)) {
        let path: String = names.iter().map(|name| format!("/{}", encode(name))).collect();
        prop_assert_eq!(segments(&path).unwrap(), names);
    }

    #[test]
    fn parameters_come_back_as_they_were_encoded(a in "[^\u{0}]{0,30}", b in "[^\u{0}]{0,30}") {
        let parts = parts("GET", &format!("/v1/x?b={}&a={}", encode(&b), encode(&a))).unwrap();
        let query = Query::of(&parts, &["a", "b"]).unwrap();
        prop_assert_eq!((query.text("a"), query.text("b")), (Some(a), Some(b)));
    }

    #[test]
    fn headers_of_any_bytes_are_taken_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
        let with = |name| HeaderMap::from_iter([(HeaderName::from_static(name), value.clone())]);
        if let Ok(tenant) = tenant(&with(TENANT)) {
            prop_assert!(!tenant.trim().is_empty() && !tenant.contains('\0'));
        }
        let id = respond::request_id(&with("x-request-id"));
        prop_assert!(HeaderValue::from_str(&id).is_ok() && (1..=128).contains(&id.len()));
    }

    #[test]
    fn an_array_is_split_into_the_elements_that_the_parser_sees(items in vec(document(), 0..8)) {
        let text = format!(" [{}]\n", items.join(","));
        let found = elements(&text, 100).unwrap();
        let parsed: Vec<Json> = found.iter().map(|one| json::parse(one).unwrap()).collect();
        prop_assert_eq!(Json::Array(parsed), json::parse(&text).unwrap());
    }
}
