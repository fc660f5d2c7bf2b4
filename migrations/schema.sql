-- What the migrations make, by pg_dump 15: to read, never to run. Written by
-- DECISIONGRAPH_TEST_WRITE_SCHEMA=1 cargo test -p dg-tests --test store_schema
CREATE FUNCTION public.dg_append(tenant_id text, trace_id text, trace_seq bigint, event_type text, occurred_at text, producer_id text, source_system text, actor_type text, actor_id text, idempotency_key text, payload text, event_id text DEFAULT (gen_random_uuid())::text, source_subsystem text DEFAULT NULL::text, correlation_id text DEFAULT NULL::text, causation_event_id text DEFAULT NULL::text, schema_version integer DEFAULT 1, tags text[] DEFAULT '{}'::text[]) RETURNS bigint
    LANGUAGE plpgsql
    SET enable_sort TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    AS $_$
#variable_conflict use_column
DECLARE
    hash CONSTANT bytea := sha256(convert_to(payload, 'UTF8'));
    labels CONSTANT jsonb := to_jsonb(tags);
    keeps CONSTANT text := current_setting('decisiongraph.keep_log_seq', true);
    head bigint;
    stored record;
    last record;
    expected bigint;
BEGIN
    IF json_typeof(payload::json) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'payload must be a JSON object' USING ERRCODE = 'check_violation';
    ELSIF jsonb_path_exists(labels, 'strict $[*] ? (@.type() != "string")') THEN
        RAISE EXCEPTION 'tags must be a list of strings' USING ERRCODE = 'check_violation';
    ELSIF occurred_at !~ '^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$' THEN
        RAISE EXCEPTION 'occurred_at must be RFC 3339 with an offset' USING ERRCODE = 'invalid_datetime_format';
    END IF;
    INSERT INTO dg_tenant_heads (tenant_id, last_log_seq, event_count)
        VALUES (tenant_id, 0, 0) ON CONFLICT (tenant_id) DO NOTHING;
    SELECT h.last_log_seq INTO head FROM dg_tenant_heads AS h
        WHERE h.tenant_id = dg_append.tenant_id FOR UPDATE;
    -- 1. The key was used. The first at or after it, held against it outside; see the trigger.
    SELECT l.log_seq, l.event_id, (SELECT string_agg(field, ', ') FROM (VALUES
            ('payload_hash', l.payload_hash IS DISTINCT FROM hash),
            ('trace_id', l.trace_id IS DISTINCT FROM dg_append.trace_id),
            ('event_type', l.event_type IS DISTINCT FROM dg_append.event_type),
            ('source', (l.source_system, l.source_subsystem)
                IS DISTINCT FROM (dg_append.source_system, dg_append.source_subsystem)),
            ('actor', (l.actor_type, l.actor_id) IS DISTINCT FROM (dg_append.actor_type, dg_append.actor_id)),
            ('correlation_id', l.correlation_id IS DISTINCT FROM dg_append.correlation_id),
            ('causation_event_id', l.causation_event_id IS DISTINCT FROM dg_append.causation_event_id),
            ('schema_version', l.schema_version IS DISTINCT FROM dg_append.schema_version),
            ('tags', l.tags IS DISTINCT FROM labels)) AS compared (field, differs) WHERE differs) AS differing
        INTO stored
        FROM (SELECT * FROM dg_event_log AS e
            WHERE e.tenant_id = dg_append.tenant_id AND e.producer_id = dg_append.producer_id
                AND e.idempotency_key >= dg_append.idempotency_key
            ORDER BY e.idempotency_key LIMIT 1) AS l
        WHERE l.idempotency_key = dg_append.idempotency_key;
    IF stored.differing IS NOT NULL THEN
        RAISE EXCEPTION 'idempotency_key ''%'' was used for event ''%'', which differs in %',
            idempotency_key, stored.event_id, stored.differing USING ERRCODE = 'DG003';
    ELSIF FOUND THEN
        RETURN stored.log_seq;
    END IF;
    -- 2. and 3. The trace goes on, and with this event.
    SELECT l.trace_seq, l.event_type INTO last FROM dg_event_log AS l
        WHERE l.tenant_id = dg_append.tenant_id AND l.trace_id = dg_append.trace_id
        ORDER BY l.trace_seq DESC LIMIT 1;
    expected := coalesce(last.trace_seq + 1, 0);
    IF last.event_type = 'TraceFinished' THEN
        RAISE EXCEPTION 'trace ''%'' has finished', trace_id USING ERRCODE = 'DG002';
    ELSIF trace_seq <> expected THEN
        RAISE EXCEPTION 'trace_seq is %, the trace continues with %', trace_seq, expected
            USING ERRCODE = 'DG001';
    ELSIF (event_type = 'TraceStarted') <> (trace_seq = 0) THEN
        RAISE EXCEPTION 'TraceStarted is the first event of a trace, and no other is'
            USING ERRCODE = 'DG001';
    END IF;
    -- 4. The number is given here, whatever the session keeps. Not as a setting of the function: a
    -- parameter that the server does not know could only be one of a superuser's.
    PERFORM set_config('decisiongraph.keep_log_seq', 'off', true);
    -- An event_id that exists is a unique_violation.
    INSERT INTO dg_event_log (tenant_id, log_seq, trace_seq, occurred_at_utc, schema_version, event_id,
            trace_id, event_type, occurred_at, producer_id, source_system, source_subsystem, actor_type,
            actor_id, idempotency_key, correlation_id, causation_event_id, tags, payload_json, payload_hash)
        VALUES (tenant_id, head + 1, trace_seq, occurred_at::timestamptz, schema_version, event_id,
            trace_id, event_type, occurred_at, producer_id, source_system, source_subsystem, actor_type,
            actor_id, idempotency_key, correlation_id, causation_event_id, labels, payload, hash);
    PERFORM set_config('decisiongraph.keep_log_seq', coalesce(keeps, ''), true);
    RETURN head + 1;
