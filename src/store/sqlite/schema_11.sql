-- How the webhooks of endpoints are written. `until` NULL: so are those in flight, or were when a
-- doorbell ended at once. Else: when one did, those of events up to this generation may have been.
CREATE TABLE spoken(
    place INTEGER PRIMARY KEY,
    endpoint TEXT NOT NULL,
    until INTEGER,
    rendering BLOB
) STRICT;
CREATE INDEX spoken_of_endpoint ON spoken(endpoint, until);
