//! Whether all that the migrations made is still there and in force: what was dropped or switched off by
//! hand is recorded nowhere, and neither an index that is gone nor a trigger that sleeps says so.
//!
//! What there should be is read from `migrations/schema.sql`, which a test holds against a fresh schema.

use crate::{Store, StoreError};

const SCHEMA: &str = include_str!("../../migrations/schema.sql");

/// Something that the migrations made.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    kind: &'static str,
    name: String,
    /// The table that it is of; a table and a function are of none.
    table: String,
    /// What makes it, if that fits a line.
    statement: Option<String>,
}

/// Something that the migrations made and that is gone, or not in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// `table`, `index`, `constraint`, `trigger` or `function`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The table that it is of.
    pub table: Option<String>,
    /// How it is, such as `is not there`.
    pub state: String,
    /// What puts it back, if that fits a line.
    pub statement: Option<String>,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)?;
        if let Some(table) = &self.table {
            write!(f, " on {table}")?;
        }
        write!(f, " {}", self.state)
    }
}

/// What a dump of the schema makes: one of its lines is a statement, or a part of one.
fn objects(schema: &str) -> Vec<Object> {
    let mut found = Vec::new();
    // The table that the lines are about: one that is made, or one that something is added to.
    let mut table = "";
    let mut is_made = false;
    for line in schema.lines() {
        let line = line.trim_end_matches([';', ',']);
        let first = |text: &str| text.split([' ', '(']).next().unwrap_or_default().to_owned();
        let after = |start: &str| line.strip_prefix(start).map(first);
        let plain = || line.trim_start().replace("public.", "");
        let mut add = |kind, name: String, table: &str, statement| {
            found.push(Object { kind, name, table: table.to_owned(), statement });
        };
        if let Some(name) = after("CREATE TABLE public.") {
            table = line["CREATE TABLE public.".len()..].split(' ').next().unwrap_or_default();
            is_made = true;
            add("table", name, "", None);
        } else if let Some(rest) = line.strip_prefix("ALTER TABLE ONLY public.") {
            (table, is_made) = (rest, false);
        } else if let Some(name) = after("    CONSTRAINT ").filter(|_| is_made) {
            let statement = format!("ALTER TABLE {table} ADD {}", plain());
            add("constraint", name, table, Some(statement));
        } else if let Some(name) = after("    ADD CONSTRAINT ").filter(|_| !is_made) {
            let statement = format!("ALTER TABLE {table} {}", plain());
            add("constraint", name, table, Some(statement));
        } else if let Some(name) = after("CREATE INDEX ").or_else(|| after("CREATE UNIQUE INDEX "))
        {
            add("index", name, &on(line), Some(plain()));
        } else if let Some(name) = after("CREATE TRIGGER ") {
            add("trigger", name, &on(line), Some(plain()));
        } else if let Some(name) = after("CREATE FUNCTION public.") {
            is_made = false;
            add("function", name, "", None);
        } else if line == ")" {
            is_made = false;
        }
    }
    found
}

/// The table that a statement is about.
fn on(statement: &str) -> String {
    let rest = statement.split_once(" ON public.").map_or("", |(_, rest)| rest);
    rest.split(' ').next().unwrap_or_default().to_owned()
}

const STATES: &str = "SELECT place, CASE kind
        WHEN 'table' THEN
            CASE WHEN to_regclass(name) IS NULL THEN 'is not there' END
        WHEN 'function' THEN
            CASE WHEN NOT EXISTS (SELECT 1 FROM pg_proc AS p
                WHERE p.proname = name AND pg_function_is_visible(p.oid)) THEN 'is not there' END
        WHEN 'index' THEN coalesce((
            SELECT CASE WHEN NOT i.indisvalid THEN 'is not valid' ELSE '' END
            FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
            WHERE i.indrelid = to_regclass(of)::oid AND c.relname = name), 'is not there')
        WHEN 'constraint' THEN coalesce((
            SELECT CASE WHEN NOT c.convalidated THEN 'is not validated' ELSE '' END
            FROM pg_constraint AS c
            WHERE c.conrelid = to_regclass(of)::oid AND c.conname = name), 'is not there')
        ELSE coalesce((
            SELECT CASE WHEN t.tgenabled IN ('D', 'R') THEN 'is switched off' ELSE '' END
            FROM pg_trigger AS t
            WHERE t.tgrelid = to_regclass(of)::oid AND t.tgname = name), 'is not there')
    END
    FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS made (kind, name, of, place)
    WHERE of = '' OR to_regclass(of) IS NOT NULL
    ORDER BY place";