END
$_$;
COMMENT ON FUNCTION public.dg_append(tenant_id text, trace_id text, trace_seq bigint, event_type text, occurred_at text, producer_id text, source_system text, actor_type text, actor_id text, idempotency_key text, payload text, event_id text, source_subsystem text, correlation_id text, causation_event_id text, schema_version integer, tags text[]) IS 'Appends an event, or finds it under its idempotency key, and gives its log_seq. Call it with named arguments.';
CREATE FUNCTION public.dg_event_log_admit() RETURNS trigger
    LANGUAGE plpgsql
    SET enable_sort TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET jit TO 'off'
    AS $$
DECLARE
    keeps CONSTANT boolean := coalesce(current_setting('decisiongraph.keep_log_seq', true), '') = 'on';
    batch record;
    head record;
    misplaced record;
    others text[];
BEGIN
    -- Nearly always the heads are there, and where they must be. In tenant order, so that two statements over
    -- several tenants cannot wait for each other.
    IF keeps THEN
        SELECT array_agg(DISTINCT tenant_id) INTO others FROM added;
    ELSE
        WITH batches AS MATERIALIZED (
            SELECT tenant_id, min(log_seq) AS low, max(log_seq) AS high, count(*) AS events,
                   max(recorded_at) AS recorded_at
            FROM added GROUP BY tenant_id ORDER BY tenant_id
        ), moved AS (
            UPDATE dg_tenant_heads AS h SET
                last_log_seq = batches.high,
                event_count = h.event_count + batches.events,
                last_recorded_at = batches.recorded_at
            FROM batches
            WHERE h.tenant_id = batches.tenant_id AND h.last_log_seq = batches.low - 1
                AND batches.high - batches.low + 1 = batches.events
            RETURNING h.tenant_id
        )
        SELECT array_agg(tenant_id) INTO others FROM batches
        WHERE tenant_id NOT IN (SELECT moved.tenant_id FROM moved);
    END IF;
    -- Those come after them: of two statements that meet here one may have to be ended, if its tenants are new.
    IF others IS NOT NULL THEN
        FOR batch IN
            SELECT tenant_id, min(log_seq) AS low, max(log_seq) AS high, count(*) AS events,
                   max(recorded_at) AS recorded_at
            FROM added WHERE tenant_id = ANY(others) GROUP BY tenant_id ORDER BY tenant_id
        LOOP
            INSERT INTO dg_tenant_heads (tenant_id, last_log_seq, event_count)
                VALUES (batch.tenant_id, 0, 0) ON CONFLICT (tenant_id) DO NOTHING;
            SELECT * INTO head FROM dg_tenant_heads WHERE tenant_id = batch.tenant_id FOR UPDATE;
            IF keeps THEN
                IF batch.low <= head.last_log_seq OR NOT (head.kept_numbers OR head.event_count = 0) THEN
                    RAISE EXCEPTION 'log_seq % of tenant % cannot be kept: the log ends at %',
                        batch.low, batch.tenant_id, head.last_log_seq USING ERRCODE = 'DG002';
                END IF;
            ELSIF batch.low <> head.last_log_seq + 1 OR batch.high <> head.last_log_seq + batch.events THEN
                RAISE EXCEPTION 'log_seq % of tenant % is not the next: the log ends at %',
                    batch.low, batch.tenant_id, head.last_log_seq USING ERRCODE = 'DG001';
            END IF;
            UPDATE dg_tenant_heads SET
                last_log_seq = batch.high,
                event_count = event_count + batch.events,
                kept_numbers = kept_numbers OR keeps,
                last_recorded_at = batch.recorded_at
            WHERE tenant_id = batch.tenant_id;
        END LOOP;
    END IF;
    -- Who does not follow an event of its statement is held against the log. The predecessor there is
    -- asked for in the order of the key of its trace and held against the rest outside: with equalities,
    -- or with a bound on log_seq, other indexes look as good to a planner without statistics, and it
    -- walks a whole tenant.
    SELECT one.trace_id, one.trace_seq, before.event_type INTO misplaced
    FROM (
        SELECT tenant_id, log_seq, trace_id, trace_seq,
            lag(trace_seq) OVER trace = trace_seq - 1
                AND lag(event_type) OVER trace <> 'TraceFinished'
                AND lag(log_seq) OVER trace < log_seq AS follows
        FROM added
        WINDOW trace AS (PARTITION BY tenant_id, trace_id ORDER BY trace_seq)
    ) AS one LEFT JOIN LATERAL (
        SELECT log.event_type, log.log_seq, log.trace_seq FROM dg_event_log AS log
        WHERE log.tenant_id = one.tenant_id AND log.trace_id = one.trace_id
            AND log.trace_seq < one.trace_seq
        ORDER BY log.trace_seq DESC LIMIT 1
    ) AS before ON true
    WHERE one.trace_seq > 0 AND one.follows IS NOT TRUE
        AND (before.trace_seq IS DISTINCT FROM one.trace_seq - 1
            OR before.event_type = 'TraceFinished' OR before.log_seq > one.log_seq)
    LIMIT 1;
    IF misplaced.event_type = 'TraceFinished' THEN
        RAISE EXCEPTION 'trace % has finished', misplaced.trace_id USING ERRCODE = 'DG002';
    ELSIF misplaced.trace_id IS NOT NULL THEN
        RAISE EXCEPTION 'trace_seq % of trace % does not follow an event of that trace',
            misplaced.trace_seq, misplaced.trace_id USING ERRCODE = 'DG001';
    END IF;
    RETURN NULL;
