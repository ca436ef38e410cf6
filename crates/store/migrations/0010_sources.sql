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
