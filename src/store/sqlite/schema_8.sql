-- Attempts made before a delivery was replayed: they count no more for its schedule.
ALTER TABLE parked ADD COLUMN earlier INTEGER NOT NULL DEFAULT 0;
-- Endpoints that somebody has paused.
CREATE TABLE paused(
    endpoint TEXT PRIMARY KEY,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
