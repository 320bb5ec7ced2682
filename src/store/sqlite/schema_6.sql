-- Endpoints that have failed since they last accepted something. `spent_ms`: how much time has passed
-- between the first of these failures and the last, which clocks that jump do not change.
CREATE TABLE failing(
    endpoint TEXT PRIMARY KEY,
    since INTEGER NOT NULL,
    last INTEGER NOT NULL,
    spent_ms INTEGER NOT NULL,
    failures INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
