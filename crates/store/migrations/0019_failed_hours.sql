-- How many events of each name failed in an hour: quarantined or rejected. A source
-- may say how many of them it owes at most.

ALTER TABLE ingestion.event_hours ADD COLUMN failed bigint NOT NULL DEFAULT 0;
