-- Roles: append-only by privilege. Applied by `decisiongraph migrate --roles`, as often as wanted, by
-- whoever owns the tables and may make roles; the embedded Postgres gets them at every start.
--
--   dg_writer     appends: may insert into the log and move its heads, and neither update nor delete an event
--   dg_projector  keeps what is derived from the log: reads the log, writes everything else
--   dg_daemon     both: what the daemon runs as
--   dg_reader     reads everything
--
-- None of them can log in. Give a login role its part: GRANT dg_daemon TO decisiongraph_service;

DO $$
DECLARE
    wanted text;
BEGIN
    -- Roles belong to the whole server: another of its databases may be at this, too, and then
    -- whoever is first has done it for both.
    FOREACH wanted IN ARRAY ARRAY['dg_writer', 'dg_projector', 'dg_daemon', 'dg_reader'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
            END;
        END IF;
    END LOOP;
    FOREACH wanted IN ARRAY ARRAY['dg_writer', 'dg_projector'] LOOP
        IF NOT pg_has_role('dg_daemon', wanted, 'USAGE') THEN
            BEGIN
                EXECUTE format('GRANT %I TO dg_daemon', wanted);
            EXCEPTION WHEN unique_violation OR internal_error THEN NULL;
            END;
        END IF;
    END LOOP;
END
$$;

REVOKE ALL ON dg_event_log, dg_tenant_heads FROM PUBLIC, dg_writer, dg_projector, dg_daemon, dg_reader;
-- UPDATE on the heads is what locking and moving them takes; the trigger keeps them true.
GRANT SELECT, INSERT ON dg_event_log TO dg_writer;
GRANT SELECT, INSERT, UPDATE ON dg_tenant_heads TO dg_writer;
-- It runs with the rights of whoever calls it.
REVOKE ALL ON FUNCTION dg_append FROM PUBLIC, dg_writer, dg_projector, dg_daemon, dg_reader;
GRANT EXECUTE ON FUNCTION dg_append TO dg_writer;

GRANT SELECT ON dg_event_log, dg_tenant_heads TO dg_projector;
GRANT SELECT, INSERT, UPDATE, DELETE ON
    dg_projections, dg_projection_cursors, dg_cg_nodes, dg_cg_edges, dg_trace_summary,
    dg_policy_eval_index, dg_precedent_index, dg_projection_digests, dg_projection_failures,
    dg_projection_runs, dg_projection_run_steps
    TO dg_projector;
GRANT SELECT ON dg_schema_migrations TO dg_daemon;

GRANT SELECT ON
    dg_event_log, dg_tenant_heads, dg_projections, dg_projection_cursors, dg_cg_nodes, dg_cg_edges,
    dg_trace_summary, dg_policy_eval_index, dg_precedent_index, dg_projection_digests,
    dg_projection_failures, dg_projection_runs, dg_projection_run_steps, dg_schema_migrations
    TO dg_reader;
