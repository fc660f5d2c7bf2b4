-- What is derived from the log: which generation of a projection readers see, how far it is, its
-- rows, digests, failures and runs.
--
-- Rows carry a generation: readers and live workers use the active one while a rebuild makes the
-- next beside it.

CREATE TABLE dg_projections (
    tenant_id         text COLLATE "C" NOT NULL,
    projection_name   text COLLATE "C" NOT NULL,
    active_generation integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, projection_name),
    CONSTRAINT dg_projections_name CHECK (projection_name IN ('context_graph', 'trace_summary', 'precedent_index')),
    CONSTRAINT dg_projections_generation CHECK (active_generation > 0)
);

CREATE TABLE dg_projection_cursors (
    tenant_id       text COLLATE "C" NOT NULL,
    projection_name text COLLATE "C" NOT NULL,
    generation      integer NOT NULL,
    partition       integer NOT NULL DEFAULT 0,
    last_log_seq    bigint NOT NULL DEFAULT 0,
    -- At the tail this equals the tenant's event count: the proof that nothing was skipped.
    applied_events  bigint NOT NULL DEFAULT 0,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, projection_name, generation, partition),
    FOREIGN KEY (tenant_id, projection_name) REFERENCES dg_projections,
    CONSTRAINT dg_projection_cursors_place CHECK (generation > 0 AND partition >= 0),
    CONSTRAINT dg_projection_cursors_count CHECK (applied_events >= 0 AND applied_events <= last_log_seq)
) WITH (fillfactor = 50); -- every commit updates its cursor

CREATE TABLE dg_cg_nodes (
    tenant_id  text COLLATE "C" NOT NULL,
    generation integer NOT NULL,
    log_seq    bigint NOT NULL,
    node_id    text COLLATE "C" NOT NULL,
    node_type  text COLLATE "C" NOT NULL,
    trace_id   text COLLATE "C" NOT NULL,
    created_at text COLLATE "C" NOT NULL, -- the event's occurred_at as given
    attrs      jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant_id, generation, node_id)
);

CREATE TABLE dg_cg_edges (
    tenant_id    text COLLATE "C" NOT NULL,
    generation   integer NOT NULL,
    log_seq      bigint NOT NULL,
    edge_id      text COLLATE "C" NOT NULL,
    edge_type    text COLLATE "C" NOT NULL,
    from_node_id text COLLATE "C" NOT NULL,
    to_node_id   text COLLATE "C" NOT NULL,
    trace_id     text COLLATE "C" NOT NULL,
    created_at   text COLLATE "C" NOT NULL,
    attrs        jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant_id, generation, edge_id)
);
-- The edges of a node, page by page, and the frontier of a subgraph.
CREATE INDEX dg_cg_edges_from ON dg_cg_edges (tenant_id, generation, from_node_id, log_seq);
CREATE INDEX dg_cg_edges_to ON dg_cg_edges (tenant_id, generation, to_node_id, log_seq);

CREATE TABLE dg_trace_summary (
    tenant_id             text COLLATE "C" NOT NULL,
    generation            integer NOT NULL,
    trace_id              text COLLATE "C" NOT NULL,
    workflow              text COLLATE "C" NOT NULL,
    title                 text COLLATE "C" NOT NULL,
    primary_entity_type   text COLLATE "C" NOT NULL,
    primary_entity_system text COLLATE "C",
    primary_entity_id     text COLLATE "C" NOT NULL,
    outcome               text COLLATE "C",
    started_at            text COLLATE "C" NOT NULL,
    finished_at           text COLLATE "C",
    event_count           bigint NOT NULL,
    last_log_seq          bigint NOT NULL,
    PRIMARY KEY (tenant_id, generation, trace_id)
) WITH (fillfactor = 70); -- a trace's end updates its row in place

CREATE TABLE dg_policy_eval_index (
    tenant_id      text COLLATE "C" NOT NULL,
    generation     integer NOT NULL,
    log_seq        bigint NOT NULL,
    index_id       text COLLATE "C" NOT NULL,
    trace_id       text COLLATE "C" NOT NULL,
    policy_id      text COLLATE "C" NOT NULL,
    policy_version text COLLATE "C" NOT NULL,
    created_at     text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, generation, index_id)
);

CREATE TABLE dg_precedent_index (
    tenant_id             text COLLATE "C" NOT NULL,
    generation            integer NOT NULL,
    log_seq               bigint NOT NULL,
    source_event_id       text COLLATE "C" NOT NULL,
    trace_id              text COLLATE "C" NOT NULL,
    policy_id             text COLLATE "C" NOT NULL,
    policy_version        text COLLATE "C" NOT NULL,
    exception_id          text COLLATE "C",
    primary_entity_type   text COLLATE "C" NOT NULL,
    primary_entity_system text COLLATE "C",
    primary_entity_id     text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, generation, source_event_id)
);
-- Precedents of a policy.
CREATE INDEX dg_precedent_index_policy ON dg_precedent_index (tenant_id, generation, policy_id, policy_version);

