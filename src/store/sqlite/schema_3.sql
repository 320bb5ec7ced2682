-- Items of a snapshot that walks lack, and since when, in milliseconds.
CREATE TABLE unseen(
    snapshot INTEGER NOT NULL,
    subject TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (snapshot, subject)
) STRICT, WITHOUT ROWID;
