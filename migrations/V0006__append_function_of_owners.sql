-- Appending with SQL: one event, under the rules of an append through the daemon and in their order.
--
-- This takes the place of V0003, which only a superuser could apply: it made a parameter that the server
-- does not know a setting of the function. Now the function sets it itself.
--
-- The head is locked first, as every append does: who calls this waits in line, and what is read
-- behind the lock is the end of the log. A refusal is an error, so it leaves nothing. Over several
-- tenants in one transaction, append in the order of their names, or two of them can wait for each
-- other.
--
-- The caller's duty, as the daemon's is for its own: a payload in canonical form (keys sorted, no
-- white space between, integers only) that has what its event type requires, and no secrets.

CREATE OR REPLACE FUNCTION dg_append(
    tenant_id          text,
    trace_id           text,
    trace_seq          bigint,
    event_type         text,
    occurred_at        text, -- RFC 3339, kept byte for byte
    producer_id        text,
    source_system      text,
    actor_type         text,
    actor_id           text,
    idempotency_key    text,
    payload            text, -- a JSON object; as text, since jsonb could hold neither NUL nor the exact text
    event_id           text DEFAULT gen_random_uuid()::text,
    source_subsystem   text DEFAULT NULL,
    correlation_id     text DEFAULT NULL,
    causation_event_id text DEFAULT NULL,
    schema_version     integer DEFAULT 1,
    tags               text[] DEFAULT '{}'
) RETURNS bigint
    LANGUAGE plpgsql
    -- As for the trigger: each look-up in the order of the one index that has it.
    SET enable_sort = off
    SET enable_seqscan = off
    SET enable_bitmapscan = off
AS $$
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
$$;

COMMENT ON FUNCTION dg_append IS
    'Appends an event, or finds it under its idempotency key, and gives its log_seq. Call it with named arguments.';

COMMENT ON TABLE dg_event_log IS
    'The events: append only. Append through the daemon or with dg_append; the trigger holds the rules.';
