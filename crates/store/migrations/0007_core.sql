-- What an event says of region and consent.
ALTER TABLE ingestion.events
    ADD COLUMN region text,
    -- The text form of northstar_domain::consent::Consent.
    ADD COLUMN consent text;

-- The log as record batches: a row holds a block of events as columns
-- (northstar_store::block documents every byte), so that a commit of thousands
-- of events writes a few rows, and KPIs read columns. Rows are cut where the
-- partitions are, and hold events without a gap: position = first_position +
-- place in the block. The one index finds the block of a position and the next
-- one after it.
CREATE TABLE ingestion.event_blocks (
    project_id integer NOT NULL,
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (project_id, last_position),
    CONSTRAINT event_blocks_order_check CHECK (first_position <= last_position)
) PARTITION BY RANGE (last_position);
-- It is compressed already.
ALTER TABLE ingestion.event_blocks ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE OR REPLACE FUNCTION ingestion.ensure_partition(wanted bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    size constant bigint := 20000000;
    number bigint := wanted / size;
    partition text := format('event_blocks_%s', lpad(number::text, 6, '0'));
BEGIN
    IF wanted < 0 THEN
        RAISE EXCEPTION 'a position is not negative: %', wanted;
    END IF;
    IF to_regclass(format('ingestion.%I', partition)) IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('ingestion.ensure_partition', 0));
        IF to_regclass(format('ingestion.%I', partition)) IS NULL THEN
            EXECUTE format('CREATE TABLE ingestion.%I (LIKE ingestion.event_blocks INCLUDING ALL)', partition);
            EXECUTE format('REVOKE ALL ON ingestion.%I FROM northstar_ingestion', partition);
            EXECUTE format(
                'ALTER TABLE ingestion.event_blocks ATTACH PARTITION ingestion.%I FOR VALUES FROM (%s) TO (%s)',
                partition, number * size, (number + 1) * size);
        END IF;
    END IF;
    RETURN (number + 1) * size - 1;
END $$;

REVOKE UPDATE, DELETE ON ingestion.event_blocks FROM northstar_ingestion;
GRANT SELECT ON ingestion.event_blocks TO northstar_metrics;

-- Events are facts; the one thing that may be done to a block is to put another
-- in its place that holds the same positions: what erasure leaves. Whoever does
-- it says what it has read, so that two of them do not undo one another.
CREATE FUNCTION ingestion.replace_block(project integer, last bigint, old bytea, new bytea)
RETURNS boolean
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH replaced AS (
        UPDATE ingestion.event_blocks SET content = new
        WHERE project_id = project AND last_position = last AND content = old
        RETURNING 1
    )
    SELECT count(*) > 0 FROM replaced
$$;
REVOKE ALL ON FUNCTION ingestion.replace_block FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ingestion.replace_block TO northstar_ingestion;

-- Which message ids are in the log, for ever, in two stages.
--
-- Fresh: the keys of a commit as it wrote them, 28 bytes each, in the order of
-- their positions: SHA-256 of the message id cut to 128 bits, the number of the
-- source (32 bits, big-endian), the body hash cut to 64 bits. Every process that
-- writes holds these in memory. What makes a message id unique is not an index
-- but the head of the project: whoever moves it knows every key up to it.
CREATE TABLE ingestion.fresh_keys (
    project_id integer NOT NULL,
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    keys bytea NOT NULL,
    PRIMARY KEY (project_id, last_position),
    -- None at all is a stretch of positions that were left out.
    CONSTRAINT fresh_keys_length_check
        CHECK (length(keys) IN (0, 28 * (last_position - first_position + 1)))
);
ALTER TABLE ingestion.fresh_keys ALTER COLUMN keys SET STORAGE EXTERNAL;

