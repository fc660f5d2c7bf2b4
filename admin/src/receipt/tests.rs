//! Receipts as they are written, read and compared, as tables.

use super::*;

fn mark(events: u64, text: &str) -> Mark {
    Mark { events, log_seq: events as i64, hash: Hash::of(text.as_bytes()) }
}

fn digests(at: i64, text: &str) -> Vec<(String, Hash, i64)> {
    let names = ["context_graph", "trace_summary", "precedent_index", "full_projection"];
    names.map(|name| (name.to_owned(), Hash::of(text.as_bytes()), at)).to_vec()
}

/// A log of four events, `a` to `d`.
fn checked() -> Checked {
    Checked {
        events: 4,
        last_log_seq: 4,
        computed: digests(4, "x"),
        marks: vec![mark(1, "a"), mark(2, "ab"), mark(3, "abc"), mark(4, "abcd")],
        tables: vec![("dg_cg_nodes", 7), ("dg_policy_eval_index", 2)],
        ..Checked::default()
    }
}

fn identity() -> Identity {
    Identity {
        database: "dg".to_owned(),
        server_version: "15.1".to_owned(),
        system_identifier: Some("7".to_owned()),
        timeline: Some(1),
        is_standby: false,
        is_read_only: false,
    }
}

fn written() -> Json {
    let at = OffsetDateTime::UNIX_EPOCH;
    Witness { tenant: "a", database: &identity(), schema_version: 6, at }.proven(&checked())
}

fn receipt() -> Receipt {
    Receipt::parse(&crate::output::pretty(&written())).unwrap()
}

/// What the comparison comes to, in words.
fn told(here: &Checked) -> String {
    match compare(&receipt(), here) {
        Ok(Sameness { events, since, not_compared }) => {
            format!("{events}+{since} {not_compared:?}")
        }
        Err(parting) => parting.to_string(),
    }
}

#[test]
fn what_was_written_is_read() {
    let receipt = receipt();
    assert_eq!((receipt.tenant_id.as_str(), receipt.end()), ("a", mark(4, "abcd")));
    assert_eq!(receipt.marks, checked().marks);
    assert_eq!(receipt.digests.len(), 4);
    assert_eq!(receipt.rows["dg_cg_nodes"], 7);
}

#[test]
fn marks_that_were_wanted_by_another_are_not_its_own() {
    let marks: Vec<Mark> = [3, 1_500, 3_000].map(|events| mark(events, "x")).to_vec();
    let kept = log(&Checked { events: 3_000, last_log_seq: 3_000, marks, ..Checked::default() });
    let kept: Vec<i64> = kept
        .get("marks")
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .map(|mark| mark.get("events").unwrap().as_i64().unwrap())
        .collect();
    assert_eq!(kept, [3, 1_500, 3_000]);
    assert_eq!(spacing(3_000), 3);
}

#[test]
fn the_first_difference_is_named() {
    let of_log = |marks: &[&str]| {
        let marks = marks.iter().map(|text| mark(text.len() as u64, text));
        let marks: Vec<Mark> = marks.collect();
        let end = *marks.last().unwrap();
        Checked { events: end.events, last_log_seq: end.log_seq, marks, ..checked() }
    };
    assert_eq!(told(&checked()), "4+0 []");
    let changed = told(&of_log(&["a", "aX", "aXc", "aXcd"]));
    assert!(changed.starts_with("log event 2: the receipt has sha256:"), "{changed}");
    assert!(changed.ends_with("; the first 1 events are the same"), "{changed}");
    let shorter = told(&of_log(&["a", "ab"]));
    let expected = "log is shorter: the receipt has 4 events, here is 2 events; the first 2 events are the same";
    assert_eq!(shorter, expected);
    let other = told(&Checked { computed: digests(4, "y"), ..checked() });
    assert!(other.starts_with("digest context_graph at 4: the receipt has sha256:"), "{other}");
    let rows =
        Checked { tables: vec![("dg_cg_nodes", 7), ("dg_policy_eval_index", 3)], ..checked() };
    assert_eq!(told(&rows), "rows dg_policy_eval_index: the receipt has 2, here is 3");
}

#[test]
fn events_between_two_marks_are_named_as_a_range() {
    let mut far = receipt();
    far.marks = vec![mark(1, "a"), mark(4, "abcd")];
    let here = Checked { marks: vec![mark(1, "a"), mark(4, "abXd")], ..checked() };
    let parting = compare(&far, &here).unwrap_err();
    assert_eq!(parting.key, "events 2 to 4");
    assert_eq!((parting.between, parting.same_events), (Some((1, 4)), Some(1)));
}

#[test]
fn a_log_that_has_grown_is_the_same_and_its_digests_are_those_on_the_way() {
    let mut grown = checked();
    (grown.events, grown.last_log_seq, grown.computed) = (5, 5, digests(5, "z"));
    grown.marks.push(mark(5, "abcde"));
    grown.tables.clear();
    assert!(told(&grown).starts_with("4+1 [\"context_graph\""));
    grown.then = digests(4, "x").into_iter().map(|(name, hash, _)| (name, hash)).collect();
    assert_eq!(told(&grown), "4+1 []");
    grown.then = digests(4, "y").into_iter().map(|(name, hash, _)| (name, hash)).collect();
    assert!(told(&grown).starts_with("digest context_graph at 4"));
}

#[test]
fn what_is_no_receipt_is_refused_and_says_why() {
    let whole = crate::output::pretty(&written());
    let failed = Witness {
        tenant: "a",
        database: &identity(),
        schema_version: 6,
        at: OffsetDateTime::UNIX_EPOCH,
    };
    let difference = Difference::from_json(&Json::Null);
    let failed = crate::output::pretty(&failed.different(&difference));
    let table = [
        (String::new(), "no whole receipt"),
        ("{}".to_owned(), "\"format\""),
        (whole[..whole.len() / 2].to_owned(), "no whole receipt"),
        (whole.replace("\"version\": 1", "\"version\": 2"), "has version 2"),
        (whole.replace("\"version\": 1", "\"version\": \"1\""), "\"version\" is missing"),
        (whole.replace("\"event_count\": 4", "\"event_count\": 5"), "log is wrong"),
        (whole.replace("\"events\": 3", "\"events\": 2"), "out of order"),
        (whole.replace("\"rows\"", "\"rowz\""), "rows is wrong"),
        (failed, "a proof that failed"),
    ];
    for (text, why) in table {
        let failure = Receipt::parse(&text).unwrap_err();
        assert!(failure.message.contains(why), "{why}: {}", failure.message);
        assert_eq!((failure.exit, failure.help.is_some()), (4, true), "{why}");
    }
}
