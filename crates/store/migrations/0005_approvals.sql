-- Policies, decision requests, verdicts, and the events that tell of them.
CREATE TABLE approvals.policies (
    project_id integer NOT NULL REFERENCES access.projects,
    name text NOT NULL,
    action text NOT NULL,
    role text NOT NULL CONSTRAINT policies_role_check CHECK (role IN ('approver', 'admin')),
    quorum integer NOT NULL CONSTRAINT policies_quorum_check CHECK (quorum >= 1),
    sla_seconds bigint NOT NULL CONSTRAINT policies_sla_check CHECK (sla_seconds >= 60),
    owner text NOT NULL CONSTRAINT policies_owner_check CHECK (owner <> ''),
    version bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, name),
    -- Two policies for one action would leave the choice between them to chance.
    CONSTRAINT policies_action_key UNIQUE (project_id, action)
);

CREATE TABLE approvals.decision_requests (
    decision_request_id uuid PRIMARY KEY,
    project_id integer NOT NULL REFERENCES access.projects,
    action text NOT NULL,
    subject text NOT NULL,
    summary text NOT NULL,
    -- Text, because its exact bytes are hashed.
    diff text NOT NULL,
    diff_digest bytea NOT NULL,
    evidence jsonb NOT NULL,
    author text NOT NULL,
    diff_author text NOT NULL,
    role text NOT NULL CONSTRAINT decision_requests_role_check CHECK (role IN ('approver', 'admin')),
    quorum integer NOT NULL CONSTRAINT decision_requests_quorum_check CHECK (quorum >= 1),
    state text NOT NULL CONSTRAINT decision_requests_state_check
        CHECK (state IN ('pending', 'approved', 'rejected', 'expired')),
    review_cycle integer NOT NULL,
    created_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    decided_at timestamptz,
    CONSTRAINT decision_requests_decided_check CHECK ((state = 'pending') = (decided_at IS NULL))
);
-- Pages of a project, newest first: ids are ordered by time.
CREATE INDEX decision_requests_page_idx
    ON approvals.decision_requests (project_id, decision_request_id DESC);
-- What the expiry worker looks for.
CREATE INDEX decision_requests_due_idx
    ON approvals.decision_requests (due_at) WHERE state = 'pending';

CREATE TABLE approvals.verdicts (
    decision_request_id uuid NOT NULL REFERENCES approvals.decision_requests,
    review_cycle integer NOT NULL,
    approver text NOT NULL,
    kind text NOT NULL CONSTRAINT verdicts_kind_check CHECK (kind IN ('approve', 'reject', 'edit')),
    reason text NOT NULL,
    diff_digest bytea NOT NULL,
    created_at timestamptz NOT NULL,
    -- One verdict per approver and cycle, whatever the program believes.
    PRIMARY KEY (decision_request_id, review_cycle, approver)
);
-- A verdict once given stays as it was given.
REVOKE UPDATE, DELETE ON approvals.verdicts FROM northstar_approvals;

-- Events on their way to the log: written with the change they tell of, sent
-- afterwards, so that no change waits for ingestion.
CREATE TABLE approvals.outbox (
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
