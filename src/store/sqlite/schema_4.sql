-- When the partition of a snapshot was last seen to be configured no more.
ALTER TABLE snapshots ADD COLUMN left_at INTEGER;
CREATE INDEX snapshots_left ON snapshots(left_at) WHERE left_at IS NOT NULL;
