-- How webhooks were written, so that an event keeps the body it was first attempted with. Attempts
-- without a digest were written the usual way.
CREATE TABLE renderings(
    digest BLOB PRIMARY KEY,
    settings TEXT NOT NULL
) STRICT, WITHOUT ROWID;
ALTER TABLE attempts ADD COLUMN rendering BLOB;
