-- The experiment registry, what was exposed when, and what was learned.
CREATE TABLE experiments.experiments (
    project_id integer NOT NULL REFERENCES access.projects,
    name text NOT NULL,
    spec jsonb NOT NULL,
    state text NOT NULL CONSTRAINT experiments_state_check
        CHECK (state IN ('draft', 'running', 'stopped', 'shipped', 'rolled_back')),
    version bigint NOT NULL,
    started_at timestamptz,
    stopped_at timestamptz,
    concluded_at timestamptz,
    shipped_variant text,
    -- The approved decision request that shipped it.
    shipped_by uuid,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, name),
    CONSTRAINT experiments_started_check CHECK ((state = 'draft') = (started_at IS NULL)),
    CONSTRAINT experiments_stopped_check
        CHECK ((state IN ('draft', 'running')) = (stopped_at IS NULL)),
    CONSTRAINT experiments_concluded_check
        CHECK ((state IN ('shipped', 'rolled_back')) = (concluded_at IS NOT NULL)),
    -- Whatever the program believes: nothing is shipped without a decision.
    CONSTRAINT experiments_shipped_check
        CHECK ((state = 'shipped') = (shipped_variant IS NOT NULL AND shipped_by IS NOT NULL))
);

-- When each subject met each experiment first. The exposure event is made from
-- it, so that it is the same whenever it is sent again.
CREATE TABLE experiments.exposures (
    project_id integer NOT NULL,
    experiment text NOT NULL,
    user_id text NOT NULL,
    occurred_at timestamptz NOT NULL,
    -- Whether the log has acknowledged the event.
    recorded boolean NOT NULL DEFAULT false,
    PRIMARY KEY (project_id, experiment, user_id)
);

-- What approvals was asked, kept before it is asked, so that a repeated call
-- asks the same.
CREATE TABLE experiments.ship_requests (
    ship_request_id uuid PRIMARY KEY,
    project_id integer NOT NULL,
    experiment text NOT NULL,
    variant text NOT NULL,
    author text NOT NULL,
    analysis jsonb NOT NULL,
    -- Set when approvals has answered.
    decision_request_id uuid CONSTRAINT ship_requests_decision_key UNIQUE,
    created_at timestamptz NOT NULL,
    FOREIGN KEY (project_id, experiment) REFERENCES experiments.experiments
);

CREATE TABLE experiments.learnings (
    project_id integer NOT NULL,
    experiment text NOT NULL,
    learning text NOT NULL CONSTRAINT learnings_learning_check CHECK (learning <> ''),
    author text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, experiment),
    FOREIGN KEY (project_id, experiment) REFERENCES experiments.experiments
);
REVOKE UPDATE, DELETE ON experiments.learnings FROM northstar_experiments;

-- Events on their way to the log; see approvals.outbox.
CREATE TABLE experiments.outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id integer NOT NULL REFERENCES access.projects,
    message_id text NOT NULL,
    name text NOT NULL,
    user_id text NOT NULL,
    anonymous_id text NOT NULL DEFAULT '',
    occurred_at timestamptz NOT NULL,
    properties jsonb NOT NULL,
    refusal text
);
