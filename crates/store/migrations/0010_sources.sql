-- What each source owes (documents), what it delivered (accounting by event
-- name and hour), and whether that is enough (states); consumer groups with
-- members.

-- The accounting equation by source and event name. A row makes a name known; a
-- source has at most 1,000 known names, and whatever else it sends counts under
-- the empty name. So the tables stay small whatever producers send.
CREATE TABLE ingestion.event_totals (
    received bigint NOT NULL,
    accepted bigint NOT NULL,
    duplicate bigint NOT NULL,
    quarantined bigint NOT NULL,
    rejected bigint NOT NULL,
    last_received_at timestamptz,
    -- Receipt of the newest accepted event, and the greatest effective time.
    last_accepted_at timestamptz,
    last_effective_at timestamptz,
    project_id integer NOT NULL,
    source_id integer NOT NULL,
    name text COLLATE "C" NOT NULL,
    PRIMARY KEY (project_id, source_id, name),
    CONSTRAINT event_totals_accounting_check
        CHECK (received = accepted + duplicate + quarantined + rejected)
) WITH (fillfactor = 50);

-- Accepted events by hour of receipt, for expected volumes. Hours are dropped
-- after a hundred days.
CREATE TABLE ingestion.event_hours (
    hour timestamptz NOT NULL,
    accepted bigint NOT NULL,
    project_id integer NOT NULL,
    source_id integer NOT NULL,
    name text COLLATE "C" NOT NULL,
    PRIMARY KEY (project_id, source_id, hour, name)
) WITH (fillfactor = 50);

-- What was counted before these tables were there belongs to no name.
INSERT INTO ingestion.event_totals
    SELECT received, accepted, duplicate, quarantined, rejected,
        last_received_at, last_received_at, last_effective_at, project_id, source_id, ''
    FROM ingestion.source_counts WHERE received > 0;

-- Source documents: whole, as applied.
CREATE TABLE ingestion.source_documents (
    project_id integer NOT NULL REFERENCES access.projects,
    name text COLLATE "C" NOT NULL,
    document jsonb NOT NULL,
    etag text NOT NULL,
    -- Silence counts from here when the source never sent anything.
    declared_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by text NOT NULL,
    PRIMARY KEY (project_id, name)
);

-- The last judged state of each declared source (event name empty) and of each
-- event name with rules of its own.
CREATE TABLE ingestion.source_states (
    project_id integer NOT NULL REFERENCES access.projects,
    source_name text COLLATE "C" NOT NULL,
    event_name text COLLATE "C" NOT NULL,
    state text NOT NULL CONSTRAINT source_states_state_check
        CHECK (state IN ('off', 'fresh', 'warn', 'breached')),
    -- Why it is not fresh; empty when it is.
    reason text NOT NULL,
    -- Number of changes so far; names the event that announces one.
    changes bigint NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, source_name, event_name)
);

-- Events on their way to the log; see approvals.outbox.
CREATE TABLE ingestion.outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id integer NOT NULL REFERENCES access.projects,
    message_id text NOT NULL,
    name text NOT NULL,
    user_id text NOT NULL,
    anonymous_id text NOT NULL,
    occurred_at timestamptz NOT NULL,
    properties jsonb NOT NULL,
    refusal text
);

-- Which source sends which event: metrics asks it to find the sources behind a KPI.
CREATE VIEW ingestion.source_events AS
    SELECT project_id, s.name AS source_name, t.name AS event_name
    FROM ingestion.event_totals t JOIN ingestion.sources s USING (project_id, source_id)
    WHERE t.accepted > 0;
GRANT SELECT ON ingestion.source_events, ingestion.source_states TO northstar_metrics;

-- Consumer groups with members. The log is divided by actor into 64 partitions;
-- each has a cursor and at most one owner.
CREATE TABLE ingestion.subscriptions (
    project_id integer NOT NULL REFERENCES access.projects,
    group_name text COLLATE "C" NOT NULL,
    filter text NOT NULL,
    -- Grows with every change of members, owners or cursors that did not come
    -- from an acknowledgement, so that every process notices.
    generation bigint NOT NULL,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    PRIMARY KEY (project_id, group_name)
);

