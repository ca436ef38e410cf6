-- The frequent transaction of ingestion in one call: new events of one source, their keys and their counts. As a
-- function its statements are planned once in a session and cost half of what one statement of the same parts costs.
--
-- Nothing is written, and both results are null, unless the head is where the caller says; with `erasures` it must
-- also have that erasure version. Locks are taken in the order of every writer: the head, the counts of the source,
-- those of its names.
CREATE FUNCTION ingestion.append_and_count(
    project integer,
    after bigint,
    up_to bigint,
    first_positions bigint[],
    last_positions bigint[],
    contents bytea[],
    new_keys bytea,
    erasures bigint,
    source integer,
    accepted_events bigint,
    duplicate_events bigint,
    rejected_events bigint,
    received_at timestamptz,
    effective_at timestamptz,
    -- By event name and hour of receipt.
    names text[],
    hours timestamptz[],
    accepted_by_name bigint[],
    duplicate_by_name bigint[],
    rejected_by_name bigint[],
    received_by_name timestamptz[],
    last_accepted_by_name timestamptz[],
    effective_by_name timestamptz[],
    OUT identity_version bigint,
    OUT erasure_version bigint
)
LANGUAGE plpgsql
AS $$
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
        VALUES (project, first_positions[block], last_positions[block], contents[block]);
    END LOOP;
    INSERT INTO ingestion.fresh_keys (project_id, first_position, last_position, keys)
    VALUES (project, after + 1, up_to, new_keys);
    UPDATE ingestion.source_counts counts SET
        received = counts.received + accepted_events + duplicate_events + rejected_events,
        accepted = counts.accepted + accepted_events,
        duplicate = counts.duplicate + duplicate_events,
        rejected = counts.rejected + rejected_events,
        last_received_at = greatest(counts.last_received_at, received_at),
        last_effective_at = greatest(counts.last_effective_at, effective_at)
    WHERE counts.project_id = project AND counts.source_id = source;
    FOR i IN 1 .. cardinality(names) LOOP
        INSERT INTO ingestion.event_totals AS known
            (project_id, source_id, name, received, accepted, duplicate, quarantined, rejected,
             last_received_at, last_accepted_at, last_effective_at)
        VALUES (project, source, names[i],
            accepted_by_name[i] + duplicate_by_name[i] + rejected_by_name[i], accepted_by_name[i],
            duplicate_by_name[i], 0, rejected_by_name[i], received_by_name[i],
            last_accepted_by_name[i], effective_by_name[i])
        ON CONFLICT (project_id, source_id, name) DO UPDATE SET
            received = known.received + excluded.received,
            accepted = known.accepted + excluded.accepted,
            duplicate = known.duplicate + excluded.duplicate,
            rejected = known.rejected + excluded.rejected,
            last_received_at = greatest(known.last_received_at, excluded.last_received_at),
            last_accepted_at = greatest(known.last_accepted_at, excluded.last_accepted_at),
            last_effective_at = greatest(known.last_effective_at, excluded.last_effective_at);
        IF accepted_by_name[i] > 0 THEN
            INSERT INTO ingestion.event_hours AS known (project_id, source_id, name, hour, accepted)
            VALUES (project, source, names[i], hours[i], accepted_by_name[i])
            ON CONFLICT (project_id, source_id, hour, name) DO UPDATE SET
                accepted = known.accepted + excluded.accepted;
        END IF;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION ingestion.append_and_count FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ingestion.append_and_count TO northstar_ingestion;
