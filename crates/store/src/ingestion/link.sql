-- $1 project, $2.. facts: anonymous ids, users, times, positions; $6 version of the map
WITH fact AS (
    SELECT anonymous_id COLLATE "C" AS anonymous_id, user_id COLLATE "C" AS user_id, linked_at, position
    FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::bigint[])
        AS fact (anonymous_id, user_id, linked_at, position)
),
stronger AS (
    SELECT fact.*,
        -- A fact may only prove an older date for the same user: no new version.
        CASE WHEN known.user_id IS DISTINCT FROM fact.user_id
            THEN $6::bigint + count(*) FILTER (WHERE known.user_id IS DISTINCT FROM fact.user_id)
                OVER (ORDER BY fact.anonymous_id)
            ELSE known.version
        END AS version
    FROM fact
    LEFT JOIN ingestion.identity_links known
        ON known.project_id = $1 AND known.anonymous_id = fact.anonymous_id
    WHERE known.anonymous_id IS NULL
        OR (fact.linked_at, fact.user_id) < (known.linked_at, known.user_id)
),
linked AS (
    INSERT INTO ingestion.identity_links
        (project_id, anonymous_id, user_id, linked_at, position, version)
    SELECT $1, anonymous_id, user_id, linked_at, position, version FROM stronger
    ON CONFLICT (project_id, anonymous_id) DO UPDATE SET
        user_id = excluded.user_id,
        linked_at = excluded.linked_at,
        position = excluded.position,
        version = excluded.version
    RETURNING anonymous_id, user_id, linked_at, version
),
head AS (
    UPDATE ingestion.log_heads SET identity_version = (SELECT max(version) FROM linked)
    WHERE project_id = $1 AND identity_version < (SELECT max(version) FROM linked)
)
SELECT anonymous_id AS "anonymous_id!", user_id AS "user_id!", linked_at AS "linked_at!"
FROM linked
UNION ALL
-- The statement's snapshot: what was known and still holds.
SELECT known.anonymous_id, known.user_id, known.linked_at
FROM fact JOIN ingestion.identity_links known
    ON known.project_id = $1 AND known.anonymous_id = fact.anonymous_id
WHERE NOT EXISTS (SELECT FROM stronger WHERE stronger.anonymous_id = fact.anonymous_id)
