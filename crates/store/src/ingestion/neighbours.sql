-- $1 project, $2.. links shown by events: anonymous ids, users, times. For each: whether it adds
-- nothing, what the log showed first about the anonymous id, and whether the id takes part in more
-- than links of events to users.
SELECT fact.anonymous_id AS "anonymous_id!", fact.user_id AS "user_id!",
    EXISTS (
        SELECT FROM ingestion.identity_facts known
        WHERE known.project_id = $1 AND known.from_kind = 'anonymous_id'
            AND known.from_value = fact.anonymous_id AND known.effective_at <= fact.linked_at
            AND known.to_kind = 'user_id' AND known.to_value = fact.user_id
            AND known.position IS NOT NULL
    ) AS "known!",
    first.to_value AS "first_user?",
    first.effective_at AS "first_at?",
    EXISTS (
        SELECT FROM ingestion.identity_facts said
        WHERE said.project_id = $1 AND said.from_kind = 'anonymous_id'
            AND said.from_value = fact.anonymous_id AND said.position IS NULL
    ) OR EXISTS (
        SELECT FROM ingestion.identity_facts other
        WHERE other.project_id = $1 AND other.to_kind = 'anonymous_id'
            AND other.to_value = fact.anonymous_id
    ) AS "entangled!"
FROM unnest($2::text[], $3::text[], $4::timestamptz[]) AS fact (anonymous_id, user_id, linked_at)
LEFT JOIN LATERAL (
    SELECT to_value, effective_at FROM ingestion.identity_facts shown
    WHERE shown.project_id = $1 AND shown.from_kind = 'anonymous_id'
        AND shown.from_value = fact.anonymous_id AND shown.position IS NOT NULL
    ORDER BY shown.effective_at, shown.to_value LIMIT 1
) first ON true
