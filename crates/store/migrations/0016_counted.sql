-- The frequent transaction of ingestion writes less: what it counts stays beside its keys, and is added to the counts
-- of sources, names and hours once for many transactions. So an append moves the head and inserts two rows, whatever
-- it counts; before, it updated three rows more for each event name.

-- What was counted together with these positions: new events of one source, what else came with them, by event name
-- and hour of receipt. Without a source, it was counted in the transaction itself.
ALTER TABLE ingestion.fresh_keys
    ADD COLUMN source_id integer,
    ADD COLUMN names text[],
    -- Three for each name: accepted, duplicate, rejected.
    ADD COLUMN counts bigint[],
    -- Four for each name: the hour of receipt, and the latest receipt of any, receipt of an accepted one, and
    -- effective time.
    ADD COLUMN times timestamptz[];

-- Up to which position that was added. Positions become visible in order, so what lies beyond was not added, and what
-- lies before was, once.
CREATE TABLE ingestion.counted (
    project_id integer PRIMARY KEY REFERENCES access.projects,
    position bigint NOT NULL
);
INSERT INTO ingestion.counted SELECT project_id, position FROM ingestion.log_heads;

-- What was not added yet.
CREATE VIEW ingestion.uncounted AS
    SELECT project_id, keys.source_id, keys.last_position, part.name COLLATE "C" AS name,
        keys.times[4 * part.number - 3] AS hour,
        keys.counts[3 * part.number - 2] AS accepted,
        keys.counts[3 * part.number - 1] AS duplicate,
        keys.counts[3 * part.number] AS rejected,
        keys.times[4 * part.number - 2] AS last_received_at,
        keys.times[4 * part.number - 1] AS last_accepted_at,
        keys.times[4 * part.number] AS last_effective_at
    FROM ingestion.counted JOIN ingestion.fresh_keys keys USING (project_id)
        CROSS JOIN LATERAL unnest(keys.names) WITH ORDINALITY AS part (name, number)
    WHERE keys.last_position > counted.position;

-- Adds it, and returns how many positions that was. Locks the counts of sources, then those of names, as whoever writes
-- the log does. An append may count under names that nobody counted before; a source has at most 1,000 such names,
-- which is decided here while its own counts are locked, and what is beyond counts under the empty one.
CREATE FUNCTION ingestion.count_appended(project integer) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    counted_to bigint;
    up_to bigint;
    part record;
    known_names integer;
    counted_name text;
BEGIN
    SELECT position INTO counted_to FROM ingestion.counted WHERE project_id = project FOR UPDATE;
    SELECT max(last_position) INTO up_to FROM ingestion.fresh_keys
    WHERE project_id = project AND last_position > counted_to;
    IF up_to IS NULL THEN
        RETURN 0;
    END IF;
    -- By source, then by source and name, then by source, hour and name.
    FOR part IN
        SELECT grouping(name, hour) AS summed, source_id, hour, name, sum(accepted) AS accepted,
            sum(duplicate) AS duplicate, sum(rejected) AS rejected, max(last_received_at) AS last_received_at,
            max(last_accepted_at) AS last_accepted_at, max(last_effective_at) AS last_effective_at
        FROM ingestion.uncounted WHERE project_id = project AND last_position <= up_to
        GROUP BY GROUPING SETS ((source_id), (source_id, name), (source_id, hour, name))
        ORDER BY summed DESC, source_id, hour, name
    LOOP
        IF part.summed = 3 THEN
            UPDATE ingestion.source_counts SET
                received = received + part.accepted + part.duplicate + part.rejected,
                accepted = accepted + part.accepted,
                duplicate = duplicate + part.duplicate,
                rejected = rejected + part.rejected,
                last_received_at = greatest(last_received_at, part.last_received_at),
                last_effective_at = greatest(last_effective_at, part.last_effective_at)
            WHERE project_id = project AND source_id = part.source_id;
            CONTINUE;
        END IF;
        counted_name := part.name;
        IF counted_name <> '' AND NOT EXISTS (
            SELECT FROM ingestion.event_totals
            WHERE project_id = project AND source_id = part.source_id AND name = part.name)
        THEN
            SELECT count(*) INTO known_names FROM ingestion.event_totals
            WHERE project_id = project AND source_id = part.source_id AND name <> '';
            IF known_names >= 1000 THEN
                counted_name := '';
            END IF;
        END IF;
        IF part.summed = 1 THEN
            INSERT INTO ingestion.event_totals AS known
                (project_id, source_id, name, received, accepted, duplicate, quarantined, rejected,
                 last_received_at, last_accepted_at, last_effective_at)
            VALUES (project, part.source_id, counted_name, part.accepted + part.duplicate + part.rejected,
                part.accepted, part.duplicate, 0, part.rejected, part.last_received_at, part.last_accepted_at,
                part.last_effective_at)
            ON CONFLICT (project_id, source_id, name) DO UPDATE SET
                received = known.received + excluded.received,
                accepted = known.accepted + excluded.accepted,
                duplicate = known.duplicate + excluded.duplicate,
                rejected = known.rejected + excluded.rejected,
                last_received_at = greatest(known.last_received_at, excluded.last_received_at),
                last_accepted_at = greatest(known.last_accepted_at, excluded.last_accepted_at),
                last_effective_at = greatest(known.last_effective_at, excluded.last_effective_at);
        ELSIF part.accepted > 0 THEN
            INSERT INTO ingestion.event_hours AS known (project_id, source_id, name, hour, accepted)
            VALUES (project, part.source_id, counted_name, part.hour, part.accepted)
            ON CONFLICT (project_id, source_id, hour, name) DO UPDATE SET
                accepted = known.accepted + excluded.accepted;
        END IF;
    END LOOP;
    UPDATE ingestion.counted SET position = up_to WHERE project_id = project;
    RETURN up_to - counted_to;
