-- Servers compile what looks dear, by default. A sort looks so dear to a function that says enable_sort = off that its
-- one row was compiled for a tenth of a second, at each append of a session that does not say jit = off itself
-- (that of the daemon does), with the tenant's head held meanwhile.

ALTER FUNCTION dg_event_log_admit() SET jit = off;

ALTER FUNCTION dg_append(text, text, bigint, text, text, text, text, text, text, text, text, text, text, text,
    text, integer, text[]) SET jit = off;
