//! What a dump of our database holds, seen in the script that `pg_restore` makes of it.
//!
//! Pure: it is given the script line by line. Only a dump that was read to its end is told of; whether
//! its rows are true is for `verify` to say, after a restore.

use std::collections::{BTreeMap, BTreeSet};

use dg_projections::Code;
use dg_projections::hash::Hash;

use crate::migrate::{Drift, drift, migrations};
use crate::{StoreError, rows};

const LOG: &str = "dg_event_log";
const HEADS: &str = "dg_tenant_heads";
const STEPS: &str = "dg_schema_migrations";
/// What `pg_dump` and `pg_restore` write last.
const END: &str = "-- PostgreSQL database dump complete";

/// Reads a script.
#[derive(Debug, Default)]
pub struct DumpReader {
    /// The table whose rows are coming.
    copying: Option<String>,
    /// How many rows each has.
    tables: BTreeMap<String, u64>,
    steps: Vec<String>,
    is_complete: bool,
}

/// What there is in a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dumped {
    /// The version of its schema.
    pub version: i32,
    /// What this binary does not know of it.
    pub drift: Option<Drift>,
    /// Events in the log.
    pub events: u64,
    /// Tenants.
    pub tenants: u64,
}

impl DumpReader {
    /// Takes the next line.
    pub fn line(&mut self, line: &str) {
        let Some(table) = &self.copying else {
            if let Some(table) = copied(line) {
                self.tables.insert(table.to_owned(), 0);
                self.copying = Some(table.to_owned());
            }
            self.is_complete |= line == END;
            return;
        };
        if line == "\\." {
            self.copying = None;
            return;
        }
        if table == STEPS {
            self.steps.push(line.to_owned());
        }
        *self.tables.entry(table.clone()).or_default() += 1;
    }

    /// What was in it, once all lines were taken.
    ///
    /// # Errors
    /// `invalid_argument` when it breaks off, is not of our database, or lacks a part of it.
    pub fn finish(self) -> Result<Dumped, StoreError> {
        let refuse = |why: String| Err(StoreError::new(Code::InvalidArgument, why));
        if !self.is_complete || self.copying.is_some() {
            return refuse("it breaks off before its end".to_owned());
        }
        if self.steps.is_empty() {
            return refuse("it holds no database of ours: no rows of dg_schema_migrations".into());
        }
        let mut steps = self.steps.iter().map(|line| step(line)).collect::<Result<Vec<_>, _>>()?;
        steps.sort_by_key(|step| step.0);
        let version = steps.last().map_or(0, |step| step.0);
        let missing: Vec<&str> = tables_of(version)
            .into_iter()
            .filter(|name| !self.tables.contains_key(*name))
            .collect();
        if !missing.is_empty() {
            return refuse(format!("it lacks the rows of {}", missing.join(", ")));
        }
        let drift = steps
            .into_iter()
            .find_map(|(version, name, checksum, release)| drift(version, name, checksum, release));
        let rows = |table| self.tables.get(table).copied().unwrap_or(0);
        Ok(Dumped { version, drift, events: rows(LOG), tenants: rows(HEADS) })
    }
}

/// The table of a line `COPY public.dg_event_log (tenant_id, ...) FROM stdin;`.
fn copied(line: &str) -> Option<&str> {
    let name = line.strip_suffix(" FROM stdin;")?.strip_prefix("COPY ")?.split(' ').next()?;
    Some(name.rsplit('.').next().unwrap_or(name))
}

/// A row of dg_schema_migrations: version, name, checksum, release.
fn step(line: &str) -> Result<(i32, String, Hash, String), StoreError> {
    let fields: Vec<&str> = line.split('\t').collect();
    let read = || {
        let [version, name, checksum, _, release] = fields[..] else { return None };
        let hex = checksum.strip_prefix("\\\\x")?;
        let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
        let bytes = (0..hex.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>()?;
        let checksum = rows::hash(&bytes).ok()?;
        Some((version.parse().ok()?, name.to_owned(), checksum, release.to_owned()))
    };
    let message = || format!("a row of {STEPS} cannot be read: {line}");
    read().ok_or_else(|| StoreError::new(Code::InvalidArgument, message()))
}

/// The tables that the steps up to this one make.
fn tables_of(version: i32) -> BTreeSet<&'static str> {
    let steps = migrations().iter().filter(|step| step.version <= version);
    let made = |line: &'static str| line.strip_prefix("CREATE TABLE ")?.split(' ').next();
    steps.flat_map(|step| step.sql.lines().filter_map(made)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checksum(version: usize) -> String {
        migrations()[version - 1].checksum().0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The script of a dump of this schema, with two events of one tenant.
    fn script(version: usize) -> Vec<String> {
        let mut lines = vec!["--".to_owned()];
        for table in tables_of(version as i32).into_iter().chain([STEPS]) {
            lines.push(format!("COPY public.{table} (a, b) FROM stdin;"));
            match table {
                LOG => lines.extend(["a\t1\tCOPY x FROM stdin;".to_owned(), "a\t2".to_owned()]),
                HEADS => lines.push("a\t2".to_owned()),
                STEPS => lines.extend((1..=version).map(|one| {
                    let name = migrations()[one - 1].name;
                    format!("{one}\t{name}\t\\\\x{}\t2026-11-21 09:00:00+00\t0.1.0", checksum(one))
                })),
                _ => {}
            }
            lines.push("\\.".to_owned());
        }
        lines.push(END.to_owned());
        lines
    }

    fn read(lines: &[String]) -> Result<Dumped, String> {
        let mut reader = DumpReader::default();
        lines.iter().for_each(|line| reader.line(line));
        reader.finish().map_err(|error| error.message)
    }

    #[test]
    fn a_whole_dump_of_each_schema_is_told_of() {
        for version in 1..=migrations().len() {
            let expected = Dumped { version: version as i32, drift: None, events: 2, tenants: 1 };
            assert_eq!(read(&script(version)), Ok(expected), "{version}");
        }
    }

    #[test]
    fn what_breaks_off_anywhere_is_refused() {
        let whole = script(migrations().len());
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).unwrap_err().contains("breaks off"), "{end}");
        }
    }

    #[test]
    fn what_is_not_ours_or_lacks_a_table_is_refused() {
        assert!(read(&[END.to_owned()]).unwrap_err().contains("no database of ours"));
        let mut lines = script(migrations().len());
        lines.retain(|line| !line.starts_with("COPY public.dg_cg_nodes"));
        assert!(read(&lines).unwrap_err().contains("lacks the rows of dg_cg_nodes"));
    }

    #[test]
    fn a_step_that_is_not_known_or_not_the_same_is_drift() {
        let (mut newer, mut changed) = (script(6), script(6));
        for line in &mut newer {
            *line = line.replace(&format!("6\t{}", migrations()[5].name), "999\tlater");
        }
        let drift = read(&newer).unwrap().drift.unwrap().to_string();
        assert!(drift.contains("999 (later)"), "{drift}");
        for line in &mut changed {
            *line = line.replace(&checksum(2), &checksum(3));
        }
        let drift = read(&changed).unwrap().drift.unwrap().to_string();
        assert!(drift.contains("step 2"), "{drift}");
    }
}
