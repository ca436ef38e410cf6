-- Who is who, what they agreed to, and what was erased.

-- Every statement about two identifiers, for ever: an event that carries both
-- (then it has a position), or a person. The identity map follows from these
-- rows and the policy alone. Ids compare by bytes, in every locale.
CREATE TABLE ingestion.identity_facts (
    fact_id bigint GENERATED ALWAYS AS IDENTITY,
    project_id integer NOT NULL REFERENCES access.projects,
    verb text NOT NULL CONSTRAINT identity_facts_verb_check
        CHECK (verb IN ('link', 'unlink', 'merge', 'unmerge')),
    from_kind text COLLATE "C" NOT NULL,
    from_value text COLLATE "C" NOT NULL,
    to_kind text COLLATE "C" NOT NULL,
    to_value text COLLATE "C" NOT NULL,
    effective_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    -- Of the event that shows it; null when a person says it.
    position bigint,
    -- The merge that an unmerge takes back.
    undoes bigint,
    actor text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (project_id, fact_id),
    CONSTRAINT identity_facts_undoes_check CHECK ((verb = 'unmerge') = (undoes IS NOT NULL))
);
-- The neighbours of an identifier, and the first fact about it.
CREATE INDEX identity_facts_from_idx ON ingestion.identity_facts
    (project_id, from_kind, from_value, effective_at, to_value);
CREATE INDEX identity_facts_to_idx ON ingestion.identity_facts (project_id, to_kind, to_value);
-- Few: what persons said. Tells whether an identifier is more than a device.
CREATE INDEX identity_facts_said_idx ON ingestion.identity_facts (project_id, from_kind, from_value)
    WHERE position IS NULL;
REVOKE UPDATE, DELETE ON ingestion.identity_facts FROM northstar_ingestion;

-- The map, as the history of its changes. The map at a version is, for each
-- identifier, the last change up to it; an identifier without one is its own
-- subject.
CREATE TABLE ingestion.identity_changes (
    project_id integer NOT NULL REFERENCES access.projects,
    version bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    subject_kind text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, kind, value, version)
);
-- Readers ask for what is newer than the version they know.
CREATE INDEX identity_changes_version_idx ON ingestion.identity_changes (project_id, version);
-- ResolveSubject lists the identifiers of a subject.
CREATE INDEX identity_changes_subject_idx ON ingestion.identity_changes
    (project_id, subject_kind, subject);
REVOKE UPDATE, DELETE ON ingestion.identity_changes FROM northstar_ingestion;

-- What was known until now: the strongest event of each anonymous id.
INSERT INTO ingestion.identity_facts
    (project_id, verb, from_kind, from_value, to_kind, to_value, effective_at, recorded_at, position)
SELECT project_id, 'link', 'anonymous_id', anonymous_id, 'user_id', user_id, linked_at, now(), position
FROM ingestion.identity_links ORDER BY project_id, version, anonymous_id;
INSERT INTO ingestion.identity_changes
    (project_id, version, kind, value, subject_kind, subject, recorded_at)
SELECT project_id, version, 'anonymous_id', anonymous_id, 'user_id', user_id, now()
FROM ingestion.identity_links;
DROP TABLE ingestion.identity_links;

-- One document of each kind a project.
CREATE TABLE ingestion.subject_policies (
    project_id integer NOT NULL REFERENCES access.projects,
    kind text NOT NULL CONSTRAINT subject_policies_kind_check CHECK (kind IN ('identity', 'consent')),
    document jsonb NOT NULL,
    etag text NOT NULL,
    -- Grows with every change, so that every process notices one made by another.
    version bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, kind)
);

-- What somebody agreed to or withdrew, by purpose: an event that says so, or a
-- person. The last by effective time holds; of the same time the refusal.
CREATE TABLE ingestion.consent_facts (
    project_id integer NOT NULL REFERENCES access.projects,
    version bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    purpose text COLLATE "C" NOT NULL,
    granted boolean NOT NULL,
    effective_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    position bigint,
    actor text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (project_id, version)
);
CREATE INDEX consent_facts_subject_idx ON ingestion.consent_facts
    (project_id, kind, value, purpose, effective_at);
REVOKE UPDATE, DELETE ON ingestion.consent_facts FROM northstar_ingestion;

ALTER TABLE ingestion.log_heads
    -- Grows by one with every consent fact.
    ADD COLUMN consent_version bigint NOT NULL DEFAULT 0,
    -- Grows by one with every erasure: copies of the log made before are stale.
    ADD COLUMN erasure_version bigint NOT NULL DEFAULT 0;

-- Events that were refused for region or consent: how many, never what.
CREATE TABLE ingestion.refusals (
    project_id integer NOT NULL,
    source_id integer NOT NULL,
    reason text NOT NULL,
    day date NOT NULL,
    events bigint NOT NULL,
    PRIMARY KEY (project_id, source_id, reason, day),
    FOREIGN KEY (project_id, source_id) REFERENCES ingestion.sources
);

GRANT SELECT ON
    ingestion.identity_changes,
    ingestion.subject_policies,
    ingestion.consent_facts
TO northstar_metrics;
