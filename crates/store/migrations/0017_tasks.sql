-- What becomes of a question beside a verdict: who asked takes it back, or it is a
-- task that somebody takes on. What thresholds take back, and what automations made
-- of changes that people approved.
ALTER TABLE approvals.decision_requests
    ADD COLUMN kind text NOT NULL DEFAULT 'change' CONSTRAINT decision_requests_kind_check
        CHECK (kind IN ('change', 'task')),
    -- Who answers for what is asked about; empty when nobody was named.
    ADD COLUMN owner text NOT NULL DEFAULT '',
    ADD COLUMN withdraw_reason text,
    DROP CONSTRAINT decision_requests_state_check,
    ADD CONSTRAINT decision_requests_state_check CHECK (state IN (
        'pending', 'approved', 'rejected', 'expired', 'withdrawn', 'acknowledged')),
    ADD CONSTRAINT decision_requests_withdrawn_check
        CHECK ((state = 'withdrawn') = (withdraw_reason IS NOT NULL)),
    -- Whatever the program believes: taking a task on lets nothing happen.
    ADD CONSTRAINT decision_requests_task_check
        CHECK (CASE kind WHEN 'task' THEN state <> 'approved' ELSE state <> 'acknowledged' END);
ALTER TABLE approvals.verdicts
    DROP CONSTRAINT verdicts_kind_check,
    ADD CONSTRAINT verdicts_kind_check CHECK (kind IN ('approve', 'reject', 'edit', 'acknowledge'));

-- The value of an episode recovered: its question is taken back, once approvals has
-- it. Null reason while it stands; null time once it is settled.
ALTER TABLE metrics.threshold_requests
    ADD COLUMN withdraw_reason text,
    ADD COLUMN withdraw_due_at timestamptz,
    -- What became of it: withdrawn, or the state that was there first.
    ADD COLUMN withdraw_outcome text,
    ADD CONSTRAINT threshold_requests_withdraw_check
        CHECK (withdraw_reason IS NOT NULL OR (withdraw_due_at IS NULL AND withdraw_outcome IS NULL));
CREATE INDEX threshold_requests_withdraw_idx ON metrics.threshold_requests (withdraw_due_at)
    WHERE withdraw_due_at IS NOT NULL;

ALTER TABLE automations.carried_out_decisions
    -- What stood in the way, in words; empty where nothing did.
    ADD COLUMN problem text NOT NULL DEFAULT '',
    DROP CONSTRAINT carried_out_decisions_outcome_check,
    ADD CONSTRAINT carried_out_decisions_outcome_check CHECK (outcome IN (
        'paused', 'applied', 'not_active', 'edited', 'unknown_automation', 'outdated', 'refused'));
