-- $1 project, $2 the position its head must have, $3 the one it gets, $4.. blocks and $7 keys as for an
-- append; $8 what erasure version the head must have, null for any. $9 source and $10.. what is added to
-- its counts; $17.. the same by event name and hour.
--
-- The row of the source's own counts is locked before those of its names, as everywhere.
WITH head AS (
    UPDATE ingestion.log_heads SET position = $3
    WHERE project_id = $1 AND position = $2 AND ($8::bigint IS NULL OR erasure_version = $8)
    RETURNING identity_version, erasure_version
), blocks AS (
    INSERT INTO ingestion.event_blocks (project_id, first_position, last_position, content)
    SELECT $1, block.first_position, block.last_position, block.content
    FROM head, unnest($4::bigint[], $5::bigint[], $6::bytea[])
        AS block (first_position, last_position, content)
), keys AS (
    INSERT INTO ingestion.fresh_keys (project_id, first_position, last_position, keys)
    SELECT $1, $2 + 1, $3, $7 FROM head
), counted AS (
    UPDATE ingestion.source_counts SET
        received = received + $10,
        accepted = accepted + $11,
        duplicate = duplicate + $12,
        quarantined = quarantined + $13,
        rejected = rejected + $14,
        last_received_at = greatest(last_received_at, $15),
        last_effective_at = greatest(last_effective_at, $16)
    FROM head
    WHERE project_id = $1 AND source_id = $9
    RETURNING source_id
), added AS (
    SELECT a.* FROM counted, unnest($17::text[], $18::timestamptz[], $19::bigint[], $20::bigint[],
        $21::bigint[], $22::bigint[], $23::timestamptz[], $24::timestamptz[], $25::timestamptz[])
        AS a (name, hour, accepted, duplicate, quarantined, rejected, last_received_at,
            last_accepted_at, last_effective_at)
), totals AS (
    INSERT INTO ingestion.event_totals AS known
        (project_id, source_id, name, received, accepted, duplicate, quarantined, rejected,
         last_received_at, last_accepted_at, last_effective_at)
    SELECT $1, $9, name, sum(accepted + duplicate + quarantined + rejected), sum(accepted),
        sum(duplicate), sum(quarantined), sum(rejected), max(last_received_at),
        max(last_accepted_at), max(last_effective_at)
    FROM added GROUP BY name ORDER BY name COLLATE "C"
    ON CONFLICT (project_id, source_id, name) DO UPDATE SET
        received = known.received + excluded.received,
        accepted = known.accepted + excluded.accepted,
        duplicate = known.duplicate + excluded.duplicate,
        quarantined = known.quarantined + excluded.quarantined,
        rejected = known.rejected + excluded.rejected,
        last_received_at = greatest(known.last_received_at, excluded.last_received_at),
        last_accepted_at = greatest(known.last_accepted_at, excluded.last_accepted_at),
        last_effective_at = greatest(known.last_effective_at, excluded.last_effective_at)
), hours AS (
    INSERT INTO ingestion.event_hours AS known (project_id, source_id, name, hour, accepted)
    SELECT $1, $9, name, hour, sum(accepted)
    FROM added WHERE accepted > 0 GROUP BY name, hour ORDER BY hour, name COLLATE "C"
    ON CONFLICT (project_id, source_id, hour, name) DO UPDATE SET
        accepted = known.accepted + excluded.accepted
)
SELECT identity_version, erasure_version FROM head