CREATE TABLE ingestion.subscription_members (
    project_id integer NOT NULL,
    group_name text COLLATE "C" NOT NULL,
    member_id text COLLATE "C" NOT NULL,
    -- One stay of the member; a member that comes back is another session.
    session_id uuid NOT NULL CONSTRAINT subscription_members_session_key UNIQUE,
    joined_at timestamptz NOT NULL,
    lease_expires_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, group_name, member_id),
    FOREIGN KEY (project_id, group_name) REFERENCES ingestion.subscriptions ON DELETE CASCADE
);

CREATE TABLE ingestion.subscription_partitions (
    project_id integer NOT NULL,
    group_name text COLLATE "C" NOT NULL,
    partition smallint NOT NULL CONSTRAINT subscription_partitions_partition_check
        CHECK (partition BETWEEN 0 AND 63),
    -- Every event of the partition up to here is acknowledged.
    position bigint NOT NULL,
    -- The session that may acknowledge, and the one that is to follow it.
    owner uuid,
    heir uuid,
    -- Grows with every owner and every seek; an acknowledgement that names an
    -- older one is refused.
    fence bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, group_name, partition),
    FOREIGN KEY (project_id, group_name) REFERENCES ingestion.subscriptions ON DELETE CASCADE
) WITH (fillfactor = 50);

-- Retention policies: a project has at most one.
CREATE TABLE ingestion.retention_policies (
    project_id integer PRIMARY KEY REFERENCES access.projects,
    name text COLLATE "C" NOT NULL,
    document jsonb NOT NULL,
    etag text NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by text NOT NULL
);

-- Files of the archive: written, read back, and found to hold what the log
-- holds. `partition_number` is the range of positions of the log's partitions.
CREATE TABLE ingestion.archived_files (
    project_id integer NOT NULL REFERENCES access.projects,
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    partition_number bigint NOT NULL,
    events bigint NOT NULL,
    bytes bigint NOT NULL,
    location text NOT NULL,
    sha256 bytea NOT NULL CONSTRAINT archived_files_sha256_check CHECK (length(sha256) = 32),
    verified_at timestamptz NOT NULL,
    -- When its events left the log; until then they are in both places.
    detached_at timestamptz,
    PRIMARY KEY (project_id, first_position),
    CONSTRAINT archived_files_positions_check CHECK (first_position <= last_position)
);
-- What was verified stays as it was verified; only the function below detaches.
REVOKE UPDATE, DELETE ON ingestion.archived_files FROM northstar_ingestion;

-- Tables that left the log and wait to be dropped.
CREATE TABLE ingestion.detached_partitions (
    table_name text PRIMARY KEY,
    partition_number bigint NOT NULL,
    detached_at timestamptz NOT NULL,
    drop_at timestamptz NOT NULL,
    dropped_at timestamptz
);
REVOKE INSERT, UPDATE, DELETE ON ingestion.detached_partitions FROM northstar_ingestion;

GRANT SELECT ON ingestion.archived_files TO northstar_metrics;

