-- Cohorts are documents beside pillars, metrics and KPIs. Which kinds there are is
-- the program's to say.
ALTER TABLE metrics.definitions
    DROP CONSTRAINT definitions_kind_check,
    ADD CONSTRAINT definitions_kind_check CHECK (kind ~ '^[a-z][a-z_]*$');

-- The members of cohorts by list.
CREATE TABLE metrics.cohort_members (
    project_id integer NOT NULL REFERENCES access.projects,
    cohort text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    PRIMARY KEY (project_id, cohort, kind, value)
);
-- An erasure finds a subject in every list.
CREATE INDEX cohort_members_subject_idx ON metrics.cohort_members (project_id, kind, value);

-- Whoever asks to be forgotten leaves every list at once, in the transaction that
-- asks. Ingestion may not write here otherwise, so this runs as the owner.
CREATE FUNCTION metrics.forget_cohort_member() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM metrics.cohort_members member
    USING ingestion.erasures erasure
    WHERE erasure.erasure_id = NEW.erasure_id AND member.project_id = erasure.project_id
        AND member.kind = NEW.kind AND member.value = NEW.value;
    RETURN NULL;
END
$$;
REVOKE EXECUTE ON FUNCTION metrics.forget_cohort_member() FROM PUBLIC;
CREATE TRIGGER forget_cohort_member AFTER INSERT ON ingestion.erasure_identifiers
    FOR EACH ROW EXECUTE FUNCTION metrics.forget_cohort_member();

-- Values that were told to somebody: of each question every closed bucket as it was
-- last known. A question is the request, so that it can be asked again.
CREATE TABLE metrics.served_questions (
    project_id integer NOT NULL REFERENCES access.projects,
    question_id bytea NOT NULL
        CONSTRAINT served_questions_id_check CHECK (length(question_id) = 32),
    metric text COLLATE "C" NOT NULL,
    -- The KPI whose scorecard asked; empty for a question about a metric.
    kpi text COLLATE "C" NOT NULL,
    -- northstar.metrics.v1.QueryMetricRequest
    request bytea NOT NULL,
    -- Events at or after this instant were not known, or did not count.
    as_of timestamptz NOT NULL,
    metric_version bigint NOT NULL,
    -- The definitions that its numbers rest on, as they were.
    definitions_hash bytea NOT NULL,
    -- How much of the log and of what is known of subjects the values rest on.
    log_position bigint NOT NULL,
    identity_version bigint NOT NULL,
    consent_version bigint NOT NULL,
    consent_policy_version bigint NOT NULL,
    erasure_version bigint NOT NULL,
    served_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, question_id)
);
-- The oldest make room for new ones.
CREATE INDEX served_questions_age_idx ON metrics.served_questions (project_id, served_at);
-- The worker takes those that know the least.
CREATE INDEX served_questions_known_idx ON metrics.served_questions (project_id, log_position);

CREATE TABLE metrics.served_values (
    project_id integer NOT NULL,
    question_id bytea NOT NULL,
    -- Start of the bucket; the start of the range when it is one.
    bucket_start timestamptz NOT NULL,
    -- Value by dimension, as JSON.
    dimensions jsonb NOT NULL,
    -- Null when it could not be computed.
    value double precision,
    served_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, question_id, bucket_start, dimensions),
    FOREIGN KEY (project_id, question_id) REFERENCES metrics.served_questions ON DELETE CASCADE
);

-- Values that later changed. Nothing here is ever changed.
CREATE TABLE metrics.restatements (
    project_id integer NOT NULL REFERENCES access.projects,
    restatement_id bigint GENERATED ALWAYS AS IDENTITY,
    metric text COLLATE "C" NOT NULL,
    kpi text COLLATE "C" NOT NULL,
    question_id bytea NOT NULL,
    request bytea NOT NULL,
    bucket_start timestamptz NOT NULL,
    dimensions jsonb NOT NULL,
    old_value double precision,
    new_value double precision,
    causes text[] NOT NULL CONSTRAINT restatements_causes_check CHECK (
        cardinality(causes) > 0 AND causes <@ ARRAY[
            'late_event', 'replay', 'merge', 'unmerge', 'consent', 'erasure', 'definition'
        ]
    ),
    old_metric_version bigint NOT NULL,
    new_metric_version bigint NOT NULL,
    old_log_position bigint NOT NULL,
    new_log_position bigint NOT NULL,
    served_at timestamptz NOT NULL,
    restated_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, restatement_id)
);
CREATE INDEX restatements_metric_idx ON metrics.restatements (project_id, metric, restatement_id);
REVOKE UPDATE, DELETE ON metrics.restatements FROM northstar_metrics;

-- Why a number changed: which positions were replayed from quarantine, and what was
-- said about whom is whom.
GRANT SELECT (project_id, position, state) ON ingestion.quarantine TO northstar_metrics;
GRANT SELECT (project_id, fact_id, verb, recorded_at) ON ingestion.identity_facts
    TO northstar_metrics;
-- Restatements ask which of the late positions were replayed.
CREATE INDEX quarantine_position_idx ON ingestion.quarantine (project_id, position)
    WHERE position IS NOT NULL;
