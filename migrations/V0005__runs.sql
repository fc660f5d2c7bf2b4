-- Runs: who is at them, what each of their steps builds, and what was found on the way.
--
-- A rebuild makes a generation beside the active one and then takes its place. The cursors of a
-- generation that nobody needs any more are retired: no commit passes a retired cursor, so whoever
-- still writes the generation is stopped, and its rows can go, in slices. The cursors go last.

ALTER TABLE dg_projection_cursors ADD COLUMN retired boolean NOT NULL DEFAULT false;
-- What is to be cleared.
CREATE INDEX dg_projection_cursors_retired
    ON dg_projection_cursors (tenant_id, projection_name, generation) WHERE retired;

ALTER TABLE dg_projection_runs
    ADD COLUMN dry_run      boolean NOT NULL DEFAULT false, -- a rebuild that is compared and not switched to
    ADD COLUMN requested_by text COLLATE "C",
    ADD COLUMN owner        text COLLATE "C", -- the daemon that is or was at it
    ADD COLUMN seen_at      timestamptz,      -- when that daemon last said so
    ADD COLUMN work_ms      bigint NOT NULL DEFAULT 0, -- for how long it ran, over all its lives
    ADD CONSTRAINT dg_projection_runs_dry CHECK (NOT dry_run OR mode = 'rebuild'),
    ADD CONSTRAINT dg_projection_runs_owner
        CHECK (status <> 'running' OR (owner IS NOT NULL AND seen_at IS NOT NULL));
-- A run by its identifier alone.
CREATE INDEX dg_projection_runs_id ON dg_projection_runs (run_id);

-- A run is done projection by projection.
CREATE TABLE dg_projection_run_steps (
    tenant_id        text COLLATE "C" NOT NULL,
    run_id           uuid NOT NULL,
    projection_name  text COLLATE "C" NOT NULL,
    step             integer NOT NULL, -- their order, from 0
    generation       integer,          -- what a rebuild builds
    since_applied    bigint,           -- how many events were applied when a replay began
    processed_events bigint NOT NULL DEFAULT 0,
    last_log_seq     bigint NOT NULL DEFAULT 0,
    -- The comparison of what was built with what was served, at one cursor.
    compared_log_seq bigint,
    digest           bytea, -- of what was built
    digest_before    bytea, -- of what was served
    difference       text COLLATE "C", -- the first one, as JSON
    not_compared     text COLLATE "C", -- why there was nothing to compare with
    switched_at      timestamptz,
    switch_ms        bigint, -- for how long the live workers were kept from their work for it
    finished_at      timestamptz,
    PRIMARY KEY (tenant_id, run_id, projection_name),
    FOREIGN KEY (tenant_id, run_id) REFERENCES dg_projection_runs,
    CONSTRAINT dg_projection_run_steps_name CHECK (
        projection_name IN ('context_graph', 'trace_summary', 'precedent_index')),
    CONSTRAINT dg_projection_run_steps_counts CHECK (
        step >= 0 AND processed_events >= 0 AND last_log_seq >= 0),
    CONSTRAINT dg_projection_run_steps_compared CHECK (
        (compared_log_seq IS NULL) = (digest IS NULL) AND (digest IS NULL) = (digest_before IS NULL)),
    CONSTRAINT dg_projection_run_steps_digests CHECK (
        octet_length(digest) = 32 AND octet_length(digest_before) = 32)
) WITH (fillfactor = 70); -- each checkpoint updates its step