-- Takes a partition out of the log once all of it is in the archive, and puts an
-- empty one in its place, for projects that have not come so far. Returns the
-- name of the table that left. The service's role may neither detach nor drop,
-- so this runs as the owner, and checks for itself what it is told.
CREATE FUNCTION ingestion.detach_partition(number bigint, at timestamptz, drop_at timestamptz)
RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '5s'
AS $$
DECLARE
    size constant bigint := 20000000;
    first constant bigint := number * size;
    last constant bigint := (number + 1) * size - 1;
    partition constant text := format('event_blocks_%s', lpad(number::text, 6, '0'));
    detached constant text := format('detached_%s_%s', lpad(number::text, 6, '0'),
        to_char(at AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISSUS'));
    project record;
    archived bigint;
BEGIN
    IF drop_at < at THEN
        RAISE EXCEPTION 'a partition is not dropped before it is detached';
    END IF;
    FOR project IN EXECUTE format(
        'SELECT project_id, sum(last_position - first_position + 1)::bigint AS events
         FROM ingestion.%I GROUP BY project_id', partition)
    LOOP
        IF (SELECT position <= last FROM ingestion.log_heads h
            WHERE h.project_id = project.project_id) IS NOT FALSE THEN
            RAISE EXCEPTION 'project % still writes to partition %', project.project_id, number;
        END IF;
        SELECT coalesce(sum(events), 0) INTO archived FROM ingestion.archived_files f
        WHERE f.project_id = project.project_id AND f.partition_number = number
            AND f.detached_at IS NULL;
        IF archived <> project.events THEN
            RAISE EXCEPTION 'project %: % of % events of partition % are archived',
                project.project_id, archived, project.events, number;
        END IF;
        IF EXISTS (
            SELECT FROM ingestion.erasures e
            WHERE e.project_id = project.project_id AND (e.done_at IS NULL OR e.done_at >= (
                SELECT min(f.verified_at) FROM ingestion.archived_files f
                WHERE f.project_id = project.project_id AND f.partition_number = number
                    AND f.detached_at IS NULL))
        ) THEN
            RAISE EXCEPTION 'project %: subjects are erased from partition % meanwhile',
                project.project_id, number;
        END IF;
        IF EXISTS (SELECT FROM ingestion.cursors c
                   WHERE c.project_id = project.project_id AND c.position < last)
            OR EXISTS (SELECT FROM ingestion.subscription_partitions p
                       WHERE p.project_id = project.project_id AND p.position < last) THEN
            RAISE EXCEPTION 'project %: a consumer group has not read partition %',
                project.project_id, number;
        END IF;
    END LOOP;
    EXECUTE format('ALTER TABLE ingestion.event_blocks DETACH PARTITION ingestion.%I', partition);
    EXECUTE format('ALTER TABLE ingestion.%I RENAME TO %I', partition, detached);
    EXECUTE format('CREATE TABLE ingestion.%I (LIKE ingestion.event_blocks INCLUDING ALL)', partition);
    EXECUTE format('REVOKE ALL ON ingestion.%I FROM northstar_ingestion', partition);
    EXECUTE format('REVOKE ALL ON ingestion.%I FROM northstar_ingestion', detached);
    EXECUTE format(
        'ALTER TABLE ingestion.event_blocks ATTACH PARTITION ingestion.%I FOR VALUES FROM (%s) TO (%s)',
        partition, first, last + 1);
    UPDATE ingestion.archived_files f SET detached_at = at
    WHERE f.partition_number = number AND f.detached_at IS NULL;
    INSERT INTO ingestion.detached_partitions (table_name, partition_number, detached_at, drop_at)
    VALUES (detached, number, at, drop_at);
    RETURN detached;
END $$;
REVOKE ALL ON FUNCTION ingestion.detach_partition FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ingestion.detach_partition TO northstar_ingestion;

-- Forgets files of a partition that was not detached, so that it is archived
-- anew: its events may have changed since, by an erasure.
CREATE FUNCTION ingestion.forget_archived(number bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM ingestion.archived_files WHERE partition_number = number AND detached_at IS NULL;
$$;
REVOKE ALL ON FUNCTION ingestion.forget_archived FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ingestion.forget_archived TO northstar_ingestion;

-- Drops the tables whose grace is over, and returns their names.
CREATE FUNCTION ingestion.drop_detached(at timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    due record;
BEGIN
    FOR due IN SELECT table_name FROM ingestion.detached_partitions
               WHERE dropped_at IS NULL AND drop_at <= at FOR UPDATE SKIP LOCKED LOOP
        EXECUTE format('DROP TABLE IF EXISTS ingestion.%I', due.table_name);
        UPDATE ingestion.detached_partitions SET dropped_at = at
        WHERE table_name = due.table_name;
        RETURN NEXT due.table_name;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION ingestion.drop_detached FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ingestion.drop_detached TO northstar_ingestion;
