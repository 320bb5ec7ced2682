-- Events of a kind that is younger than the others.
ALTER TABLE commits ADD COLUMN stale INTEGER NOT NULL DEFAULT 0;
