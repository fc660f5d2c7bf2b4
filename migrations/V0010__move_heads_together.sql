-- The rules of V0009, with all heads moved by one statement: one by one was a quarter of what a statement over 64
-- tenants cost.

CREATE OR REPLACE FUNCTION dg_event_log_admit() RETURNS trigger
    LANGUAGE plpgsql
    -- The transition table has no statistics, and on a fresh database the log has none either: keep
    -- the planner on the order of the log's index, and on a look-up for each head.
    SET enable_sort = off
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET jit = off -- see V0008
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

