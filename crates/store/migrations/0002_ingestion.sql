-- The log, its keys, sources, identity, contracts, quarantine and cursors.

-- One row per project. A writer raises the position while it holds the row, as
-- the last thing before it copies its events and commits. Positions therefore
-- become visible in their own order and without gaps: whoever sees one sees
-- every smaller one, and a transaction that rolls back gives its positions back.
CREATE TABLE ingestion.log_heads (
    project_id integer PRIMARY KEY REFERENCES access.projects,
    position bigint NOT NULL,
    identity_version bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE ingestion.sources (
    project_id integer NOT NULL REFERENCES access.projects,
    source_id integer GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    PRIMARY KEY (project_id, source_id),
    CONSTRAINT sources_name_key UNIQUE (project_id, name)
);

CREATE TABLE ingestion.source_counts (
    project_id integer NOT NULL,
    source_id integer NOT NULL,
    received bigint NOT NULL DEFAULT 0,
    accepted bigint NOT NULL DEFAULT 0,
    duplicate bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    last_received_at timestamptz,
    last_effective_at timestamptz,
    PRIMARY KEY (project_id, source_id),
    FOREIGN KEY (project_id, source_id) REFERENCES ingestion.sources,
    CONSTRAINT source_counts_accounting_check
        CHECK (received = accepted + duplicate + quarantined + rejected)
) WITH (fillfactor = 50);

-- The log. Wide fixed columns first, so that no byte is lost to alignment.
-- Properties are json, not jsonb, because the exact text is kept: integers stay
-- integers, and the body hash can be computed again from the row. There is no
-- other index on purpose: each would cost more than the event itself.
CREATE TABLE ingestion.events (
    position bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    sent_at timestamptz,
    received_at timestamptz NOT NULL,
    effective_at timestamptz NOT NULL,
    sequence bigint NOT NULL,
    project_id integer NOT NULL,
    source_id integer NOT NULL,
    -- 0 none, 1 skew, 2 clamped
    correction smallint NOT NULL,
    message_id text NOT NULL,
    name text NOT NULL,
    user_id text,
    anonymous_id text,
    account_id text,
    properties json NOT NULL,
    PRIMARY KEY (project_id, position)
) PARTITION BY RANGE (position);

-- Makes the partition that holds a position. The service's role may not create
-- tables, so this runs as the owner. Attaching an empty table keeps readers and
-- writers going, which CREATE TABLE ... PARTITION OF would stop.
CREATE FUNCTION ingestion.ensure_partition(wanted bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    size constant bigint := 20000000;
    number bigint := wanted / size;
    partition text := format('events_%s', lpad(number::text, 6, '0'));
BEGIN
    IF wanted < 0 THEN
        RAISE EXCEPTION 'a position is not negative: %', wanted;
    END IF;
    IF to_regclass(format('ingestion.%I', partition)) IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('ingestion.ensure_partition', 0));
        IF to_regclass(format('ingestion.%I', partition)) IS NULL THEN
            EXECUTE format('CREATE TABLE ingestion.%I (LIKE ingestion.events INCLUDING ALL)', partition);
            EXECUTE format('REVOKE ALL ON ingestion.%I FROM northstar_ingestion', partition);
            EXECUTE format(
                'ALTER TABLE ingestion.events ATTACH PARTITION ingestion.%I FOR VALUES FROM (%s) TO (%s)',
                partition, number * size, (number + 1) * size);
        END IF;
    END IF;
    RETURN (number + 1) * size - 1;
END $$;
REVOKE ALL ON FUNCTION ingestion.ensure_partition FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ingestion.ensure_partition TO northstar_ingestion;
SELECT ingestion.ensure_partition(0);

-- Events are facts: the service itself may not change or delete one.
REVOKE UPDATE, DELETE ON ingestion.events FROM northstar_ingestion;

-- Every message id that is in the log, for ever: SHA-256 cut to 128 bits, which
-- uuid holds in 16 bytes without a length.
CREATE TABLE ingestion.event_keys (
    message_hash uuid NOT NULL,
    body_hash uuid NOT NULL,
    position bigint NOT NULL,
    project_id integer NOT NULL,
    source_id integer NOT NULL,
    CONSTRAINT event_keys_pkey PRIMARY KEY (project_id, source_id, message_hash)
);
REVOKE UPDATE, DELETE ON ingestion.event_keys FROM northstar_ingestion;

-- Which user an anonymous id belongs to: of all facts that link it, the one with
-- the smallest (effective time, user id), so that the order of arrival does not
-- matter. Ids compare by bytes, in every locale.
CREATE TABLE ingestion.identity_links (
    project_id integer NOT NULL REFERENCES access.projects,
    anonymous_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    linked_at timestamptz NOT NULL,
    position bigint NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (project_id, anonymous_id)
);
-- Readers ask for the links that are newer than the version they know.
CREATE INDEX identity_links_version_idx ON ingestion.identity_links (project_id, version);
-- ResolveSubject lists the anonymous ids of a user.
CREATE INDEX identity_links_user_idx ON ingestion.identity_links (project_id, user_id);

CREATE TABLE ingestion.contracts (
    project_id integer NOT NULL REFERENCES access.projects,
    name text COLLATE "C" NOT NULL,
    schema_version text NOT NULL,
    json_schema text NOT NULL,
    mode text NOT NULL CONSTRAINT contracts_mode_check
        CHECK (mode IN ('observe', 'quarantine', 'reject')),
    owner text NOT NULL,
    description text NOT NULL,
    etag text NOT NULL,
    updated_at timestamptz NOT NULL,
    observed_violations bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (project_id, name)
);

-- Grows with every change of a project's contracts, so that every process
-- notices a change made by another.
CREATE TABLE ingestion.contract_versions (
    project_id integer PRIMARY KEY REFERENCES access.projects,
    version bigint NOT NULL
);

-- Events that break a rule, whole. One row per body, however often it is sent.
CREATE TABLE ingestion.quarantine (
    quarantine_id uuid PRIMARY KEY,
    project_id integer NOT NULL,
    source_id integer NOT NULL,
    message_hash uuid NOT NULL,
    body_hash uuid NOT NULL,
    -- northstar.ingestion.v1.Event as sent, or the bytes that are no event.
    event bytea,
    raw bytea,
    reason text NOT NULL,
    field text NOT NULL,
    message text NOT NULL,
    received_at timestamptz NOT NULL,
    state text NOT NULL CONSTRAINT quarantine_state_check CHECK (state = 'open'),
    FOREIGN KEY (project_id, source_id) REFERENCES ingestion.sources,
    CONSTRAINT quarantine_body_key UNIQUE (project_id, source_id, message_hash, body_hash),
    CONSTRAINT quarantine_content_check CHECK (num_nonnulls(event, raw) = 1)
);
-- Pages are read oldest first; the ids are ordered by time.
CREATE INDEX quarantine_page_idx ON ingestion.quarantine (project_id, quarantine_id);

CREATE VIEW ingestion.quarantine_counts AS
    SELECT project_id, source_id, reason, count(*) AS waiting
    FROM ingestion.quarantine WHERE state = 'open'
    GROUP BY project_id, source_id, reason;

CREATE TABLE ingestion.cursors (
    project_id integer NOT NULL REFERENCES access.projects,
    group_name text NOT NULL,
    position bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, group_name)
);

-- The one exception to "a service reads its own tables": moving the log through
-- gRPC would cost a copy of everything.
GRANT USAGE ON SCHEMA ingestion TO northstar_metrics;
GRANT SELECT ON
    ingestion.events,
    ingestion.identity_links,
    ingestion.log_heads,
    ingestion.sources,
    ingestion.source_counts,
    ingestion.quarantine_counts
TO northstar_metrics;
