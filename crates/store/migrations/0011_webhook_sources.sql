-- Webhook sources: the definition as a JSON document, and the secret that its
-- requests are signed with. The first byte of a secret says how it is kept: 0 as
-- it is, 1 sealed with the key of the configuration, so that neither a backup nor
-- a reader of this table can sign. After a change the secret before is accepted
-- until the other system has changed over too.
CREATE TABLE ingestion.webhook_sources (
    project_id integer NOT NULL REFERENCES access.projects,
    name text COLLATE "C" NOT NULL,
    spec text NOT NULL,
    etag text NOT NULL,
    updated_at timestamptz NOT NULL,
    secret bytea,
    secret_updated_at timestamptz,
    previous_secret bytea,
    previous_secret_until timestamptz,
    PRIMARY KEY (project_id, name)
);
