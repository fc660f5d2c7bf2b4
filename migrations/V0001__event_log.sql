-- The event log and the heads of its tenants.
--
-- Order a reader can rely on: every insert advances its tenant's head in the same transaction, and
-- the head's row lock is held until that transaction ends. So numbers are handed out in commit
-- order, and once log_seq N of a tenant is visible, nothing smaller will ever appear. A rolled-back
-- insert rolls its numbers back too: there are no gaps.
--
-- tenant_id leads every key: the same statements run where tenants are spread over many servers.

CREATE TABLE dg_tenant_heads (
    tenant_id        text COLLATE "C" NOT NULL,
    last_log_seq     bigint NOT NULL,
    event_count      bigint NOT NULL,
    -- A log that moved house keeps its numbers, gaps included: then the count alone is exact.
    kept_numbers     boolean NOT NULL DEFAULT false,
    last_recorded_at timestamptz,
    PRIMARY KEY (tenant_id),
    CONSTRAINT dg_tenant_heads_name_trimmed CHECK (tenant_id <> '' AND tenant_id = btrim(tenant_id)),
    CONSTRAINT dg_tenant_heads_count CHECK (event_count >= 0 AND event_count <= last_log_seq),
    CONSTRAINT dg_tenant_heads_no_gaps CHECK (kept_numbers OR event_count = last_log_seq),
    CONSTRAINT dg_tenant_heads_empty CHECK ((event_count = 0) = (last_recorded_at IS NULL))
) WITH (fillfactor = 50); -- every append updates its head: room for HOT updates

COMMENT ON TABLE dg_tenant_heads IS
    'One row a tenant: the end of its log. Locked first by every append; kept by the trigger of dg_event_log.';

CREATE TABLE dg_event_log (
    tenant_id          text COLLATE "C" NOT NULL,
    log_seq            bigint NOT NULL,
    trace_seq          bigint NOT NULL,
    occurred_at_utc    timestamptz NOT NULL, -- the instant of occurred_at, for filters
    recorded_at        timestamptz NOT NULL DEFAULT statement_timestamp(),
    schema_version     integer NOT NULL DEFAULT 1,
    event_id           text COLLATE "C" NOT NULL,
    trace_id           text COLLATE "C" NOT NULL,
    event_type         text COLLATE "C" NOT NULL,
    occurred_at        text COLLATE "C" NOT NULL, -- byte for byte as given
    producer_id        text COLLATE "C" NOT NULL,
    source_system      text COLLATE "C" NOT NULL,
    source_subsystem   text COLLATE "C",
    actor_type         text COLLATE "C" NOT NULL,
    actor_id           text COLLATE "C" NOT NULL,
    idempotency_key    text COLLATE "C" NOT NULL,
    correlation_id     text COLLATE "C",
    causation_event_id text COLLATE "C",
    tags               jsonb NOT NULL DEFAULT '[]',
    payload_json       text COLLATE "C" NOT NULL, -- canonical; jsonb could hold neither NUL nor the exact text
    payload_hash       bytea NOT NULL,            -- sha256 of payload_json
    -- A projector's page, and the trigger's order.
    PRIMARY KEY (tenant_id, log_seq),
    -- A trace in order; its end; an event's predecessor.
    CONSTRAINT dg_event_log_trace_seq UNIQUE (tenant_id, trace_id, trace_seq),
    CONSTRAINT dg_event_log_event_id UNIQUE (tenant_id, event_id),
    CONSTRAINT dg_event_log_idempotency UNIQUE (tenant_id, producer_id, idempotency_key),
    CONSTRAINT dg_event_log_positive CHECK (log_seq > 0 AND trace_seq >= 0 AND schema_version > 0),
    CONSTRAINT dg_event_log_starts CHECK ((event_type = 'TraceStarted') = (trace_seq = 0)),
    CONSTRAINT dg_event_log_type CHECK (event_type IN (
        'TraceStarted', 'InputObserved', 'EntityObserved', 'PolicyEvaluated', 'ExceptionRequested',
        'ApprovalRecorded', 'PrecedentCited', 'ActionProposed', 'ActionCommitted', 'TraceFinished')),
    CONSTRAINT dg_event_log_actor CHECK (actor_type IN ('agent', 'person', 'role', 'system')),
    CONSTRAINT dg_event_log_key CHECK (octet_length(idempotency_key) BETWEEN 1 AND 200),
    CONSTRAINT dg_event_log_hash CHECK (octet_length(payload_hash) = 32)
);

COMMENT ON TABLE dg_event_log IS
    'The events: append only. Insert through the daemon, or by hand with log_seq = head + 1; the trigger holds the rules.';

-- What holds for rows inserted by hand as for any other, once a statement and set-based: the head
-- advances without a gap (or, with decisiongraph.keep_log_seq = on, only forwards), each event
-- follows its predecessor, and nothing follows the end of its trace. Uniqueness and the first event
-- are constraints. The error codes DG001 and DG002 are event_sequence_invalid and conflict.
CREATE FUNCTION dg_event_log_admit() RETURNS trigger
    LANGUAGE plpgsql
    -- The transition table has no statistics, and on a fresh database the log has none either: keep
    -- the planner on the order of the log's index.
    SET enable_sort = off
    SET enable_seqscan = off
    SET enable_bitmapscan = off
AS $$
DECLARE
    keeps CONSTANT boolean := coalesce(current_setting('decisiongraph.keep_log_seq', true), '') = 'on';
    batch record;
    head record;
    misplaced record;
BEGIN
    -- In tenant order, so that two statements over several tenants cannot wait for each other.
    FOR batch IN
        SELECT tenant_id, min(log_seq) AS low, max(log_seq) AS high, count(*) AS events,
               max(recorded_at) AS recorded_at
        FROM added GROUP BY tenant_id ORDER BY tenant_id
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

    -- The predecessor, asked for in the order of the key of its trace and held against the rest
    -- outside: with equalities, or with a bound on log_seq, other indexes look as good to a planner
    -- without statistics, and it walks a whole tenant.
    SELECT added.trace_id, added.trace_seq, before.event_type INTO misplaced
    FROM added LEFT JOIN LATERAL (
        SELECT log.event_type, log.log_seq, log.trace_seq FROM dg_event_log AS log
        WHERE log.tenant_id = added.tenant_id AND log.trace_id = added.trace_id
            AND log.trace_seq < added.trace_seq
        ORDER BY log.trace_seq DESC LIMIT 1
    ) AS before ON true
    WHERE added.trace_seq > 0
        AND (before.trace_seq IS DISTINCT FROM added.trace_seq - 1
            OR before.event_type = 'TraceFinished' OR before.log_seq > added.log_seq)
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

CREATE TRIGGER dg_event_log_admit AFTER INSERT ON dg_event_log
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION dg_event_log_admit();
