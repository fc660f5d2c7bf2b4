//! Generations that are built in other partitions than they are served in: the switch brings the
//! cursors of the one to those of the other, and nothing else does.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::projection::Projection;
use dg_store::{Committed, Share, Spread, Switched};
use dg_tests::hands::{Rebuild, projected};
use dg_tests::log::{append_all, assert_proven, build_page, catch_up, generated_lines};

const GRAPH: Projection = Projection::ContextGraph;

#[tokio::test]
async fn the_switch_gives_a_generation_the_partitions_it_is_served_in() {
    for (building, serving) in [(1, 3), (4, 1), (3, 2), (2, 2)] {
        let (_database, store, log) = projected(12, 75).await;
        let rebuild = Rebuild::begin(&store, GRAPH, Spread { building, serving }).await;
        assert_eq!(rebuild.switch().await.unwrap(), Switched::Behind);
        rebuild.build().await;
        assert_eq!(rebuild.compared().await.difference, None);
        let built = store.building("a", GRAPH, 2).await.unwrap().cursors;
        assert_eq!(built.len(), building as usize);
        let log_seq = log.len() as i64;
        assert_eq!(rebuild.switch().await.unwrap(), Switched::Done { log_seq });
        let live = store.live_cursors("a", GRAPH).await.unwrap();
        let shares: Vec<i32> = live.iter().map(|cursor| cursor.share.partitions).collect();
        assert_eq!(shares, vec![serving; serving as usize]);
        assert!(live.iter().all(|cursor| cursor.until.is_none() && cursor.last_log_seq == log_seq));
        assert_eq!(live.iter().map(|cursor| cursor.applied_events).sum::<i64>(), log_seq);
        append_all(&store, "a", &generated_lines("a", 6, 8, 76), 8).await;
        // Whoever still has a lane of the build commits nothing under its old number.
        if building != serving {
            let (late, _) = build_page(&store, "a", GRAPH, built[0], 100).await;
            assert_eq!(late, Committed::Superseded);
        }
        let wanted = Share { partition: 0, partitions: serving };
        let cursor = store.open_cursor("a", GRAPH, wanted, true).await.unwrap();
        assert_eq!((cursor.lent, cursor.generation), (false, 2));
        catch_up(&store, "a", 5).await;
        assert_proven(&store, "a").await;
    }
}
