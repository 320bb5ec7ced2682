-- The caller's request behind a commit, where its cause is one.
ALTER TABLE commits ADD COLUMN request_id TEXT;