CREATE TABLE dg_projection_digests (
    tenant_id   text COLLATE "C" NOT NULL,
    digest_name text COLLATE "C" NOT NULL,
    digest      bytea NOT NULL,
    log_seq     bigint NOT NULL, -- the cursor it stands for
    generation  integer,         -- of the rows; none for full_projection, which spans three
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, digest_name),
    CONSTRAINT dg_projection_digests_name CHECK (
        digest_name IN ('context_graph', 'trace_summary', 'precedent_index', 'full_projection')),
    CONSTRAINT dg_projection_digests_generation CHECK ((digest_name = 'full_projection') = (generation IS NULL)),
    CONSTRAINT dg_projection_digests_digest CHECK (octet_length(digest) = 32)
);

CREATE TABLE dg_projection_failures (
    tenant_id       text COLLATE "C" NOT NULL,
    failure_id      uuid NOT NULL DEFAULT gen_random_uuid(),
    projection_name text COLLATE "C" NOT NULL,
    partition       integer NOT NULL DEFAULT 0,
    log_seq         bigint, -- none: no event is to blame
    trace_id        text COLLATE "C",
    event_id        text COLLATE "C",
    error_code      text COLLATE "C" NOT NULL,
    error_message   text COLLATE "C" NOT NULL,
    recoverable     boolean NOT NULL,
    retry_count     integer NOT NULL DEFAULT 0,
    status          text COLLATE "C" NOT NULL DEFAULT 'open',
    recorded_at     timestamptz NOT NULL DEFAULT now(),
    resolved_at     timestamptz,
    PRIMARY KEY (tenant_id, failure_id),
    CONSTRAINT dg_projection_failures_code CHECK (error_code IN (
        'invalid_argument', 'schema_violation', 'pii_policy_violation', 'idempotency_conflict',
        'event_sequence_invalid', 'conflict', 'not_found', 'projection_out_of_date', 'storage', 'internal')),
    CONSTRAINT dg_projection_failures_event CHECK ((log_seq IS NULL) = (event_id IS NULL) AND (log_seq IS NULL) = (trace_id IS NULL)),
    CONSTRAINT dg_projection_failures_status CHECK (status IN ('open', 'resolved')),
    CONSTRAINT dg_projection_failures_resolved CHECK ((status = 'resolved') = (resolved_at IS NOT NULL)),
    CONSTRAINT dg_projection_failures_retries CHECK (retry_count >= 0)
);
-- The open failure of a worker: found by each commit, and one at most.
CREATE UNIQUE INDEX dg_projection_failures_open
    ON dg_projection_failures (tenant_id, projection_name, partition) WHERE status = 'open';

CREATE TABLE dg_projection_runs (
    tenant_id        text COLLATE "C" NOT NULL,
    run_id           uuid NOT NULL DEFAULT gen_random_uuid(),
    projection_name  text COLLATE "C" NOT NULL,
    mode             text COLLATE "C" NOT NULL,
    status           text COLLATE "C" NOT NULL DEFAULT 'queued',
    phase            text COLLATE "C",
    reason           text COLLATE "C" NOT NULL,
    requested_at     timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    finished_at      timestamptz,
    since_log_seq    bigint NOT NULL DEFAULT 0,
    until_log_seq    bigint,
    processed_events bigint NOT NULL DEFAULT 0,
    last_log_seq     bigint NOT NULL DEFAULT 0,
    total_events     bigint,
    error_code       text COLLATE "C",
    error_message    text COLLATE "C",
    PRIMARY KEY (tenant_id, run_id),
    CONSTRAINT dg_projection_runs_name CHECK (
        projection_name IN ('context_graph', 'trace_summary', 'precedent_index', 'all')),
    CONSTRAINT dg_projection_runs_mode CHECK (mode IN ('replay', 'rebuild')),
    CONSTRAINT dg_projection_runs_status CHECK (
        status IN ('queued', 'running', 'completed', 'failed', 'cancelled', 'interrupted')),
    CONSTRAINT dg_projection_runs_reason CHECK (btrim(reason) <> ''),
    CONSTRAINT dg_projection_runs_started CHECK (status NOT IN ('running', 'completed') OR started_at IS NOT NULL),
    CONSTRAINT dg_projection_runs_finished CHECK (
        (status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT dg_projection_runs_error CHECK (
        (status = 'failed') = (error_code IS NOT NULL) AND (error_code IS NULL) = (error_message IS NULL)),
    CONSTRAINT dg_projection_runs_counts CHECK (
        since_log_seq >= 0 AND processed_events >= 0 AND last_log_seq >= 0 AND until_log_seq >= since_log_seq)
);
-- One active run for a tenant and projection.
CREATE UNIQUE INDEX dg_projection_runs_active
    ON dg_projection_runs (tenant_id, projection_name) WHERE status IN ('queued', 'running');
