-- Which kinds of definitions there are is for the code to say: activities come,
-- and other kinds will.
ALTER TABLE metrics.definitions DROP CONSTRAINT IF EXISTS definitions_kind_check;
ALTER TABLE metrics.definitions
    ADD CONSTRAINT definitions_kind_check CHECK (kind ~ '^[a-z][a-z_]*$');
