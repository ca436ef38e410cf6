-- Automations, the activations people approved, their runs, and the events that
-- tell of them.
CREATE TABLE automations.automations (
    project_id integer NOT NULL REFERENCES access.projects,
    name text NOT NULL,
    -- Text, because its exact bytes are what people approve.
    definition text NOT NULL,
    definition_digest bytea NOT NULL,
    state text NOT NULL CONSTRAINT automations_state_check
        CHECK (state IN ('draft', 'active', 'paused', 'retired')),
    -- The activation it acts under; null once the definition has changed.
    activation integer,
    sunset_at timestamptz NOT NULL,
    version bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, name),
    CONSTRAINT automations_active_check CHECK (state <> 'active' OR activation IS NOT NULL)
);
-- What the sunset worker and the trigger loops look for.
CREATE INDEX automations_active_idx ON automations.automations (sunset_at) WHERE state = 'active';

-- Each time an automation began to act: under which approval, and by which
-- definition. Runs keep to it even when the automation is edited meanwhile.
CREATE TABLE automations.activations (
    project_id integer NOT NULL,
    name text NOT NULL,
    activation integer NOT NULL,
    definition text NOT NULL,
    definition_digest bytea NOT NULL,
    decision_request_id uuid NOT NULL,
    activated_by text NOT NULL,
    activated_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, name, activation),
    FOREIGN KEY (project_id, name) REFERENCES automations.automations,
    CONSTRAINT activations_definition_key UNIQUE (project_id, name, activation, definition_digest)
);
-- What was approved stays as it was approved.
REVOKE UPDATE, DELETE ON automations.activations FROM northstar_automations;

-- Whatever the program believes: what is active is what was approved.
ALTER TABLE automations.automations ADD CONSTRAINT automations_approved_fkey
    FOREIGN KEY (project_id, name, activation, definition_digest)
    REFERENCES automations.activations (project_id, name, activation, definition_digest);

-- How far the triggers of the latest activation are handled, and which replica
-- follows the log for it. A loop that lost its lease holds an old epoch and
-- writes nothing.
CREATE TABLE automations.progress (
    project_id integer NOT NULL,
    name text NOT NULL,
    handled_position bigint NOT NULL CONSTRAINT progress_position_check CHECK (handled_position >= 0),
    epoch bigint NOT NULL,
    lease_expires_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, name),
    FOREIGN KEY (project_id, name) REFERENCES automations.automations
);

CREATE TABLE automations.runs (
    run_id uuid PRIMARY KEY,
    project_id integer NOT NULL,
    automation text NOT NULL,
    activation integer NOT NULL,
    subject text NOT NULL,
    -- Whether the subject is an anonymous id.
    anonymous boolean NOT NULL,
    trigger_position bigint NOT NULL,
    trigger_at timestamptz NOT NULL,
    trigger_event text NOT NULL,
    trigger_properties jsonb NOT NULL,
    state text NOT NULL CONSTRAINT runs_state_check
        CHECK (state IN ('pending', 'running', 'succeeded', 'would_have_acted', 'dead_letter')),
    attempts integer NOT NULL,
    -- Actions that are done; the next attempt goes on after them.
    actions_done integer NOT NULL,
    last_error text NOT NULL,
    -- Pending: the next attempt. Running: when the lease ends. Null otherwise.
    due_at timestamptz,
    -- Grows with every lease; a worker whose number is old writes nothing.
    fence bigint NOT NULL,
    created_at timestamptz NOT NULL,
    finished_at timestamptz,
    -- Once per subject, however often its event is delivered.
    CONSTRAINT runs_subject_key UNIQUE (project_id, automation, subject),
    FOREIGN KEY (project_id, automation, activation) REFERENCES automations.activations,
    CONSTRAINT runs_due_check CHECK ((due_at IS NOT NULL) = (state IN ('pending', 'running')))
);
-- What workers lease, oldest first.
CREATE INDEX runs_due_idx ON automations.runs (due_at) WHERE due_at IS NOT NULL;
-- Pages of an automation, newest first (ids are ordered by time), and counts by
-- state.
CREATE INDEX runs_page_idx ON automations.runs (project_id, automation, run_id DESC);
CREATE INDEX runs_state_idx ON automations.runs (project_id, automation, state);

CREATE TABLE automations.outbox (
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
