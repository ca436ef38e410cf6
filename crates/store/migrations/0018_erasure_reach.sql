-- An erasure goes on beyond the log: through the files of the archive, and
-- through what other services hold. They hear of it from the log, ask ingestion
-- whom it is about, and report; until the last of them has, the identifiers are
-- known.

ALTER TABLE ingestion.erasures
    ADD COLUMN stage text NOT NULL DEFAULT 'looking' CONSTRAINT erasures_stage_check
        CHECK (stage IN ('looking', 'rewriting', 'removing', 'following', 'done')),
    -- Archived files that begin up to here are looked at.
    ADD COLUMN archive_position bigint NOT NULL DEFAULT 0,
    -- Events of the subject in archived files, and files they were in.
    ADD COLUMN archived_events bigint NOT NULL DEFAULT 0,
    ADD COLUMN archived_files bigint NOT NULL DEFAULT 0,
    -- The head when the log was rewritten.
    ADD COLUMN rewrite_position bigint NOT NULL DEFAULT 0,
    -- When nothing was left anywhere; `done_at` is when nothing was left in the
    -- log and in the tables of ingestion.
    ADD COLUMN finished_at timestamptz,
    -- Why the last try did not get on.
    ADD COLUMN problem text;
UPDATE ingestion.erasures SET stage = 'done', finished_at = done_at WHERE done_at IS NOT NULL;
-- What the worker looks for.
DROP INDEX ingestion.erasures_open_idx;
CREATE INDEX erasures_work_idx ON ingestion.erasures (erasure_id)
    WHERE stage IN ('looking', 'rewriting', 'removing');

-- Files without the subject, written and verified beside those that hold it.
-- They take their places in the transaction that changes the log; the others are
-- deleted afterwards, and the row with them.
CREATE TABLE ingestion.erasure_files (
    erasure_id uuid NOT NULL REFERENCES ingestion.erasures,
    first_position bigint NOT NULL,
    old_location text NOT NULL,
    old_sha256 bytea NOT NULL,
    location text NOT NULL,
    bytes bigint NOT NULL,
    sha256 bytea NOT NULL CONSTRAINT erasure_files_sha256_check CHECK (length(sha256) = 32),
    verified_at timestamptz NOT NULL,
    -- Events of the subject in it.
    events bigint NOT NULL,
    swapped boolean NOT NULL DEFAULT false,
    PRIMARY KEY (erasure_id, first_position)
);

-- Events in archived files are noted beside those of the log: values that were kept
-- aside from them go too.
ALTER TABLE ingestion.erasure_events ADD COLUMN archived boolean NOT NULL DEFAULT false;

-- Which services have to follow an erasure, and how far each is.
CREATE TABLE ingestion.erasure_services (
    erasure_id uuid NOT NULL REFERENCES ingestion.erasures,
    service text NOT NULL,
    records bigint NOT NULL DEFAULT 0,
    -- What it waits for, or what is left to people.
    note text NOT NULL DEFAULT '',
    reported_at timestamptz,
    done_at timestamptz,
    PRIMARY KEY (erasure_id, service)
);
-- What a service asks for.
CREATE INDEX erasure_services_open_idx ON ingestion.erasure_services (service, erasure_id)
    WHERE done_at IS NULL;