-- Sealed: some hundred thousand keys in sorted pages, and a Bloom filter over
-- them that every process holds in memory (see services/ingestion, keys). Runs
-- follow one another without a gap, and fresh keys follow the last run.
CREATE TABLE ingestion.key_runs (
    project_id integer NOT NULL,
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    filter bytea NOT NULL,
    PRIMARY KEY (project_id, last_position),
    CONSTRAINT key_runs_first_position_key UNIQUE (project_id, first_position),
    CONSTRAINT key_runs_order_check CHECK (first_position <= last_position)
);
ALTER TABLE ingestion.key_runs ALTER COLUMN filter SET STORAGE EXTERNAL;

-- A page holds at most 55 keys of 28 bytes, sorted: the key (the message hash
-- with the source mixed in), the body hash, and how far the position lies above
-- the first of the run (32 bits, big-endian). Five pages fill a page of Postgres.
CREATE TABLE ingestion.key_pages (
    project_id integer NOT NULL,
    last_position bigint NOT NULL,
    first_key uuid NOT NULL,
    keys bytea NOT NULL,
    PRIMARY KEY (project_id, last_position, first_key)
);
ALTER TABLE ingestion.key_pages ALTER COLUMN keys SET STORAGE PLAIN;

REVOKE UPDATE, DELETE ON ingestion.fresh_keys, ingestion.key_runs, ingestion.key_pages
FROM northstar_ingestion;

-- Fresh keys go when a run holds them, and only then.
CREATE FUNCTION ingestion.forget_sealed_keys(project integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH forgotten AS (
        DELETE FROM ingestion.fresh_keys
        WHERE project_id = project AND last_position <= (
            SELECT max(last_position) FROM ingestion.key_runs WHERE project_id = project)
        RETURNING 1
    )
    SELECT count(*) FROM forgotten
$$;
REVOKE ALL ON FUNCTION ingestion.forget_sealed_keys FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ingestion.forget_sealed_keys TO northstar_ingestion;

-- What is in the log already moves over: events in blocks of format 0, keys as
-- fresh ones, which the service seals when it first writes. A log with a gap
-- would be read wrongly ever after, so it is refused.
DO $$
DECLARE
    number bigint;
BEGIN
    IF EXISTS (
        SELECT FROM ingestion.events GROUP BY project_id
        HAVING count(*) <> max(position) - min(position) + 1)
    OR EXISTS (
        SELECT FROM ingestion.log_heads head
        LEFT JOIN (SELECT project_id, count(*) AS keys FROM ingestion.event_keys GROUP BY project_id) held
            USING (project_id)
        WHERE head.position <> coalesce(held.keys, 0))
    THEN
        RAISE EXCEPTION 'the log has a gap and cannot be moved into blocks';
    END IF;
    FOR number IN
        SELECT generate_series(0, (SELECT coalesce(max(position), 0) / 20000000 FROM ingestion.log_heads))
    LOOP
        PERFORM ingestion.ensure_partition(number * 20000000);
    END LOOP;
END $$;

INSERT INTO ingestion.event_blocks (project_id, first_position, last_position, content)
SELECT project_id, min(position), max(position), '\x00'::bytea || convert_to(
    json_agg(json_build_array(
        source_id, message_id, name, coalesce(user_id, ''), coalesce(anonymous_id, ''),
        coalesce(account_id, ''), coalesce(region, ''), coalesce(consent, ''),
        (extract(epoch FROM occurred_at) * 1000000)::bigint,
        (extract(epoch FROM sent_at) * 1000000)::bigint,
        (extract(epoch FROM received_at) * 1000000)::bigint,
        (extract(epoch FROM effective_at) * 1000000)::bigint,
        sequence, correction, properties::text
    ) ORDER BY position)::text, 'UTF8')
FROM ingestion.events GROUP BY project_id, position / 1000;

INSERT INTO ingestion.fresh_keys (project_id, first_position, last_position, keys)
SELECT project_id, min(position), max(position), string_agg(
    uuid_send(message_hash) || int4send(source_id) || substring(uuid_send(body_hash) FROM 1 FOR 8),
    ''::bytea ORDER BY position)
FROM ingestion.event_keys GROUP BY project_id, position / 10000;

DROP TABLE ingestion.events;
DROP TABLE ingestion.event_keys;
