"""Work that agents schedule: by a moment or a cron, with their own rights at most, and never in a loop."""

from __future__ import annotations

from datetime import timedelta

import pytest

from conftest import Tenant
from services.domain.actors import system_actor
from services.domain.agents.actions import AgentFields, create_agent, update_agent
from services.domain.agents.models import Agent
from services.domain.playbooks import made
from services.domain.playbooks.actions import (
    PlaybookFields,
    all_tenants_claim_due_playbooks,
    create_playbook,
    fire_due_playbook,
)
from services.domain.playbooks.models import Playbook
from services.domain.tasks.models import Task
from services.domain.tasks.passing import MAX_HOPS
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now, rfc3339
from tests.gateway.serving import Caller, Working, at_work
from tests.gateway.test_mcp_loops import work_on


@pytest.fixture
def platform(gateway, working) -> Caller:
    """Call the platform tools for alice."""
    return Caller(gateway, working, "platform")


def stored(tenant: Tenant, playbook_id: str) -> Playbook:
    """Read a playbook."""
    with tenant_transaction(tenant.organisation.id):
        return Playbook.objects.get(id=playbook_id)


def make_due(tenant: Tenant, playbook_id: str) -> Playbook:
    """Let a playbook's time come."""
    with tenant_transaction(tenant.organisation.id):
        moment = now() - timedelta(seconds=1)
        Playbook.objects.filter(id=playbook_id).update(next_run_at=moment)
        Playbook.objects.filter(id=playbook_id).exclude(run_at=None).update(run_at=moment)
        return Playbook.objects.get(id=playbook_id)


def test_a_moment_is_read_in_its_zone_and_comes_once(platform, acme, working, claude):
    given = platform(
        "schedule_task", prompt="say hello", run_at="2031-07-01T09:00:00", timezone="Europe/Berlin"
    )
    assert (given["run_at"], given["next_run_at"]) == ("2031-07-01T07:00:00.000000Z",) * 2
    playbook = make_due(acme, given["playbook_id"])
    assert (playbook.user_id, playbook.agent_id, playbook.made_by_id) == (
        acme.owner.user_id,
        claude.id,
        claude.id,
    )
    assert all_tenants_claim_due_playbooks() == 1
    fire_due_playbook(acme.organisation.id, playbook.id, playbook.next_run_at)
    assert all_tenants_claim_due_playbooks() == 0
    done = platform("playbook_get", playbook_id=given["playbook_id"])
    assert (done["is_enabled"], done["next_run_at"]) == (False, None)
    (run,) = platform("playbook_runs", playbook_id=given["playbook_id"])["runs"]
    assert platform("task_get", task_id=run["task_id"])["agent"] == "claude"
    assert platform.refused("playbook_resume", playbook_id=given["playbook_id"]).startswith(
        "schedule_invalid: The time to run at has passed."
    )


def test_a_moment_with_an_offset_is_that_moment(platform):
    given = platform(
        "schedule_task", prompt="x", run_at="2031-07-01T09:00:00+05:30", timezone="Europe/Berlin"
    )
    assert given["run_at"] == "2031-07-01T03:30:00.000000Z"


def test_a_schedule_that_cannot_be_is_explained(platform):
    assert platform.refused("schedule_task", prompt="x").startswith("invalid: Give either `run_at`")
    both = {"run_at": "2031-07-01T09:00:00", "cron": "0 9 * * *"}
    assert platform.refused("schedule_task", prompt="x", **both).startswith("invalid: Give either")
    past = platform.refused("schedule_task", prompt="x", run_at="2001-01-01T00:00:00")
    assert past.startswith("schedule_invalid:")
    for cron in ("* * * * *", "*/4 * * * *", "0,1 9 * * *"):
        assert "too often" in platform.refused("schedule_task", prompt="x", cron=cron)
    assert "five fields" in platform.refused("schedule_task", prompt="x", cron="daily")
    zone = platform.refused("schedule_task", prompt="x", cron="0 9 * * *", timezone="Mars/Olympus")
    assert zone.startswith("schedule_invalid: There is no such time zone.")


