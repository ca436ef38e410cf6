-- One schema and one role per service; keys, idempotency and audit for all.
-- Roles belong to the cluster, so another database may have made them already.
DO $$
DECLARE
    service text;
BEGIN
    BEGIN
        CREATE ROLE northstar_service NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END;
    FOREACH service IN ARRAY ARRAY['ingestion', 'metrics', 'experiments', 'approvals', 'automations'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE northstar_%s NOLOGIN', service);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END;
        EXECUTE format('GRANT northstar_service TO northstar_%s', service);
        EXECUTE format('GRANT northstar_%s TO CURRENT_USER', service);
        EXECUTE format('CREATE SCHEMA %I', service);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO northstar_%s', service, service);
        EXECUTE format(
            'ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO northstar_%s',
            service, service);
        EXECUTE format(
            'ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT USAGE, SELECT ON SEQUENCES TO northstar_%s',
            service, service);
    END LOOP;
END $$;

-- Readiness compares the schema's version with the program's.
DO $$
BEGIN
    IF to_regclass('public._sqlx_migrations') IS NOT NULL THEN
        GRANT SELECT ON public._sqlx_migrations TO northstar_service;
    END IF;
END $$;

CREATE SCHEMA access;
GRANT USAGE ON SCHEMA access TO northstar_service;

CREATE TABLE access.projects (
    project_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CONSTRAINT projects_name_key UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO access.projects (name) VALUES ('default');

-- A key without project is a suite key: services use it among themselves and
-- name the project with each call.
CREATE TABLE access.api_keys (
    api_key_id uuid PRIMARY KEY,
    project_id integer REFERENCES access.projects,
    principal text NOT NULL,
    role text NOT NULL CONSTRAINT api_keys_role_check
        CHECK (role IN ('ingest', 'viewer', 'analyst', 'operator', 'approver', 'admin')),
    secret_sha256 bytea NOT NULL CONSTRAINT api_keys_secret_key UNIQUE,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
);
GRANT SELECT ON access.projects, access.api_keys TO northstar_service;
GRANT INSERT ON access.api_keys TO northstar_approvals;
GRANT UPDATE (revoked_at) ON access.api_keys TO northstar_approvals;

-- The answer of every mutation that carried a request id, so that the same
-- request gets the same answer.
CREATE TABLE access.idempotency_keys (
    project_id integer NOT NULL REFERENCES access.projects,
    method text NOT NULL,
    request_id uuid NOT NULL,
    body_sha256 bytea NOT NULL,
    response bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, method, request_id)
);
GRANT SELECT, INSERT ON access.idempotency_keys TO northstar_service;

CREATE SCHEMA audit;
GRANT USAGE ON SCHEMA audit TO northstar_service;

CREATE TABLE audit.heads (
    project_id integer PRIMARY KEY REFERENCES access.projects,
    sequence bigint NOT NULL,
    hash bytea NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON audit.heads TO northstar_service;

-- Append-only: no service may change or delete an entry. The detail is kept as
-- text because its exact bytes are hashed.
CREATE TABLE audit.entries (
    project_id integer NOT NULL REFERENCES access.projects,
    sequence bigint NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    resource text NOT NULL,
    detail text NOT NULL,
    created_at timestamptz NOT NULL,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (project_id, sequence)
);
GRANT SELECT, INSERT ON audit.entries TO northstar_service;
