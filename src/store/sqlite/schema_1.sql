-- Counters. `gone_*` is the last event that retention took, as a cursor of the feed.
CREATE TABLE meta(
    id INTEGER PRIMARY KEY CHECK (id = 1),
    generation INTEGER NOT NULL,
    position INTEGER NOT NULL,
    gone_position INTEGER NOT NULL,
    gone_ordinal INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES (1, 0, 0, 0, -1);

-- `sequence`: the number of the source's newest event.
CREATE TABLE sources(
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    sequence INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO sources(id, name) VALUES (0, 'doorbell');

-- `generation`: the newest visible one; rows of items above it are of an unfinished poll.
CREATE TABLE snapshots(
    id INTEGER PRIMARY KEY,
    source INTEGER NOT NULL,
    partition TEXT NOT NULL DEFAULT '',
    generation INTEGER NOT NULL DEFAULT 0,
    settled INTEGER NOT NULL DEFAULT 0,
    items INTEGER NOT NULL DEFAULT 0,
    memory TEXT NOT NULL DEFAULT '{}',
    UNIQUE (source, partition)
) STRICT;

-- Without a digest: gone as of this generation.
CREATE TABLE items(
    snapshot INTEGER NOT NULL,
    subject TEXT NOT NULL,
    generation INTEGER NOT NULL,
    digest BLOB,
    body INTEGER,
    PRIMARY KEY (snapshot, subject, generation)
) STRICT, WITHOUT ROWID;

-- `form`: 0 as it is, else compressed with zstd from so many bytes.
CREATE TABLE bodies(
    id INTEGER PRIMARY KEY,
    form INTEGER NOT NULL,
    digest BLOB NOT NULL,
    content BLOB NOT NULL
) STRICT;

-- Visible commits with events, in the order in which they became visible.
CREATE TABLE commits(
    position INTEGER PRIMARY KEY,
    generation INTEGER NOT NULL UNIQUE,
    source INTEGER NOT NULL,
    salt INTEGER NOT NULL,
    first_sequence INTEGER NOT NULL,
    at INTEGER NOT NULL,
    cause INTEGER NOT NULL,
    count INTEGER NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    failing INTEGER NOT NULL,
    recovered INTEGER NOT NULL,
    held INTEGER NOT NULL,
    disabled INTEGER NOT NULL,
    dead INTEGER NOT NULL
) STRICT;
CREATE INDEX commits_of_source ON commits(source, generation);

-- `key` is generation and ordinal; visible when a commit has that generation.
CREATE TABLE events(
    key INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    subject TEXT NOT NULL,
    form INTEGER NOT NULL,
    digest BLOB NOT NULL,
    content BLOB NOT NULL
) STRICT;

-- Large polls whose last transaction is still to come.
CREATE TABLE unfinished(
    generation INTEGER PRIMARY KEY,
    source INTEGER NOT NULL UNIQUE,
    snapshot INTEGER NOT NULL
) STRICT;

-- Items of which a large poll made older rows superfluous, and the polls to sweep after.
CREATE TABLE superseded(
    generation INTEGER NOT NULL,
    subject TEXT NOT NULL,
    PRIMARY KEY (generation, subject)
) STRICT, WITHOUT ROWID;
CREATE TABLE sweeps(
    generation INTEGER PRIMARY KEY,
    snapshot INTEGER NOT NULL
) STRICT;

CREATE TABLE lanes(
    id INTEGER PRIMARY KEY,
    endpoint TEXT NOT NULL,
    source INTEGER NOT NULL,
    watermark INTEGER NOT NULL,
    UNIQUE (endpoint, source)
) STRICT;
CREATE INDEX lanes_of_source ON lanes(source);

-- `state`: 0 waits for a retry, 1 waits behind its subject, 2 dead.
CREATE TABLE parked(
    lane INTEGER NOT NULL,
    event INTEGER NOT NULL,
    state INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    subject TEXT NOT NULL,
    committed_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    due INTEGER,
    settled_at INTEGER,
    PRIMARY KEY (lane, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX parked_waiting ON parked(lane, due) WHERE state = 0;
CREATE INDEX parked_blocked ON parked(lane, subject, event) WHERE state = 1;
CREATE INDEX parked_dead ON parked(lane, event) WHERE state = 2;
CREATE INDEX parked_dead_since ON parked(settled_at) WHERE state = 2;

-- `outcome`: 0 tried again, 1 delivered, 2 dead. A delivery that was accepted keeps its event's
-- kind, subject and time, because the row may outlive the event.
CREATE TABLE attempts(
    lane INTEGER NOT NULL,
    event INTEGER NOT NULL,
    number INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    at INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    status INTEGER,
    error TEXT,
    answer TEXT,
    kind INTEGER,
    subject TEXT,
    committed_at INTEGER,
    PRIMARY KEY (lane, event, number)
) STRICT, WITHOUT ROWID;

-- Endpoints that are not rung: they answered 410.
CREATE TABLE disabled(
    endpoint TEXT PRIMARY KEY,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