def test_a_playbook_is_made_changed_paused_resumed_run_and_deleted(platform):
    made_one = platform("playbook_create", name="Report", prompt="report", cron="0 9 * * *")
    playbook_id = made_one["playbook_id"]
    assert made_one["is_made_by_agent"] is True
    changed = platform(
        "playbook_update", playbook_id=playbook_id, name="Morning", prompt="report in five lines"
    )
    assert (changed["name"], changed["prompt"]) == ("Morning", "report in five lines")
    assert platform("playbook_pause", playbook_id=playbook_id)["next_run_at"] is None
    assert platform("playbook_resume", playbook_id=playbook_id)["next_run_at"] is not None
    run = platform("playbook_run", playbook_id=playbook_id)
    assert (run["trigger"], run["status"], run["error"]) == ("manual", "queued", "")
    assert [row["run_id"] for row in platform("playbook_runs", playbook_id=playbook_id)["runs"]] == [
        run["run_id"]
    ]
    moved = platform("playbook_update", playbook_id=playbook_id, run_at="2031-01-01T00:00:00")
    assert (moved["cron"], moved["run_at"]) == ("", "2031-01-01T00:00:00.000000Z")
    again = platform("playbook_update", playbook_id=playbook_id, cron="0 9 * * *")
    assert (again["cron"], again["run_at"]) == ("0 9 * * *", None)
    assert platform.refused("playbook_update", playbook_id=playbook_id).startswith("invalid: Nothing")
    assert [row["playbook_id"] for row in platform("playbook_list")["playbooks"]] == [playbook_id]
    assert platform("playbook_delete", playbook_id=playbook_id) == {"playbook_id": playbook_id}
    assert platform.refused("playbook_get", playbook_id=playbook_id).startswith("playbook_not_found:")


def test_a_run_that_an_agent_fires_counts_in_its_hops_and_budget(platform, acme, working):
    playbook = platform("playbook_create", name="Report", prompt="report")
    run = platform("playbook_run", playbook_id=playbook["playbook_id"])
    with tenant_transaction(acme.organisation.id):
        task = Task.objects.get(id=run["task_id"])
    assert (task.parent_id, task.hops, task.user_id) == (working.task.id, 1, acme.owner.user_id)


def test_a_run_costs_at_most_what_its_maker_might_spend(gateway, acme, claude):
    capped = at_work(acme, claude, max_budget_microusd=300_000)
    platform = Caller(gateway, capped, "platform")
    assert platform("schedule_task", prompt="x", cron="0 9 * * *")["max_budget_usd"] == "0.300000"
    less = platform("playbook_create", name="x", prompt="x", max_budget_usd=0.1)
    assert less["max_budget_usd"] == "0.100000"
    more = platform("playbook_create", name="x", prompt="x", max_budget_usd=5)
    assert more["max_budget_usd"] == "0.300000"
    run = platform("playbook_run", playbook_id=less["playbook_id"])
    with tenant_transaction(acme.organisation.id):
        assert Task.objects.get(id=run["task_id"]).max_budget_microusd == 100_000


def test_no_agent_with_more_rights_is_set_to_work(platform, acme):
    strong = create_agent(acme.owner, AgentFields(name="Strong", egress=[{"host": "example.com"}]))
    words = platform.refused("playbook_create", name="x", prompt="x", agent="strong", cron="0 9 * * *")
    assert words.startswith("not_permitted: That agent may do more than you (egress)")
    by_hand, _ = create_playbook(
        acme.owner, PlaybookFields(agent_id=strong.id, name="By hand", prompt="fixed", cron="0 9 * * *")
    )
    words = platform.refused("playbook_update", playbook_id=str(by_hand.id), prompt="send me all")
    assert words.startswith("not_permitted:")
    assert stored(acme, str(by_hand.id)).prompt == "fixed"
    platform("playbook_pause", playbook_id=str(by_hand.id))
    assert platform.refused("playbook_resume", playbook_id=str(by_hand.id)).startswith("not_permitted:")
    paused = platform.refused("playbook_update", playbook_id=str(by_hand.id), prompt="send me all")
    assert paused.startswith("not_permitted:")
    assert stored(acme, str(by_hand.id)).prompt == "fixed"


def test_answers_go_only_where_the_makers_own_goes(gateway, platform, acme, claude):
    given = platform("playbook_create", name="x", prompt="x")
    assert stored(acme, given["playbook_id"]).deliver_to is None


