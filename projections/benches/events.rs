//! What an event costs before and after the database, in nanoseconds: criterion's `thrpt` is events a
//! second, its `time` is that of the 64 events of `standard.jsonl` (`decisiongraph generate --traces 8`).
//!
//! `cargo bench -p dg-projections`; a name after `--` measures that alone.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dg_projections::event::{DEFAULT_TENANT, Event, Keeping, LogEvent, parse_line};
use dg_projections::hash::Hash;
use dg_projections::json::{canonical, parse};
use dg_projections::model::Model;
use dg_projections::projection::{Projection, Traces, project};

const LINES: &str = include_str!("standard.jsonl");

fn event(line: &str) -> Event {
    parse_line(line, DEFAULT_TENANT, Keeping::NewNumbers).unwrap().event
}

fn events(c: &mut Criterion) {
    let log: Vec<LogEvent> =
        (1..).zip(LINES.lines()).map(|(at, line)| LogEvent::from_event(&event(line), at)).collect();
    let parsed: Vec<_> = log.iter().map(|event| parse(&event.payload).unwrap()).collect();
    let mut model = Model::new();
    model.apply_all(&log).unwrap();

    let mut group = c.benchmark_group("event");
    group.throughput(Throughput::Elements(log.len() as u64));
    group.bench_function("decode", |b| {
        b.iter(|| LINES.lines().map(event).for_each(|event| drop(black_box(event))));
    });
    group.bench_function("canonical_json", |b| {
        b.iter(|| parsed.iter().for_each(|json| drop(black_box(canonical(json)))));
    });
    group.bench_function("hash", |b| {
        b.iter(|| {
            log.iter().for_each(|event| {
                black_box(Hash::of(event.payload.as_bytes()));
            });
        });
    });
    for projection in Projection::ALL {
        group.bench_function(format!("project_{projection}"), |b| {
            let fresh = Traces::default;
            b.iter_batched_ref(
                fresh,
                |traces| black_box(project(projection, &log, traces)),
                BatchSize::SmallInput,
            );
        });
    }
    group.bench_function("digest", |b| b.iter(|| black_box(model.tables.digests().unwrap())));
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);
