"""Calls that cost money before there is a task: they name their agent and person, whose budgets they are held against.

A gateway that is older than this calls the functions as before: what is new has a default.
"""

from django.db import migrations

RESERVE = """
CREATE FUNCTION llm_reserve(
    p_org uuid, p_task uuid, p_record uuid, p_kind text, p_model text, p_key uuid, p_estimate bigint, p_rates jsonb,
    p_now timestamptz, p_day text, p_month text, p_policy integer, p_platform integer,
    p_agent uuid DEFAULT NULL, p_user uuid DEFAULT NULL, p_chat uuid DEFAULT NULL
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_chain uuid[];
    v_budgets uuid[];
    v_buckets text[];
    v_periods uuid[] := '{}';
    v_row record;
    v_agent uuid;
    v_user uuid;
    v_status text;
    v_spent bigint;
    v_reserved bigint;
    v_refusal jsonb;
BEGIN
    PERFORM set_config('app.org_id', p_org::text, true);
    -- The caller judged the call by rules that have changed meanwhile: it reads them anew and comes again.
    IF p_policy IS NOT NULL AND (
        coalesce((SELECT version FROM llm_policy WHERE org_id = p_org), 0) <> p_policy
        OR coalesce((SELECT version FROM llm_platform), 0) <> p_platform
    ) THEN
        RETURN '{"outcome": "stale"}';
    END IF;
    -- Whoever sets a budget up waits for the calls that did not see it yet, and they for nobody.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('llm_budget/' || p_org::text, 0));
    WITH RECURSIVE chain AS (
        SELECT id, parent_id FROM task WHERE id = p_task
        UNION ALL SELECT t.id, t.parent_id FROM task t JOIN chain ON t.id = chain.parent_id
    ) SELECT array_agg(id) INTO v_chain FROM chain;
    FOR v_row IN
        SELECT id, status, agent_id, user_id, max_budget_microusd AS cap FROM task
        WHERE id = ANY(v_chain) ORDER BY id FOR NO KEY UPDATE
    LOOP
        IF v_row.id = p_task THEN
            v_status := v_row.status;
            v_agent := v_row.agent_id;
            v_user := v_row.user_id;
        END IF;
        IF v_row.cap IS NOT NULL THEN
            WITH RECURSIVE tree AS (
                SELECT id, cost_microusd, reserved_microusd FROM task WHERE id = v_row.id
                UNION ALL
                SELECT t.id, t.cost_microusd, t.reserved_microusd FROM task t JOIN tree ON t.parent_id = tree.id
            ) SELECT sum(cost_microusd)::bigint, sum(reserved_microusd)::bigint INTO v_spent, v_reserved FROM tree;
            IF v_refusal IS NULL AND v_spent + v_reserved + p_estimate > v_row.cap THEN
                v_refusal := jsonb_build_object(
                    'outcome', 'refused', 'level', 'task', 'period', '', 'budget', NULL, 'period_id', NULL,
                    'cap', v_row.cap, 'spent', v_spent, 'reserved', v_reserved
                );
            END IF;
        END IF;
    END LOOP;
    IF p_task IS NULL THEN
        v_agent := p_agent;
        v_user := p_user;
    ELSIF v_status IS NULL THEN
        RETURN '{"outcome": "missing"}';
    ELSIF v_status IN ('succeeded', 'failed', 'cancelled', 'expired') THEN
        RETURN '{"outcome": "ended"}';
    ELSIF v_refusal IS NOT NULL THEN
        RETURN v_refusal;
    END IF;
    IF EXISTS (SELECT 1 FROM llm_budget WHERE org_id = p_org) THEN
        SELECT array_agg(found.id), array_agg(found.bucket) INTO v_budgets, v_buckets FROM (
            SELECT b.id, CASE b.period WHEN 'day' THEN p_day ELSE p_month END AS bucket
            FROM llm_budget b WHERE b.org_id = p_org AND b.period <> 'run' AND (
                b.level = 'organisation'
                OR (b.level = 'person' AND b.subject_id = v_user)
                OR (b.level = 'agent' AND b.subject_id = v_agent)
                OR (b.level = 'playbook' AND b.subject_id IN (
                    SELECT playbook_id FROM playbook_run WHERE task_id = ANY(v_chain)
                ))
            )
            UNION ALL
            SELECT b.id, r.id::text FROM llm_budget b JOIN playbook_run r ON r.playbook_id = b.subject_id
            WHERE b.org_id = p_org AND b.level = 'playbook' AND b.period = 'run' AND r.task_id = ANY(v_chain)
        ) found;
        INSERT INTO llm_budget_spent
            (id, org_id, created_at, budget_id, bucket, spent_microusd, reserved_microusd, noticed)
        SELECT gen_random_uuid(), p_org, p_now, wanted.budget, wanted.bucket, 0, 0, 0
        FROM unnest(v_budgets, v_buckets) AS wanted(budget, bucket)
        WHERE NOT EXISTS (
            SELECT 1 FROM llm_budget_spent s WHERE s.budget_id = wanted.budget AND s.bucket = wanted.bucket
        )
        ORDER BY wanted.budget, wanted.bucket
        ON CONFLICT (budget_id, bucket) DO NOTHING;
        FOR v_row IN
            SELECT s.id, s.budget_id, s.spent_microusd, s.reserved_microusd, b.level, b.period, b.limit_microusd
            FROM unnest(v_budgets, v_buckets) AS wanted(budget, bucket)
            JOIN llm_budget_spent s ON s.budget_id = wanted.budget AND s.bucket = wanted.bucket
            JOIN llm_budget b ON b.id = s.budget_id
            ORDER BY s.budget_id, s.bucket FOR NO KEY UPDATE OF s
        LOOP
            v_periods := v_periods || v_row.id;
            IF v_row.spent_microusd + v_row.reserved_microusd + p_estimate > v_row.limit_microusd THEN
                RETURN jsonb_build_object(
                    'outcome', 'refused', 'level', v_row.level, 'period', v_row.period,
                    'budget', v_row.budget_id, 'period_id', v_row.id, 'cap', v_row.limit_microusd,
                    'spent', v_row.spent_microusd, 'reserved', v_row.reserved_microusd
                );
            END IF;
        END LOOP;
        UPDATE llm_budget_spent SET reserved_microusd = reserved_microusd + p_estimate WHERE id = ANY(v_periods);
    END IF;
    INSERT INTO usage_record (
        id, org_id, created_at, task_id, kind, model, input_tokens, output_tokens, reserved_microusd, rates,
        period_ids, llm_key_id, agent_id, user_id, chat_id
    ) VALUES (
        p_record, p_org, p_now, p_task, p_kind, p_model, 0, 0, p_estimate, p_rates, v_periods, p_key, p_agent, p_user,
        p_chat
    );
    UPDATE task SET reserved_microusd = reserved_microusd + p_estimate WHERE id = p_task;
    RETURN '{"outcome": "reserved"}';
END $$
"""
SETTLE = """
CREATE OR REPLACE FUNCTION llm_settle(
    p_org uuid, p_task uuid, p_record uuid, p_cost bigint, p_input bigint, p_output bigint
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_record record;
    v_cost bigint;
    v_notices jsonb;
BEGIN
    PERFORM set_config('app.org_id', p_org::text, true);
    PERFORM 1 FROM task WHERE id = p_task FOR NO KEY UPDATE;
    IF p_task IS NOT NULL AND NOT FOUND THEN
        RETURN '{"settled": false}';
    END IF;
    SELECT reserved_microusd, cost_microusd, period_ids INTO v_record FROM usage_record
    WHERE id = p_record AND task_id IS NOT DISTINCT FROM p_task FOR UPDATE;
    IF NOT FOUND OR v_record.cost_microusd IS NOT NULL THEN
        RETURN '{"settled": false}';
    END IF;
    v_cost := coalesce(p_cost, v_record.reserved_microusd);
    UPDATE usage_record SET cost_microusd = v_cost, input_tokens = p_input, output_tokens = p_output
    WHERE id = p_record;
    UPDATE task SET reserved_microusd = reserved_microusd - v_record.reserved_microusd,
        cost_microusd = cost_microusd + v_cost, input_tokens = input_tokens + p_input,
        output_tokens = output_tokens + p_output
    WHERE id = p_task;
    IF cardinality(v_record.period_ids) > 0 THEN
        PERFORM 1 FROM llm_budget_spent WHERE id = ANY(v_record.period_ids)
        ORDER BY budget_id, bucket FOR NO KEY UPDATE;
        UPDATE llm_budget_spent SET reserved_microusd = reserved_microusd - v_record.reserved_microusd,
            spent_microusd = spent_microusd + v_cost
        WHERE id = ANY(v_record.period_ids);
        SELECT jsonb_agg(s.id) INTO v_notices
        FROM llm_budget_spent s JOIN llm_budget b ON b.id = s.budget_id
        WHERE s.id = ANY(v_record.period_ids) AND s.spent_microusd > 0 AND (
            (s.noticed < 50 AND s.spent_microusd * 100 >= b.limit_microusd * 50)
            OR (s.noticed < 80 AND s.spent_microusd * 100 >= b.limit_microusd * 80)
            OR (s.noticed < 100 AND s.spent_microusd >= b.limit_microusd)
        );
    END IF;
    RETURN jsonb_build_object('settled', true, 'notices', coalesce(v_notices, '[]'::jsonb));
END $$
"""
_BEFORE = "uuid, uuid, uuid, text, text, uuid, bigint, jsonb, timestamptz, text, text, integer, integer"


class Migration(migrations.Migration):
    dependencies = [
        ("llm", "0003_transcriber"),
        ("tasks", "0011_calls_without_a_task"),
    ]

    operations = [
        # An overload would make the older call ambiguous. There is no way back that old calls would not find.
        migrations.RunSQL([f"DROP FUNCTION llm_reserve({_BEFORE})", RESERVE], migrations.RunSQL.noop),
        migrations.RunSQL(SETTLE, migrations.RunSQL.noop),
    ]
