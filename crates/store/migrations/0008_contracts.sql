-- Versions of contracts, their rules, what they note about events, and the life
-- of quarantined events.

-- A contract is kept as the document that it is. Its version stays a column,
-- because metrics may read that and nothing else of it.
ALTER TABLE ingestion.contracts ADD COLUMN spec json;
UPDATE ingestion.contracts SET spec = json_build_object(
    'schema_version', schema_version,
    'mode', mode,
    'owner', owner,
    'description', description,
    'json_schema', json_schema::json);
ALTER TABLE ingestion.contracts
    ALTER COLUMN spec SET NOT NULL,
    DROP COLUMN json_schema,
    DROP COLUMN mode,
    DROP COLUMN owner,
    DROP COLUMN description,
    ADD COLUMN late_events bigint NOT NULL DEFAULT 0,
    ADD COLUMN omitted_events bigint NOT NULL DEFAULT 0,
    ADD COLUMN superseded_events bigint NOT NULL DEFAULT 0;

-- Everything a contract ever said. The json type keeps the exact text, of which
-- the etag is a digest.
CREATE TABLE ingestion.contract_history (
    project_id integer NOT NULL REFERENCES access.projects,
    name text COLLATE "C" NOT NULL,
    revision bigint NOT NULL,
    schema_version text NOT NULL,
    spec json NOT NULL,
    etag text NOT NULL,
    bump text NOT NULL CONSTRAINT contract_history_bump_check
        CHECK (bump IN ('none', 'addition', 'revision', 'model')),
    applied_by text NOT NULL,
    applied_at timestamptz NOT NULL,
    decision_request uuid,
    PRIMARY KEY (project_id, name, revision)
);
INSERT INTO ingestion.contract_history
    (project_id, name, revision, schema_version, spec, etag, bump, applied_by, applied_at)
SELECT project_id, name, 1, spec ->> 'schema_version', spec, etag, 'none', '', updated_at
FROM ingestion.contracts;
-- History is not rewritten.
REVOKE UPDATE, DELETE ON ingestion.contract_history FROM northstar_ingestion;

-- What happens to events whose name has no contract; without a row they pass.
CREATE TABLE ingestion.unplanned_events (
    project_id integer PRIMARY KEY REFERENCES access.projects,
    mode text NOT NULL CONSTRAINT unplanned_events_mode_check
        CHECK (mode IN ('observe', 'quarantine', 'reject'))
);

-- What was noted about accepted events, for the few of which there is something
-- to note. The values kept aside may be personal: no other service may read
-- them, and their one door asks for an admin.
CREATE TABLE ingestion.event_notes (
    project_id integer NOT NULL,
    position bigint NOT NULL,
    name text NOT NULL,
    late boolean NOT NULL,
    -- The version of the contract it was accepted by, when not the current one.
    validated_with text,
    -- Properties that broke the contract, as JSON text of an object.
    omitted json,
    PRIMARY KEY (project_id, position)
);

-- open -> patched -> replayed | discarded. `replaying` is an event on its way
-- into the log: its body is fixed, so that whoever finishes the work after a
-- crash sends the same one and the log's keys make it one event.
ALTER TABLE ingestion.quarantine
    DROP CONSTRAINT quarantine_state_check,
    ADD CONSTRAINT quarantine_state_check
        CHECK (state IN ('open', 'patched', 'replaying', 'replayed', 'discarded')),
    -- northstar.ingestion.v1.Event as corrected; what was sent stays.
    ADD COLUMN patched bytea,
    ADD COLUMN position bigint,
    ADD COLUMN changed_by text,
    ADD COLUMN changed_at timestamptz,
    ADD COLUMN discard_reason text,
    ADD CONSTRAINT quarantine_replayed_check
        CHECK ((state = 'replayed') = (position IS NOT NULL)),
    ADD CONSTRAINT quarantine_discarded_check
        CHECK ((state = 'discarded') = (discard_reason IS NOT NULL));

-- What waits is what KPIs leave out.
CREATE OR REPLACE VIEW ingestion.quarantine_counts AS
    SELECT project_id, source_id, reason, count(*) AS waiting
    FROM ingestion.quarantine WHERE state IN ('open', 'patched', 'replaying')
    GROUP BY project_id, source_id, reason;
