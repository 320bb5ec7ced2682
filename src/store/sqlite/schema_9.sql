-- The lane that alone hears the events of a commit; NULL: all of its source do.
ALTER TABLE commits ADD COLUMN lane INTEGER;
CREATE INDEX commits_of_lane ON commits(lane, generation) WHERE lane IS NOT NULL;
-- Lanes that are told the items of snapshots. `snapshot` and `subject`: the last item that was told, or
-- that none of this snapshot was; the snapshots before are done.
CREATE TABLE backfills(
    lane INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    snapshot INTEGER NOT NULL DEFAULT 0,
    subject TEXT,
    told INTEGER NOT NULL DEFAULT 0,
    items INTEGER NOT NULL,
    since INTEGER NOT NULL
) STRICT;
