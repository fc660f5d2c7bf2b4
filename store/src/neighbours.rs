//! Who else serves this database: daemons carry their name into the list of its sessions.
//!
//! Any role sees the sessions of its own login there, so no table and no privilege is needed. What
//! it cannot tell: a daemon that logs in as another role is not seen. A session counts while it has
//! done something of late, which that of a living daemon has: it looks as often as this one. So a
//! session that outlives its daemon, in a pooler or on a host that is gone, soon counts no more.

use crate::{Store, StoreError};

/// What the name of a daemon's sessions begins with.
pub(crate) const PREFIX: &str = "decisiongraph ";
/// `NAMEDATALEN` without the NUL at the end: Postgres cuts longer names.
const MAX_NAME: usize = 63;

/// What a daemon's sessions are called: the end of an owner tells it from others, so the beginning
/// is cut where it is too long. Postgres keeps printable ASCII alone.
pub fn session_name(owner: &str) -> String {
    let printable = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    let owner: String = owner.chars().map(printable).collect();
    let excess = (PREFIX.len() + owner.len()).saturating_sub(MAX_NAME);
    format!("{PREFIX}{}", &owner[excess..])
}

// Twice the interval at which daemons look.
const NEIGHBOURS: &str = "SELECT DISTINCT substr(application_name, length($1) + 1)
    FROM pg_stat_activity
    WHERE datname = current_database() AND starts_with(application_name, $1)
        AND application_name <> $2
        AND (state = 'active' OR state_change > clock_timestamp() - interval '10 s')
    ORDER BY 1";

impl Store {
    /// The owners of other daemons that have been at this database a moment ago.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn neighbours(&self, owner: &str) -> Result<Vec<String>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(NEIGHBOURS).await?;
        let rows = client.query(&statement, &[&PREFIX, &session_name(owner)]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::session_name;

    #[test]
    fn a_session_name_is_one_that_postgres_keeps_and_ends_with_the_process() {
        assert_eq!(session_name("vm:12"), "decisiongraph vm:12");
        assert_eq!(session_name("höst:12"), "decisiongraph h?st:12");
        let long = session_name(&format!("{}:12", "h".repeat(64)));
        assert_eq!((long.len(), long.ends_with("h:12")), (63, true), "{long}");
    }
}
