-- Pillars, metrics and KPIs, as the documents their authors wrote. Names sort
-- by byte, so that a page token is a name.
CREATE TABLE metrics.definitions (
    project_id integer NOT NULL REFERENCES access.projects,
    kind text NOT NULL CONSTRAINT definitions_kind_check CHECK (kind IN ('pillar', 'metric', 'kpi')),
    name text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    etag text NOT NULL,
    document jsonb NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by text NOT NULL,
    PRIMARY KEY (project_id, kind, name)
);

-- Every definition a metric ever had, so that an old answer can be explained by
-- the version it carries.
CREATE TABLE metrics.metric_versions (
    project_id integer NOT NULL REFERENCES access.projects,
    name text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    document jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    PRIMARY KEY (project_id, name, version)
);

-- Which segment file covers which positions of the log. Files are a cache in
-- the folder of one process, so replicas with folders of their own do not
-- share rows.
CREATE TABLE metrics.segments (
    folder_id uuid NOT NULL,
    project_id integer NOT NULL REFERENCES access.projects,
    file text COLLATE "C" NOT NULL,
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    events bigint NOT NULL,
    bytes bigint NOT NULL,
    min_effective_at timestamptz NOT NULL,
    max_effective_at timestamptz NOT NULL,
    checksum bytea NOT NULL CONSTRAINT segments_checksum_check CHECK (length(checksum) = 8),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (folder_id, project_id, file)
);

-- An answer names the versions of the contracts its events were checked
-- against; nothing else of a contract is metrics' business.
GRANT SELECT (project_id, name, schema_version) ON ingestion.contracts TO northstar_metrics;
