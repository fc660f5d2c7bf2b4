//! What a projection has worked out goes in together: rows, cursor and failure resolution, or nothing.
//!
//! That is one statement, a transaction by itself, in one turn of the conversation ([`Statement`]). The cursor
//! names the place it starts from and the number of partitions. Nobody else can then write the same partition
//! until the statement ends, and if the cursor has moved already, or the number has changed, or another
//! generation has taken the place of this one, or the batch was read from another history of the database, it
//! writes nothing: [`Committed::Superseded`].
//!
//! Rows in large numbers are copied into their tables behind it, in one transaction with it ([`graph`]). A copy
//! knows no conflict: edges are copied where none is there yet, nodes where the caller takes them to be new,
//! and where that is wrong they are merged instead.

mod graph;
mod rows;
mod statement;

use deadpool_postgres::ClientWrapper;
use dg_projections::projection::{Changes, Projection};

use crate::database::{Object, writing};
use crate::failpoint::{self, Point};
use crate::timeline::Timeline;
use crate::{Cursor, Store, StoreError};
use statement::Statement;

/// A batch to commit.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The projection.
    pub projection: Projection,
    /// The cursor that the batch was read from.
    pub from: Cursor,
    /// The cursor after it.
    pub to: Cursor,
    /// The history that it was read from.
    pub timeline: Timeline,
    /// Its rows.
    pub changes: &'a Changes,
    /// Whether readers see the generation: then the failures that it passes are resolved.
    pub is_live: bool,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// Rows and cursor are in.
    Done {
        /// Failures that the cursor has passed.
        resolved: u64,
    },
    /// Somebody else moved the cursor, the number of partitions is another, the generation is retired,
    /// or the database is no longer the one that was read: nothing was written.
    Superseded,
}

impl Store {
    /// Commits a batch.
    ///
    /// # Errors
    /// When it failed; nothing is in, unless the connection broke around the commit or nobody waited for it
    /// any more: the cursor tells.
    pub async fn commit(&self, batch: &Commit<'_>) -> Result<Committed, StoreError> {
        let mut client = self.client().await?;
        if graph::may_copy_edges(&client, batch).await? {
            match copying(&mut client, batch, Nodes::Merged).await {
                Err(error) if error.is_unique_violation() => {}
                outcome => return outcome,
            }
        }
        merging(&client, batch).await
    }

    /// Commits a batch whose nodes are taken to be new, which takes half the time of merging them; nothing
    /// is in, and none is returned, if one is not, or if its edges are there or few. For what
    /// [`is_worth_copying`].
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn commit_new(&self, batch: &Commit<'_>) -> Result<Option<Committed>, StoreError> {
        let mut client = self.client().await?;
        if !graph::may_copy_edges(&client, batch).await? {
            return Ok(None);
        }
        match copying(&mut client, batch, Nodes::Copied).await {
            Err(error) if error.is_unique_violation() => Ok(None),
            outcome => outcome.map(Some),
        }
    }
}

/// Whether a graph has so many rows that it pays to copy them.
pub fn is_worth_copying(changes: &Changes) -> bool {
    graph::are_many(changes)
}

/// What becomes of nodes where edges are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nodes {
    Merged,
    Copied,
}

async fn merging(client: &ClientWrapper, batch: &Commit<'_>) -> Result<Committed, StoreError> {
    let mut statement = Statement::of(batch);
    statement.put_nodes(batch.changes);
    statement.put_edges(batch.changes);
    statement.put_other_rows(batch.changes);
    let name = batch.projection.as_str();
    failpoint::pass_on(&**client, Point::CommitBefore, name).await?;
    let prepared = client.prepare_cached(&statement.text()).await?;
    let committed = statement.execute(&**client, &prepared).await?;
    if committed != Committed::Superseded {
        failpoint::pass(Point::CommitAfter, name).await?;
    }
    Ok(committed)
}

async fn copying(
    client: &mut Object,
    batch: &Commit<'_>,
    nodes: Nodes,
) -> Result<Committed, StoreError> {
    let mut statement = Statement::of(batch);
    if nodes == Nodes::Merged {
        statement.put_nodes(batch.changes);
    }
    statement.put_other_rows(batch.changes);
    let transaction = writing(client).await?;
    let prepared = transaction.prepare_cached(&statement.text()).await?;
    let committed = statement.execute(&*transaction, &prepared).await?;
    if committed == Committed::Superseded {
        return Ok(committed); // dropping the transaction rolls it back
    }
    if nodes == Nodes::Copied {
        graph::copy_nodes(&transaction, batch).await?;
    }
    graph::copy_edges(&transaction, batch).await?;
    let name = batch.projection.as_str();
    failpoint::pass_on(&*transaction, Point::CommitBefore, name).await?;
    transaction.commit().await?;
    failpoint::pass(Point::CommitAfter, name).await?;
    Ok(committed)
}
