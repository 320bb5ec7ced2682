-- Endpoints made over the API: what they were given, as JSON.
CREATE TABLE endpoints(
    name TEXT PRIMARY KEY,
    definition TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What signs for them, the newest first, as it is: the file is its owner's alone. `until`: signs no
-- more from then on.
CREATE TABLE endpoint_secrets(
    endpoint TEXT NOT NULL,
    place INTEGER NOT NULL,
    secret TEXT NOT NULL,
    until INTEGER,
    PRIMARY KEY (endpoint, place)
) STRICT, WITHOUT ROWID;

-- Those that were deleted, as long as something of them is kept: their lanes go with the rest.
CREATE TABLE deleted_endpoints(
    name TEXT PRIMARY KEY,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
