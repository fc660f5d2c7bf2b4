-- How many partitions a projection is spread over is a fact of its cursors: what a cursor has passed
-- depends on it. The cursors of one generation all say the same, and there are so many of them.
--
-- The number changes only where all cursors stand at one place. A change is announced on all of them:
-- none passes respread_at any more, those behind come up to it, and then they are replaced by
-- respread_to others that begin there.

ALTER TABLE dg_projection_cursors
    ADD COLUMN partitions integer NOT NULL DEFAULT 1,
    ADD COLUMN respread_at bigint,
    ADD COLUMN respread_to integer,
    ADD CONSTRAINT dg_projection_cursors_share CHECK (partition < partitions),
    ADD CONSTRAINT dg_projection_cursors_respread CHECK (
        (respread_at IS NULL) = (respread_to IS NULL) AND last_log_seq <= respread_at AND respread_to > 0);