END $$;
REVOKE ALL ON FUNCTION ingestion.count_appended FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ingestion.count_appended TO northstar_ingestion;

-- As before, but what goes was counted.
CREATE OR REPLACE FUNCTION ingestion.forget_sealed_keys(project integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ingestion.count_appended(project);
    WITH forgotten AS (
        DELETE FROM ingestion.fresh_keys
        WHERE project_id = project AND last_position <= (
            SELECT max(last_position) FROM ingestion.key_runs WHERE project_id = project)
        RETURNING 1
    )
    SELECT count(*) FROM forgotten
$$;

-- When the newest event of a source was received, for metrics.
CREATE VIEW ingestion.source_receipts AS
    SELECT project_id, source_id, last_received_at FROM ingestion.source_counts
    UNION ALL
    SELECT project_id, source_id, last_received_at FROM ingestion.uncounted;
GRANT SELECT ON ingestion.source_receipts TO northstar_metrics;

CREATE OR REPLACE VIEW ingestion.source_events AS
    SELECT project_id, s.name AS source_name, t.name AS event_name
    FROM ingestion.event_totals t JOIN ingestion.sources s USING (project_id, source_id)
    WHERE t.accepted > 0 OR EXISTS (
        SELECT FROM ingestion.uncounted u
        WHERE (u.project_id, u.source_id, u.name) = (t.project_id, t.source_id, t.name) AND u.accepted > 0);

-- New events of one source with their keys and counts, in one call. As a function its statements are planned once in
-- a session.
--
-- Nothing is written, and both results are null, unless the head is where the caller says; with `erasures` it must
-- also have that erasure version. Each block begins where the one before ends.
DROP FUNCTION ingestion.append_and_count;
CREATE FUNCTION ingestion.append_and_count(
    project integer,
    after bigint,
    up_to bigint,
    last_positions bigint[],
    contents bytea[],
    new_keys bytea,
    erasures bigint,
    source integer,
    -- As in fresh_keys.
    names text[],
    counts bigint[],
    times timestamptz[],
    OUT identity_version bigint,
    OUT erasure_version bigint
)
LANGUAGE plpgsql
AS $$
DECLARE
    first bigint := after + 1;
BEGIN
    UPDATE ingestion.log_heads head SET position = up_to
    WHERE head.project_id = project AND head.position = after
        AND (erasures IS NULL OR head.erasure_version = erasures)
    RETURNING head.identity_version, head.erasure_version INTO identity_version, erasure_version;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    FOR block IN 1 .. cardinality(contents) LOOP
        INSERT INTO ingestion.event_blocks (project_id, first_position, last_position, content)
        VALUES (project, first, last_positions[block], contents[block]);
        first := last_positions[block] + 1;
    END LOOP;
    INSERT INTO ingestion.fresh_keys
        (project_id, first_position, last_position, keys, source_id, names, counts, times)
    VALUES (project, after + 1, up_to, new_keys, source, names, counts, times);
END $$;
REVOKE ALL ON FUNCTION ingestion.append_and_count FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ingestion.append_and_count TO northstar_ingestion;

-- The same, and links that events show of devices with which nobody else was seen yet, and of which no person said
-- anything: the first user of a device is its subject, if the identity policy limits no devices. Where that is not so, or
-- the policy has another etag than the caller knows (null: there is none), `linked` is false and nothing is written.
-- Policies, facts and the map change while the head is locked. Devices are ascending, and each is named once.
CREATE FUNCTION ingestion.append_and_link(
    project integer,
    after bigint,
    up_to bigint,
    last_positions bigint[],
    contents bytea[],
    new_keys bytea,
    erasures bigint,
    source integer,
    names text[],
    counts bigint[],
    times timestamptz[],
    policy text,
    anonymous_ids text[],
    user_ids text[],
    linked_at timestamptz[],
    link_positions bigint[],
    at_time timestamptz,
    OUT identity_version bigint,
    OUT erasure_version bigint,
    OUT linked boolean
)
LANGUAGE plpgsql
AS $$
DECLARE
    -- The first that was shown of each device.
    shown_at timestamptz[] := array_fill(NULL::timestamptz, ARRAY[cardinality(anonymous_ids)]);
    changes bigint := 0;
BEGIN
    linked := true;
    PERFORM FROM ingestion.log_heads head WHERE head.project_id = project AND head.position = after FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    linked := policy IS NOT DISTINCT FROM (
        SELECT etag FROM ingestion.subject_policies WHERE project_id = project AND kind = 'identity');
    -- One look into each index for each device. The order is that of the index, which is taken for it whatever the
    -- statistics say.
    FOR link IN 1 .. cardinality(anonymous_ids) LOOP
        shown_at[link] := (
            SELECT fact.effective_at FROM ingestion.identity_facts fact WHERE fact.project_id = project
                AND fact.from_kind = 'anonymous_id' AND fact.from_value = anonymous_ids[link]
            ORDER BY fact.effective_at, fact.to_value LIMIT 1);
        linked := linked AND NOT EXISTS (
            SELECT FROM ingestion.identity_facts fact WHERE fact.project_id = project
                AND fact.to_kind = 'anonymous_id' AND fact.to_value = anonymous_ids[link]);
        IF shown_at[link] IS NOT NULL THEN
            -- A device with more facts than these takes the longer way.
            linked := linked AND (
                SELECT count(*) < 20
                    AND bool_and(to_kind = 'user_id' AND to_value = user_ids[link] AND position IS NOT NULL)
                FROM (
                    SELECT * FROM ingestion.identity_facts
                    WHERE project_id = project AND from_kind = 'anonymous_id' AND from_value = anonymous_ids[link]
                    ORDER BY effective_at, to_value LIMIT 20
                ) fact);
        END IF;
    END LOOP;
    IF NOT linked THEN
        RETURN;
    END IF;
    SELECT done.identity_version, done.erasure_version INTO identity_version, erasure_version
    FROM ingestion.append_and_count(project, after, up_to, last_positions, contents, new_keys, erasures, source, names,
        counts, times) done;
    IF identity_version IS NULL THEN
        RETURN;
    END IF;
    FOR link IN 1 .. cardinality(anonymous_ids) LOOP
        -- A later event of the same user says nothing new, an earlier one is a fact that changes nothing.
        CONTINUE WHEN shown_at[link] <= linked_at[link];
        INSERT INTO ingestion.identity_facts
            (project_id, verb, from_kind, from_value, to_kind, to_value, effective_at, recorded_at, position)
        VALUES (project, 'link', 'anonymous_id', anonymous_ids[link], 'user_id', user_ids[link], linked_at[link],
            at_time, link_positions[link]);
        CONTINUE WHEN shown_at[link] IS NOT NULL;
        changes := changes + 1;
        INSERT INTO ingestion.identity_changes
            (project_id, version, kind, value, subject_kind, subject, recorded_at)
        SELECT project, identity_version + changes, 'anonymous_id', anonymous_ids[link],
            coalesce(known.subject_kind, 'user_id'), coalesce(known.subject, user_ids[link]), at_time
        FROM (VALUES (1)) one LEFT JOIN LATERAL (
            SELECT change.subject_kind, change.subject FROM (
                -- All of one user, by the key; not all of the newest, by the version.
                SELECT * FROM ingestion.identity_changes
                WHERE project_id = project AND kind = 'user_id' AND value = user_ids[link] OFFSET 0
            ) change
            ORDER BY change.version DESC LIMIT 1
        ) known ON true;
    END LOOP;
    IF changes > 0 THEN
        UPDATE ingestion.log_heads head SET identity_version = append_and_link.identity_version + changes
        WHERE head.project_id = project;
    END IF;
END $$;
REVOKE ALL ON FUNCTION ingestion.append_and_link FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ingestion.append_and_link TO northstar_ingestion;
