//! `shapes`: `project` and fresh digests of logs that are not the standard one: one trace that holds
//! everything, wide payloads, and entities that all traces share.
//!
//! Each stands beside its own floor, so that a shape that costs us more than it costs Postgres shows.

use std::time::Instant;

use dg_projections::event::DEFAULT_TENANT;

use super::project::caught_up;
use super::stage::Stage;
use super::{Effort, Figure, Sample, fill, median_of};
use crate::failure::Failure;
use crate::generate::{Plan, lines};

/// Entities that all traces share in `hot`.
const HOT: usize = 4;
/// What stands before each identifier of an entity.
const ENTITY: &str = "\"entity_id\":\"";

pub(super) async fn all(
    stage: &Stage,
    effort: Effort,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>, Failure> {
    let standard = Plan::default();
    let long = effort.scaled(100_000).max(8) as u32;
    let long = Plan { traces: 1, events_per_trace: long, ..standard };
    let wide = Plan { traces: effort.scaled(500), payload_bytes: 64 << 10, ..standard };
    let hot = effort.plan(1, 1);
    Ok(vec![
        median_of("project_long_trace", effort, say, || shape(stage, long, as_it_is)).await?,
        median_of("project_wide_payloads", effort, say, || shape(stage, wide, as_it_is)).await?,
        median_of("project_hot_entities", effort, say, || shape(stage, hot, heated)).await?,
    ])
}

async fn shape(stage: &Stage, plan: Plan, made: fn(&str) -> String) -> Result<Sample, Failure> {
    let scene = stage.scene().await?;
    fill(&scene, DEFAULT_TENANT, lines(plan).map(|line| made(&line))).await?;
    let mut sample = caught_up(stage, &scene, plan).await?;
    scene.store.digest_floor(DEFAULT_TENANT).await?;
    let floor = scene.store.digest_floor(DEFAULT_TENANT).await?;
    let started = Instant::now();
    scene.store.compute_digests(DEFAULT_TENANT).await?;
    let ratio = floor.as_secs_f64() / started.elapsed().as_secs_f64().max(1e-9);
    sample.measures.push(("of its floor for digests", ratio));
    stage.clear(scene).await;
    Ok(sample)
}

fn as_it_is(line: &str) -> String {
    line.to_owned()
}

/// The same event about one of few entities.
fn heated(line: &str) -> String {
    let mut parts = line.split(ENTITY);
    let mut hot = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (id, rest) = part.split_once('"').unwrap_or((part, ""));
        let one = id.bytes().map(usize::from).sum::<usize>() % HOT;
        hot.push_str(&format!("{ENTITY}hot-{one}\"{rest}"));
    }
    hot
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn hot_logs_are_valid_and_about_few_entities() {
        let plan = Plan { traces: 50, ..Plan::default() };
        let mut entities = BTreeSet::new();
        for line in lines(plan).map(|line| heated(&line)) {
            super::super::parsed(DEFAULT_TENANT, &line).unwrap();
            let ids = line.split(ENTITY).skip(1).filter_map(|part| part.split('"').next());
            entities.extend(ids.map(str::to_owned));
        }
        assert_eq!(entities.len(), HOT);
    }
}
