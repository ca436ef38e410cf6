-- Thresholds that ask people for decisions, the log of their evaluations, notes
-- for scorecards, and what automations did because people decided it.

-- Which kinds of documents there are is the program's to know; it grows.
ALTER TABLE metrics.definitions DROP CONSTRAINT IF EXISTS definitions_kind_check;
ALTER TABLE metrics.definitions ADD CONSTRAINT definitions_kind_check CHECK (kind ~ '^[a-z][a-z_]*$');

-- What a threshold remembers, when it is evaluated next and which replica does
-- it. A worker that lost its lease holds an old epoch and writes nothing. The row
-- outlives its document, so that numbers of episodes and of evaluations are used
-- once.
CREATE TABLE metrics.threshold_states (
    project_id integer NOT NULL REFERENCES access.projects,
    name text COLLATE "C" NOT NULL,
    -- Of the document that the state belongs to.
    version bigint NOT NULL,
    state jsonb NOT NULL,
    sequence bigint NOT NULL DEFAULT 0,
    -- Null while nothing is to be evaluated: paused or deleted.
    next_due_at timestamptz,
    pause_reason text,
    epoch bigint NOT NULL DEFAULT 0,
    lease_expires_at timestamptz,
    PRIMARY KEY (project_id, name),
    CONSTRAINT threshold_states_paused_check CHECK (pause_reason IS NULL OR next_due_at IS NULL)
);
-- What workers lease, longest due first.
CREATE INDEX threshold_states_due_idx ON metrics.threshold_states (next_due_at) WHERE next_due_at IS NOT NULL;

-- Every evaluation, with all that went into it: the document that was in force,
-- what was seen, and what was remembered before and after.
CREATE TABLE metrics.threshold_evaluations (
    project_id integer NOT NULL REFERENCES access.projects,
    name text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    version bigint NOT NULL,
    document jsonb NOT NULL,
    evaluated_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    observations jsonb NOT NULL,
    freshness text NOT NULL CONSTRAINT threshold_evaluations_freshness_check
        CHECK (freshness IN ('fresh', 'stale', 'empty')),
    reading text NOT NULL,
    breaches integer NOT NULL,
    gates text[] NOT NULL,
    state_before jsonb NOT NULL,
    state_after jsonb NOT NULL,
    effect jsonb NOT NULL,
    has_effect boolean NOT NULL,
    log_position bigint NOT NULL,
    -- Where the newest value comes from: an encoded Provenance.
    provenance bytea NOT NULL,
    PRIMARY KEY (project_id, name, sequence)
);
-- What happened stays as it happened.
REVOKE UPDATE, DELETE ON metrics.threshold_evaluations FROM northstar_metrics;

-- The question of an episode, until approvals has it: written with the evaluation
-- that opened the episode, asked afterwards under an id of its own, so that it is
-- asked once.
CREATE TABLE metrics.threshold_requests (
    project_id integer NOT NULL REFERENCES access.projects,
    name text COLLATE "C" NOT NULL,
    episode bigint NOT NULL,
    request_id uuid NOT NULL,
    -- An encoded CreateDecisionRequestRequest.
    request bytea NOT NULL,
    created_at timestamptz NOT NULL,
    -- When it is asked next; null once it is asked or refused.
    due_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    decision_request_id uuid,
    refusal text,
    PRIMARY KEY (project_id, name, episode),
    CONSTRAINT threshold_requests_settled_check
        CHECK ((due_at IS NULL) = (decision_request_id IS NOT NULL OR refusal IS NOT NULL))
);
CREATE INDEX threshold_requests_due_idx ON metrics.threshold_requests (due_at) WHERE due_at IS NOT NULL;

-- Notes of people about a pillar and a week (its Monday); a correction is another
-- note.
CREATE TABLE metrics.scorecard_notes (
    note_id uuid PRIMARY KEY,
    project_id integer NOT NULL REFERENCES access.projects,
    pillar text COLLATE "C" NOT NULL,
    week date NOT NULL CONSTRAINT scorecard_notes_week_check CHECK (extract(isodow FROM week) = 1),
    author text NOT NULL,
    body text NOT NULL CONSTRAINT scorecard_notes_body_check CHECK (body <> ''),
    created_at timestamptz NOT NULL
);
CREATE INDEX scorecard_notes_week_idx ON metrics.scorecard_notes (project_id, week, pillar, created_at);

-- Events on their way to the log; see approvals.outbox.
CREATE TABLE metrics.outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id integer NOT NULL REFERENCES access.projects,
    message_id text NOT NULL,
    name text NOT NULL,
    user_id text NOT NULL,
    anonymous_id text NOT NULL DEFAULT '',
    occurred_at timestamptz NOT NULL,
    properties jsonb NOT NULL,
    -- Why the log would not take it; such a row is not sent again.
    refusal text
);

-- Decisions that automations carried out, each once, however often it is told: an
-- automation that was activated again must not be paused by an old decision.
CREATE TABLE automations.carried_out_decisions (
    decision_request_id uuid PRIMARY KEY,
    project_id integer NOT NULL REFERENCES access.projects,
    automation text NOT NULL,
    action text NOT NULL,
    outcome text NOT NULL CONSTRAINT carried_out_decisions_outcome_check
        CHECK (outcome IN ('paused', 'not_active', 'edited', 'unknown_automation')),
    carried_out_at timestamptz NOT NULL
);
REVOKE UPDATE, DELETE ON automations.carried_out_decisions FROM northstar_automations;