END
$$;
CREATE TABLE public.dg_cg_edges (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    generation integer NOT NULL,
    log_seq bigint NOT NULL,
    edge_id text NOT NULL COLLATE pg_catalog."C",
    edge_type text NOT NULL COLLATE pg_catalog."C",
    from_node_id text NOT NULL COLLATE pg_catalog."C",
    to_node_id text NOT NULL COLLATE pg_catalog."C",
    trace_id text NOT NULL COLLATE pg_catalog."C",
    created_at text NOT NULL COLLATE pg_catalog."C",
    attrs jsonb DEFAULT '{}'::jsonb NOT NULL
);
CREATE TABLE public.dg_cg_nodes (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    generation integer NOT NULL,
    log_seq bigint NOT NULL,
    node_id text NOT NULL COLLATE pg_catalog."C",
    node_type text NOT NULL COLLATE pg_catalog."C",
    trace_id text NOT NULL COLLATE pg_catalog."C",
    created_at text NOT NULL COLLATE pg_catalog."C",
    attrs jsonb DEFAULT '{}'::jsonb NOT NULL
);
CREATE TABLE public.dg_event_log (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    log_seq bigint NOT NULL,
    trace_seq bigint NOT NULL,
    occurred_at_utc timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone DEFAULT statement_timestamp() NOT NULL,
    schema_version integer DEFAULT 1 NOT NULL,
    event_id text NOT NULL COLLATE pg_catalog."C",
    trace_id text NOT NULL COLLATE pg_catalog."C",
    event_type text NOT NULL COLLATE pg_catalog."C",
    occurred_at text NOT NULL COLLATE pg_catalog."C",
    producer_id text NOT NULL COLLATE pg_catalog."C",
    source_system text NOT NULL COLLATE pg_catalog."C",
    source_subsystem text COLLATE pg_catalog."C",
    actor_type text NOT NULL COLLATE pg_catalog."C",
    actor_id text NOT NULL COLLATE pg_catalog."C",
    idempotency_key text NOT NULL COLLATE pg_catalog."C",
    correlation_id text COLLATE pg_catalog."C",
    causation_event_id text COLLATE pg_catalog."C",
    tags jsonb DEFAULT '[]'::jsonb NOT NULL,
    payload_json text NOT NULL COLLATE pg_catalog."C",
    payload_hash bytea NOT NULL,
    CONSTRAINT dg_event_log_actor CHECK ((actor_type = ANY (ARRAY['agent'::text, 'person'::text, 'role'::text, 'system'::text]))),
    CONSTRAINT dg_event_log_hash CHECK ((octet_length(payload_hash) = 32)),
    CONSTRAINT dg_event_log_key CHECK (((octet_length(idempotency_key) >= 1) AND (octet_length(idempotency_key) <= 200))),
    CONSTRAINT dg_event_log_positive CHECK (((log_seq > 0) AND (trace_seq >= 0) AND (schema_version > 0))),
    CONSTRAINT dg_event_log_starts CHECK (((event_type = 'TraceStarted'::text) = (trace_seq = 0))),
    CONSTRAINT dg_event_log_type CHECK ((event_type = ANY (ARRAY['TraceStarted'::text, 'InputObserved'::text, 'EntityObserved'::text, 'PolicyEvaluated'::text, 'ExceptionRequested'::text, 'ApprovalRecorded'::text, 'PrecedentCited'::text, 'ActionProposed'::text, 'ActionCommitted'::text, 'TraceFinished'::text])))
);
COMMENT ON TABLE public.dg_event_log IS 'The events: append only. Append through the daemon or with dg_append; the trigger holds the rules.';
CREATE TABLE public.dg_policy_eval_index (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    generation integer NOT NULL,
    log_seq bigint NOT NULL,
    index_id text NOT NULL COLLATE pg_catalog."C",
    trace_id text NOT NULL COLLATE pg_catalog."C",
    policy_id text NOT NULL COLLATE pg_catalog."C",
    policy_version text NOT NULL COLLATE pg_catalog."C",
    created_at text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.dg_precedent_index (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    generation integer NOT NULL,
    log_seq bigint NOT NULL,
    source_event_id text NOT NULL COLLATE pg_catalog."C",
    trace_id text NOT NULL COLLATE pg_catalog."C",
    policy_id text NOT NULL COLLATE pg_catalog."C",
    policy_version text NOT NULL COLLATE pg_catalog."C",
    exception_id text COLLATE pg_catalog."C",
    primary_entity_type text NOT NULL COLLATE pg_catalog."C",
    primary_entity_system text COLLATE pg_catalog."C",
    primary_entity_id text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.dg_projection_cursors (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    projection_name text NOT NULL COLLATE pg_catalog."C",
    generation integer NOT NULL,
    partition integer DEFAULT 0 NOT NULL,
    last_log_seq bigint DEFAULT 0 NOT NULL,
    applied_events bigint DEFAULT 0 NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    partitions integer DEFAULT 1 NOT NULL,
    respread_at bigint,
    respread_to integer,
    retired boolean DEFAULT false NOT NULL,
    CONSTRAINT dg_projection_cursors_count CHECK (((applied_events >= 0) AND (applied_events <= last_log_seq))),
    CONSTRAINT dg_projection_cursors_place CHECK (((generation > 0) AND (partition >= 0))),
    CONSTRAINT dg_projection_cursors_respread CHECK ((((respread_at IS NULL) = (respread_to IS NULL)) AND (last_log_seq <= respread_at) AND (respread_to > 0))),
    CONSTRAINT dg_projection_cursors_share CHECK ((partition < partitions))
)
WITH (fillfactor='50');
CREATE TABLE public.dg_projection_digests (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    digest_name text NOT NULL COLLATE pg_catalog."C",
    digest bytea NOT NULL,
    log_seq bigint NOT NULL,
    generation integer,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT dg_projection_digests_digest CHECK ((octet_length(digest) = 32)),
    CONSTRAINT dg_projection_digests_generation CHECK (((digest_name = 'full_projection'::text) = (generation IS NULL))),
    CONSTRAINT dg_projection_digests_name CHECK ((digest_name = ANY (ARRAY['context_graph'::text, 'trace_summary'::text, 'precedent_index'::text, 'full_projection'::text])))
);
CREATE TABLE public.dg_projection_failures (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    failure_id uuid DEFAULT gen_random_uuid() NOT NULL,
    projection_name text NOT NULL COLLATE pg_catalog."C",
    partition integer DEFAULT 0 NOT NULL,
    log_seq bigint,
    trace_id text COLLATE pg_catalog."C",
    event_id text COLLATE pg_catalog."C",
    error_code text NOT NULL COLLATE pg_catalog."C",
    error_message text NOT NULL COLLATE pg_catalog."C",
    recoverable boolean NOT NULL,
    retry_count integer DEFAULT 0 NOT NULL,
    status text DEFAULT 'open'::text NOT NULL COLLATE pg_catalog."C",
    recorded_at timestamp with time zone DEFAULT now() NOT NULL,
    resolved_at timestamp with time zone,
    CONSTRAINT dg_projection_failures_code CHECK ((error_code = ANY (ARRAY['invalid_argument'::text, 'schema_violation'::text, 'pii_policy_violation'::text, 'idempotency_conflict'::text, 'event_sequence_invalid'::text, 'conflict'::text, 'not_found'::text, 'projection_out_of_date'::text, 'storage'::text, 'internal'::text]))),
    CONSTRAINT dg_projection_failures_event CHECK ((((log_seq IS NULL) = (event_id IS NULL)) AND ((log_seq IS NULL) = (trace_id IS NULL)))),
    CONSTRAINT dg_projection_failures_resolved CHECK (((status = 'resolved'::text) = (resolved_at IS NOT NULL))),
    CONSTRAINT dg_projection_failures_retries CHECK ((retry_count >= 0)),
    CONSTRAINT dg_projection_failures_status CHECK ((status = ANY (ARRAY['open'::text, 'resolved'::text])))
);
CREATE TABLE public.dg_projection_run_steps (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    run_id uuid NOT NULL,
    projection_name text NOT NULL COLLATE pg_catalog."C",
    step integer NOT NULL,
    generation integer,
    since_applied bigint,
    processed_events bigint DEFAULT 0 NOT NULL,
    last_log_seq bigint DEFAULT 0 NOT NULL,
    compared_log_seq bigint,
    digest bytea,
    digest_before bytea,
    difference text COLLATE pg_catalog."C",
    not_compared text COLLATE pg_catalog."C",
    switched_at timestamp with time zone,
    switch_ms bigint,
    finished_at timestamp with time zone,
    CONSTRAINT dg_projection_run_steps_compared CHECK ((((compared_log_seq IS NULL) = (digest IS NULL)) AND ((digest IS NULL) = (digest_before IS NULL)))),
    CONSTRAINT dg_projection_run_steps_counts CHECK (((step >= 0) AND (processed_events >= 0) AND (last_log_seq >= 0))),
    CONSTRAINT dg_projection_run_steps_digests CHECK (((octet_length(digest) = 32) AND (octet_length(digest_before) = 32))),
    CONSTRAINT dg_projection_run_steps_name CHECK ((projection_name = ANY (ARRAY['context_graph'::text, 'trace_summary'::text, 'precedent_index'::text])))
)
WITH (fillfactor='70');
CREATE TABLE public.dg_projection_runs (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    run_id uuid DEFAULT gen_random_uuid() NOT NULL,
    projection_name text NOT NULL COLLATE pg_catalog."C",
    mode text NOT NULL COLLATE pg_catalog."C",
    status text DEFAULT 'queued'::text NOT NULL COLLATE pg_catalog."C",
    phase text COLLATE pg_catalog."C",
    reason text NOT NULL COLLATE pg_catalog."C",
    requested_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    since_log_seq bigint DEFAULT 0 NOT NULL,
    until_log_seq bigint,
    processed_events bigint DEFAULT 0 NOT NULL,
    last_log_seq bigint DEFAULT 0 NOT NULL,
    total_events bigint,
    error_code text COLLATE pg_catalog."C",
    error_message text COLLATE pg_catalog."C",
    dry_run boolean DEFAULT false NOT NULL,
    requested_by text COLLATE pg_catalog."C",
    owner text COLLATE pg_catalog."C",
    seen_at timestamp with time zone,
    work_ms bigint DEFAULT 0 NOT NULL,
    CONSTRAINT dg_projection_runs_counts CHECK (((since_log_seq >= 0) AND (processed_events >= 0) AND (last_log_seq >= 0) AND (until_log_seq >= since_log_seq))),
    CONSTRAINT dg_projection_runs_dry CHECK (((NOT dry_run) OR (mode = 'rebuild'::text))),
    CONSTRAINT dg_projection_runs_error CHECK ((((status = 'failed'::text) = (error_code IS NOT NULL)) AND ((error_code IS NULL) = (error_message IS NULL)))),
    CONSTRAINT dg_projection_runs_finished CHECK (((status = ANY (ARRAY['completed'::text, 'failed'::text, 'cancelled'::text])) = (finished_at IS NOT NULL))),
    CONSTRAINT dg_projection_runs_mode CHECK ((mode = ANY (ARRAY['replay'::text, 'rebuild'::text]))),
    CONSTRAINT dg_projection_runs_name CHECK ((projection_name = ANY (ARRAY['context_graph'::text, 'trace_summary'::text, 'precedent_index'::text, 'all'::text]))),
    CONSTRAINT dg_projection_runs_owner CHECK (((status <> 'running'::text) OR ((owner IS NOT NULL) AND (seen_at IS NOT NULL)))),
    CONSTRAINT dg_projection_runs_reason CHECK ((btrim(reason) <> ''::text)),
    CONSTRAINT dg_projection_runs_started CHECK (((status <> ALL (ARRAY['running'::text, 'completed'::text])) OR (started_at IS NOT NULL))),
    CONSTRAINT dg_projection_runs_status CHECK ((status = ANY (ARRAY['queued'::text, 'running'::text, 'completed'::text, 'failed'::text, 'cancelled'::text, 'interrupted'::text])))
);
CREATE TABLE public.dg_projections (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    projection_name text NOT NULL COLLATE pg_catalog."C",
    active_generation integer DEFAULT 1 NOT NULL,
    CONSTRAINT dg_projections_generation CHECK ((active_generation > 0)),
    CONSTRAINT dg_projections_name CHECK ((projection_name = ANY (ARRAY['context_graph'::text, 'trace_summary'::text, 'precedent_index'::text])))
);
CREATE TABLE public.dg_schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum bytea NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL,
    binary_version text NOT NULL
);
CREATE TABLE public.dg_tenant_heads (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    last_log_seq bigint NOT NULL,
    event_count bigint NOT NULL,
    kept_numbers boolean DEFAULT false NOT NULL,
    last_recorded_at timestamp with time zone,
    CONSTRAINT dg_tenant_heads_count CHECK (((event_count >= 0) AND (event_count <= last_log_seq))),
    CONSTRAINT dg_tenant_heads_empty CHECK (((event_count = 0) = (last_recorded_at IS NULL))),
    CONSTRAINT dg_tenant_heads_name_trimmed CHECK (((tenant_id <> ''::text) AND (tenant_id = btrim(tenant_id)))),
    CONSTRAINT dg_tenant_heads_no_gaps CHECK ((kept_numbers OR (event_count = last_log_seq)))
)
WITH (fillfactor='50');
COMMENT ON TABLE public.dg_tenant_heads IS 'One row a tenant: the end of its log. Locked first by every append; kept by the trigger of dg_event_log.';
CREATE TABLE public.dg_trace_summary (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    generation integer NOT NULL,
    trace_id text NOT NULL COLLATE pg_catalog."C",
    workflow text NOT NULL COLLATE pg_catalog."C",
    title text NOT NULL COLLATE pg_catalog."C",
    primary_entity_type text NOT NULL COLLATE pg_catalog."C",
    primary_entity_system text COLLATE pg_catalog."C",
    primary_entity_id text NOT NULL COLLATE pg_catalog."C",
    outcome text COLLATE pg_catalog."C",
    started_at text NOT NULL COLLATE pg_catalog."C",
    finished_at text COLLATE pg_catalog."C",
    event_count bigint NOT NULL,
    last_log_seq bigint NOT NULL
)
WITH (fillfactor='70');
ALTER TABLE ONLY public.dg_cg_edges
    ADD CONSTRAINT dg_cg_edges_pkey PRIMARY KEY (tenant_id, generation, edge_id);
ALTER TABLE ONLY public.dg_cg_nodes
    ADD CONSTRAINT dg_cg_nodes_pkey PRIMARY KEY (tenant_id, generation, node_id);
ALTER TABLE ONLY public.dg_event_log
    ADD CONSTRAINT dg_event_log_event_id UNIQUE (tenant_id, event_id);
ALTER TABLE ONLY public.dg_event_log
    ADD CONSTRAINT dg_event_log_idempotency UNIQUE (tenant_id, producer_id, idempotency_key);
ALTER TABLE ONLY public.dg_event_log
    ADD CONSTRAINT dg_event_log_pkey PRIMARY KEY (tenant_id, log_seq);
ALTER TABLE ONLY public.dg_event_log
    ADD CONSTRAINT dg_event_log_trace_seq UNIQUE (tenant_id, trace_id, trace_seq);
ALTER TABLE ONLY public.dg_policy_eval_index
    ADD CONSTRAINT dg_policy_eval_index_pkey PRIMARY KEY (tenant_id, generation, index_id);
ALTER TABLE ONLY public.dg_precedent_index
    ADD CONSTRAINT dg_precedent_index_pkey PRIMARY KEY (tenant_id, generation, source_event_id);
ALTER TABLE ONLY public.dg_projection_cursors
    ADD CONSTRAINT dg_projection_cursors_pkey PRIMARY KEY (tenant_id, projection_name, generation, partition);
ALTER TABLE ONLY public.dg_projection_digests
    ADD CONSTRAINT dg_projection_digests_pkey PRIMARY KEY (tenant_id, digest_name);
ALTER TABLE ONLY public.dg_projection_failures
    ADD CONSTRAINT dg_projection_failures_pkey PRIMARY KEY (tenant_id, failure_id);
ALTER TABLE ONLY public.dg_projection_run_steps
    ADD CONSTRAINT dg_projection_run_steps_pkey PRIMARY KEY (tenant_id, run_id, projection_name);
ALTER TABLE ONLY public.dg_projection_runs
    ADD CONSTRAINT dg_projection_runs_pkey PRIMARY KEY (tenant_id, run_id);
ALTER TABLE ONLY public.dg_projections
    ADD CONSTRAINT dg_projections_pkey PRIMARY KEY (tenant_id, projection_name);
ALTER TABLE ONLY public.dg_schema_migrations
    ADD CONSTRAINT dg_schema_migrations_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.dg_tenant_heads
    ADD CONSTRAINT dg_tenant_heads_pkey PRIMARY KEY (tenant_id);
ALTER TABLE ONLY public.dg_trace_summary
    ADD CONSTRAINT dg_trace_summary_pkey PRIMARY KEY (tenant_id, generation, trace_id);
CREATE INDEX dg_cg_edges_from ON public.dg_cg_edges USING btree (tenant_id, generation, from_node_id, log_seq);
CREATE INDEX dg_cg_edges_to ON public.dg_cg_edges USING btree (tenant_id, generation, to_node_id, log_seq);
CREATE INDEX dg_precedent_index_policy ON public.dg_precedent_index USING btree (tenant_id, generation, policy_id, policy_version);
CREATE INDEX dg_projection_cursors_retired ON public.dg_projection_cursors USING btree (tenant_id, projection_name, generation) WHERE retired;
CREATE UNIQUE INDEX dg_projection_failures_open ON public.dg_projection_failures USING btree (tenant_id, projection_name, partition) WHERE (status = 'open'::text);
CREATE UNIQUE INDEX dg_projection_runs_active ON public.dg_projection_runs USING btree (tenant_id, projection_name) WHERE (status = ANY (ARRAY['queued'::text, 'running'::text]));
CREATE INDEX dg_projection_runs_id ON public.dg_projection_runs USING btree (run_id);
CREATE TRIGGER dg_event_log_admit AFTER INSERT ON public.dg_event_log REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.dg_event_log_admit();
ALTER TABLE ONLY public.dg_projection_cursors
    ADD CONSTRAINT dg_projection_cursors_tenant_id_projection_name_fkey FOREIGN KEY (tenant_id, projection_name) REFERENCES public.dg_projections(tenant_id, projection_name);
ALTER TABLE ONLY public.dg_projection_run_steps
    ADD CONSTRAINT dg_projection_run_steps_tenant_id_run_id_fkey FOREIGN KEY (tenant_id, run_id) REFERENCES public.dg_projection_runs(tenant_id, run_id);