-- Puts the files that an erasure wrote in the places of those they were made
-- from. What was verified stays as it was verified but for this. `false`, and
-- nothing is changed, when one of them was replaced meanwhile. The tables of the
-- partitions they came from hold the subject too, so their grace is over.
CREATE FUNCTION ingestion.swap_archived(erasure uuid, at timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    project integer;
    wanted bigint;
    places bigint;
BEGIN
    SELECT project_id INTO STRICT project FROM ingestion.erasures
    WHERE erasure_id = erasure AND done_at IS NULL;
    SELECT count(*) INTO wanted FROM ingestion.erasure_files WHERE erasure_id = erasure;
    SELECT count(*) INTO places FROM (
        SELECT FROM ingestion.archived_files held JOIN ingestion.erasure_files new USING (first_position)
        WHERE new.erasure_id = erasure AND held.project_id = project AND held.detached_at IS NOT NULL
            AND held.location = new.old_location AND held.sha256 = new.old_sha256
        FOR UPDATE OF held
    ) AS place;
    IF places <> wanted THEN
        RETURN false;
    END IF;
    UPDATE ingestion.archived_files held
    SET location = new.location, bytes = new.bytes, sha256 = new.sha256, verified_at = new.verified_at
    FROM ingestion.erasure_files new
    WHERE new.erasure_id = erasure AND held.project_id = project
        AND held.first_position = new.first_position;
    UPDATE ingestion.detached_partitions detached SET drop_at = least(detached.drop_at, at)
    WHERE detached.dropped_at IS NULL AND detached.partition_number IN (
        SELECT held.partition_number
        FROM ingestion.archived_files held JOIN ingestion.erasure_files new USING (first_position)
        WHERE new.erasure_id = erasure AND held.project_id = project);
    UPDATE ingestion.erasure_files SET swapped = true WHERE erasure_id = erasure;
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION ingestion.swap_archived FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ingestion.swap_archived TO northstar_ingestion;

-- As before, but the identifiers stay until every service has followed.
CREATE OR REPLACE FUNCTION ingestion.pseudonymise(erasure uuid) RETURNS void
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
    DELETE FROM ingestion.erasure_events WHERE erasure_id = erasure;
    UPDATE ingestion.log_heads SET erasure_version = erasure_version + 1
    WHERE project_id = project;
END $$;

-- Each service forgets by itself, so no trigger reaches into another's schema.
DROP TRIGGER forget_cohort_member ON ingestion.erasure_identifiers;
DROP FUNCTION metrics.forget_cohort_member();

-- Answers of a service that are kept for retries and name a subject.
CREATE FUNCTION access.forget_answers(project integer, area text, identifiers text[]) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH gone AS (
        DELETE FROM access.idempotency_keys kept
        WHERE kept.project_id = project AND starts_with(kept.method, '/northstar.' || area || '.')
            AND EXISTS (
                SELECT FROM unnest(identifiers) AS one (value)
                WHERE value <> '' AND position(convert_to(value, 'UTF8') IN kept.response) > 0)
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION access.forget_answers FROM PUBLIC;
GRANT EXECUTE ON FUNCTION access.forget_answers TO northstar_service;

-- What is never changed otherwise, each with the one change that an erasure makes.
CREATE FUNCTION metrics.forget_restatements(project integer, ids bigint[]) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH gone AS (
        DELETE FROM metrics.restatements
        WHERE project_id = project AND restatement_id = ANY(ids) RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION metrics.forget_restatements FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metrics.forget_restatements TO northstar_metrics;

CREATE FUNCTION experiments.rewrite_learning(project integer, of_experiment text, words text)
RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE experiments.learnings SET learning = words
    WHERE project_id = project AND experiment = of_experiment
$$;
REVOKE ALL ON FUNCTION experiments.rewrite_learning FROM PUBLIC;
GRANT EXECUTE ON FUNCTION experiments.rewrite_learning TO northstar_experiments;

CREATE FUNCTION approvals.rewrite_verdict(request uuid, cycle integer, by_approver text, words text)
RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE approvals.verdicts SET reason = words
    WHERE decision_request_id = request AND review_cycle = cycle AND approver = by_approver
$$;
REVOKE ALL ON FUNCTION approvals.rewrite_verdict FROM PUBLIC;
GRANT EXECUTE ON FUNCTION approvals.rewrite_verdict TO northstar_approvals;

-- Values that contracts keep aside, sealed with the key of the configuration, which
-- no database knows. What was kept before stays as it is.
ALTER TABLE ingestion.event_notes
    ADD COLUMN sealed bytea,
    ADD CONSTRAINT event_notes_sealed_check CHECK (num_nonnulls(omitted, sealed) <= 1);
