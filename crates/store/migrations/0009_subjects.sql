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

-- Who asked to be forgotten, and how far that is. The identifiers are known
-- until it is done, because the work must go on after a crash.
CREATE TABLE ingestion.erasures (
    erasure_id uuid PRIMARY KEY,
    project_id integer NOT NULL REFERENCES access.projects,
    -- What stands in place of the identifiers: random, so nothing leads back.
    pseudonym text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    proof text NOT NULL,
    requested_at timestamptz NOT NULL,
    -- Events up to here are looked at; those that come later are new.
    last_position bigint NOT NULL,
    -- Looked at so far.
    position bigint NOT NULL DEFAULT 0,
    identifiers bigint NOT NULL,
    events bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0,
    done_at timestamptz
);
CREATE INDEX erasures_page_idx ON ingestion.erasures (project_id, erasure_id);
CREATE INDEX erasures_open_idx ON ingestion.erasures (erasure_id) WHERE done_at IS NULL;

CREATE TABLE ingestion.erasure_identifiers (
    erasure_id uuid NOT NULL REFERENCES ingestion.erasures,
    kind text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    pseudonym text NOT NULL,
    PRIMARY KEY (erasure_id, kind, value)
);
-- The subject's events, found before anything is changed.
CREATE TABLE ingestion.erasure_events (
    erasure_id uuid NOT NULL REFERENCES ingestion.erasures,
    position bigint NOT NULL,
    PRIMARY KEY (erasure_id, position)
);

-- Facts are not changed, but for this: an identifier of the erasure at work is
-- replaced by its pseudonym wherever it stands. The service's role may not do
-- that otherwise, so this runs as the owner.
CREATE FUNCTION ingestion.pseudonymise(erasure uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    project integer;
BEGIN
    SELECT project_id INTO STRICT project FROM ingestion.erasures
    WHERE erasure_id = erasure AND done_at IS NULL;
    UPDATE ingestion.identity_facts fact SET from_value = named.pseudonym
    FROM ingestion.erasure_identifiers named
    WHERE named.erasure_id = erasure AND fact.project_id = project
        AND fact.from_kind = named.kind AND fact.from_value = named.value;
    UPDATE ingestion.identity_facts fact SET to_value = named.pseudonym
    FROM ingestion.erasure_identifiers named
    WHERE named.erasure_id = erasure AND fact.project_id = project
        AND fact.to_kind = named.kind AND fact.to_value = named.value;
    -- What a person wrote about a subject may name it.
    UPDATE ingestion.identity_facts fact SET reason = 'erased'
    FROM ingestion.erasure_identifiers named
    WHERE named.erasure_id = erasure AND fact.project_id = project AND fact.reason <> ''
        AND (fact.from_kind, fact.from_value) = (named.kind, named.pseudonym);
    UPDATE ingestion.identity_facts fact SET reason = 'erased'
    FROM ingestion.erasure_identifiers named
    WHERE named.erasure_id = erasure AND fact.project_id = project AND fact.reason <> ''
        AND (fact.to_kind, fact.to_value) = (named.kind, named.pseudonym);
    UPDATE ingestion.identity_changes change SET subject = named.pseudonym
    FROM ingestion.erasure_identifiers named
    WHERE named.erasure_id = erasure AND change.project_id = project
        AND change.subject_kind = named.kind AND change.subject = named.value;
    UPDATE ingestion.identity_changes change SET value = named.pseudonym
    FROM ingestion.erasure_identifiers named
    WHERE named.erasure_id = erasure AND change.project_id = project
        AND change.kind = named.kind AND change.value = named.value;
    UPDATE ingestion.consent_facts word SET value = named.pseudonym, reason = ''
    FROM ingestion.erasure_identifiers named
    WHERE named.erasure_id = erasure AND word.project_id = project
        AND word.kind = named.kind AND word.value = named.value;
    -- Answers kept for retries name subjects.
    DELETE FROM access.idempotency_keys
    WHERE project_id = project AND method LIKE '/northstar.ingestion.v1.SubjectsService/%';
    DELETE FROM ingestion.erasure_identifiers WHERE erasure_id = erasure;
    DELETE FROM ingestion.erasure_events WHERE erasure_id = erasure;
    UPDATE ingestion.log_heads SET erasure_version = erasure_version + 1
    WHERE project_id = project;
END $$;
REVOKE ALL ON FUNCTION ingestion.pseudonymise FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ingestion.pseudonymise TO northstar_ingestion;

-- With which erasures the segments of a folder are up to date.
CREATE TABLE metrics.segment_epochs (
    folder_id uuid NOT NULL,
    project_id integer NOT NULL REFERENCES access.projects,
    erasure_version bigint NOT NULL,
    PRIMARY KEY (folder_id, project_id)
);