impl Store {
    /// What the migrations made and is gone, or not in force; what belongs to a table that is gone is
    /// not named beside it. Means something where all steps are applied, and none of another release.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn missing_objects(&self) -> Result<Vec<Missing>, StoreError> {
        let made = objects(SCHEMA);
        let kinds: Vec<&str> = made.iter().map(|one| one.kind).collect();
        let names: Vec<&str> = made.iter().map(|one| one.name.as_str()).collect();
        let tables: Vec<&str> = made.iter().map(|one| one.table.as_str()).collect();
        let rows = self.client().await?.query(STATES, &[&kinds, &names, &tables]).await?;
        let mut missing = Vec::new();
        for row in &rows {
            let state: Option<String> = row.try_get(1)?;
            let place: i64 = row.try_get(0)?;
            let Some(state) = state.filter(|state| !state.is_empty()) else { continue };
            missing.extend(made.get(place as usize - 1).map(|one| one.clone().missing(state)));
        }
        Ok(missing)
    }
}

impl Object {
    fn missing(self, state: String) -> Missing {
        let Object { kind, name, table, statement } = self;
        let statement = match state.as_str() {
            "is switched off" => Some(format!("ALTER TABLE {table} ENABLE TRIGGER {name}")),
            "is not valid" => Some(format!("REINDEX INDEX {name}")),
            "is not validated" => Some(format!("ALTER TABLE {table} VALIDATE CONSTRAINT {name}")),
            _ => statement,
        };
        let table = Some(table).filter(|table| !table.is_empty());
        Missing { kind, name, table, state, statement }
    }
}

/// The kind, name and table of everything that there should be, for a test that asks the server for the
/// same.
#[doc(hidden)]
pub fn expected_objects() -> Vec<(&'static str, String, String)> {
    objects(SCHEMA).into_iter().map(|one| (one.kind, one.name, one.table)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_gives_what_it_makes_and_how() {
        let schema = "CREATE FUNCTION public.dg_f(a text) RETURNS text\n    CONSTRAINT none\n\
            CREATE TABLE public.dg_t (\n    a text,\n    CONSTRAINT dg_t_a CHECK ((a <> ''::text)),\n    CONSTRAINT dg_t_b CHECK (true)\n)\n\
            WITH (fillfactor='70');\n\
            ALTER TABLE ONLY public.dg_t\n    ADD CONSTRAINT dg_t_fkey FOREIGN KEY (a) REFERENCES public.dg_u(a);\n\
            CREATE UNIQUE INDEX dg_t_i ON public.dg_t USING btree (a) WHERE (a = 'x'::text);\n\
            CREATE TRIGGER dg_tr AFTER INSERT ON public.dg_t FOR EACH STATEMENT EXECUTE FUNCTION public.dg_f();\n";
        let found = objects(schema);
        let shown: Vec<String> = found
            .iter()
            .map(|it| {
                format!("{} {} {}: {:?}", it.kind, it.name, it.table, it.statement.as_deref())
            })
            .collect();
        let expected = [
            "function dg_f : None",
            "table dg_t : None",
            "constraint dg_t_a dg_t: Some(\"ALTER TABLE dg_t ADD CONSTRAINT dg_t_a CHECK ((a <> ''::text))\")",
            "constraint dg_t_b dg_t: Some(\"ALTER TABLE dg_t ADD CONSTRAINT dg_t_b CHECK (true)\")",
            "constraint dg_t_fkey dg_t: Some(\"ALTER TABLE dg_t ADD CONSTRAINT dg_t_fkey FOREIGN KEY (a) REFERENCES dg_u(a)\")",
            "index dg_t_i dg_t: Some(\"CREATE UNIQUE INDEX dg_t_i ON dg_t USING btree (a) WHERE (a = 'x'::text)\")",
            "trigger dg_tr dg_t: Some(\"CREATE TRIGGER dg_tr AFTER INSERT ON dg_t FOR EACH STATEMENT EXECUTE FUNCTION dg_f()\")",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_is_there_and_not_in_force_has_a_statement_of_its_own() {
        let trigger = objects(SCHEMA).into_iter().find(|one| one.kind == "trigger").unwrap();
        let missing = trigger.missing("is switched off".to_owned());
        assert_eq!(
            missing.to_string(),
            "trigger dg_event_log_admit on dg_event_log is switched off"
        );
        let statement = "ALTER TABLE dg_event_log ENABLE TRIGGER dg_event_log_admit";
        assert_eq!(missing.statement.as_deref(), Some(statement));
    }
}