def test_agents_playbooks_are_counted(platform, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(made, "MAX_ENABLED", 2)
    monkeypatch.setattr(made, "MAX_KEPT", 3)
    first = platform("playbook_create", name="1", prompt="x")
    platform("playbook_create", name="2", prompt="x")
    assert platform.refused("playbook_create", name="3", prompt="x").startswith("limited: There are 2")
    platform("playbook_pause", playbook_id=first["playbook_id"])
    platform("playbook_create", name="3", prompt="x")
    assert platform.refused("playbook_resume", playbook_id=first["playbook_id"]).startswith("limited:")
    assert platform.refused("playbook_create", name="4", prompt="x").startswith("limited: There are 3")


def test_a_chain_of_playbooks_that_make_playbooks_ends(gateway, acme, claude, working):
    current = working
    for number in range(MAX_HOPS):
        given = Caller(gateway, current, "platform")("schedule_task", prompt="again", cron="0 9 * * *")
        playbook = make_due(acme, given["playbook_id"])
        assert playbook.hops == number + 1
        current = at_work_on_run(acme, claude, playbook)
    words = Caller(gateway, current, "platform").refused("schedule_task", prompt="again", cron="0 9 * * *")
    assert words.startswith("loop_stopped: Agents may pass work on at most 5 times")


def at_work_on_run(tenant: Tenant, agent: Agent, playbook: Playbook) -> Working:
    """Fire a playbook by its schedule and put its agent to work."""
    assert playbook.next_run_at is not None
    fire_due_playbook(tenant.organisation.id, playbook.id, playbook.next_run_at)
    with tenant_transaction(tenant.organisation.id):
        run = playbook.runs.select_related("task").get()
        assert run.task is not None, run.error
    return work_on(run.task)


def test_other_peoples_playbooks_do_not_exist(gateway, platform, acme, claude, globex):
    given = platform("playbook_create", name="Private", prompt="secret words", cron="0 9 * * *")
    strangers = [
        at_work(acme, claude, who=acme.people["bob"]),
        at_work(acme, claude, who=system_actor(acme.organisation.id)),
        at_work(globex, globex.agent),
    ]
    for stranger in strangers:
        call = Caller(gateway, stranger, "platform")
        assert call("playbook_list")["playbooks"] == []
        for tool in ("get", "pause", "resume", "run", "runs", "delete"):
            words = call.refused(f"playbook_{tool}", playbook_id=given["playbook_id"])
            assert words.startswith("playbook_not_found: There is no such playbook.")
        words = call.refused("playbook_update", playbook_id=given["playbook_id"], name="Mine")
        assert words.startswith("playbook_not_found:")
    assert stored(acme, given["playbook_id"]).name == "Private"


def test_work_that_no_person_started_keeps_playbooks_of_its_own(gateway, acme, claude):
    nobodys = Caller(gateway, at_work(acme, claude, who=system_actor(acme.organisation.id)), "platform")
    given = nobodys("playbook_create", name="Upkeep", prompt="look after things", cron="0 9 * * *")
    assert [row["playbook_id"] for row in nobodys("playbook_list")["playbooks"]] == [given["playbook_id"]]
    other = create_agent(acme.owner, AgentFields(name="Other"))
    elsewhere = Caller(gateway, at_work(acme, other, who=system_actor(acme.organisation.id)), "platform")
    assert elsewhere("playbook_list")["playbooks"] == []


def test_a_schedule_holds_when_the_agents_rights_grow_afterwards(platform, acme, claude):
    given = platform("schedule_task", prompt="x", cron="0 9 * * *")
    update_agent(acme.owner, claude.id, {"egress": [{"host": "example.com"}]})
    assert platform("playbook_update", playbook_id=given["playbook_id"], name="Renamed")["name"] == "Renamed"


def test_a_past_moment_can_be_moved(platform, acme):
    soon = rfc3339(now() + timedelta(hours=1))
    given = platform("schedule_task", prompt="x", run_at=soon)
    make_due(acme, given["playbook_id"])
    all_tenants_claim_due_playbooks()
    later = platform("playbook_update", playbook_id=given["playbook_id"], run_at="2031-01-01T00:00:00")
    assert (later["is_enabled"], later["next_run_at"]) == (True, "2031-01-01T00:00:00.000000Z")
