WITH new AS (
    SELECT * FROM unnest(
        $6::uuid[], $7::text[], $8::boolean[], $9::text[], $10::text[], $11::bigint[],
        $12::timestamptz[], $13::jsonb[], $14::text[]
    ) AS t (run_id, subject, anonymous, arm, state, trigger_position,
            trigger_at, trigger_properties, message_id)
),
made AS (
    INSERT INTO automations.runs
        (run_id, project_id, automation, activation, subject, anonymous, trigger_position,
         trigger_at, trigger_event, trigger_properties, state, attempts, actions_done, last_error,
         due_at, fence, created_at, finished_at)
    SELECT run_id, $1, $2, $3, subject, anonymous, trigger_position,
           trigger_at, $4, trigger_properties, state, 0, 0, '',
           -- A run of the holdout is over as soon as it is made.
           CASE state WHEN 'pending' THEN $5::timestamptz END, 0, $5,
           CASE state WHEN 'pending' THEN NULL ELSE $5::timestamptz END
    FROM new
    -- The subject has its run: an earlier event, a redelivery, or twice in this batch.
    ON CONFLICT (project_id, automation, subject) DO NOTHING
    RETURNING run_id
),
told AS (
    -- Both arms tell of themselves at the time of the trigger, so that outcomes are measured from
    -- the same origin, and before any action, so that membership does not depend on success.
    INSERT INTO automations.outbox
        (project_id, message_id, name, user_id, anonymous_id, occurred_at, properties)
    SELECT $1, message_id, 'northstar.automation.run',
           CASE WHEN anonymous THEN '' ELSE subject END,
           CASE WHEN anonymous THEN subject ELSE '' END,
           trigger_at,
           jsonb_build_object('automation', $2::text, 'arm', arm, 'run_id', run_id::text)
    FROM new JOIN made USING (run_id)
)
SELECT count(*) AS "made!" FROM made
