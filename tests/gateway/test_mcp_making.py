"""Agents that agents make, what they ask for, what they read of workspaces, and of all memories where they may."""

from __future__ import annotations

import pytest

from conftest import Tenant, recorded
from services.domain.actors import system_actor
from services.domain.agents import making
from services.domain.agents.actions import AgentFields, create_agent, update_agent
from services.domain.agents.models import Agent
from services.domain.approvals.actions import decide_approval
from services.domain.errors import AgentMissing, RoleMissing
from services.domain.memory.actions import write_memory
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.models import UpstreamServer
from services.domain.vault.models import Secret
from tests.domain.cast import submit
from tests.gateway.serving import Caller, Working, at_work

HOSTS = [{"host": "api.github.com"}, {"host": "*.python.org", "methods": ["GET", "HEAD"]}]


@pytest.fixture
def maker(acme: Tenant) -> Agent:
    """Give acme an agent with limits."""
    return create_agent(
        acme.owner,
        AgentFields(
            name="Maker",
            provider="claude",
            model="claude-sonnet-4-6",
            egress=HOSTS,
            mcp_servers=["memory", "platform"],
            tools=["Bash", "Read"],
            max_budget_microusd=500_000,
            timeout_s=600,
        ),
    )


@pytest.fixture
def making_one(acme: Tenant, maker: Agent) -> Working:
    """Put it to work for alice."""
    return at_work(acme, maker)


@pytest.fixture
def platform(gateway, making_one) -> Caller:
    """Call the platform tools as that agent."""
    return Caller(gateway, making_one, "platform")


def stored(tenant: Tenant, agent_id: str | object) -> Agent:
    """Read an agent."""
    with tenant_transaction(tenant.organisation.id):
        return Agent.objects.get(id=agent_id)


# --- agents ------------------------------------------------------------------------------------------


def test_an_agent_that_an_agent_made_is_its_persons_and_has_its_makers_rights(platform, acme, maker):
    given = platform("agent_create", name="Proofreader", instructions="Find mistakes.")
    made = stored(acme, given["agent_id"])
    assert (made.owner_id, made.made_by_id, made.is_shared) == (acme.owner.user_id, maker.id, False)
    same = (
        "provider",
        "model",
        "mcp_servers",
        "tools",
        "egress",
        "max_budget_microusd",
        "timeout_s",
        "packages",
    )
    assert [getattr(made, name) for name in same] == [getattr(stored(acme, maker.id), name) for name in same]
    assert given["is_made_by_agent"] is True
    assert platform("agent_get", agent="Proofreader")["agent_id"] == given["agent_id"]
    assert platform("task_submit", prompt="x", agent=given["slug"])["agent"] == given["slug"]


def test_fewer_rights_are_given_as_asked(platform, acme):
    given = platform(
        "agent_create",
        name="Small",
        instructions="x",
        mcp_servers=["memory"],
        tools=["Read"],
        egress=["api.github.com", "files.python.org GET"],
        timeout_s=60,
        max_budget_usd=0.1,
    )
    assert (given["mcp_servers"], given["egress"]) == (["memory"], ["api.github.com", "files.python.org GET"])
    assert (given["timeout_s"], given["max_budget_usd"]) == (60, "0.100000")


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"mcp_servers": ["memory", "notify"]}, "mcp_servers"),
        ({"tools": ["Bash", "Write"]}, "tools"),
        ({"egress": ["evil.example"]}, "egress"),
        ({"egress": ["api.github.com:*"]}, "egress"),
        ({"egress": ["*.python.org"]}, "egress"),
        ({"egress": ["*.org GET"]}, "egress"),
        ({"egress": ["files.python.org POST"]}, "egress"),
        ({"egress": ["python.org GET"]}, "egress"),
        ({"timeout_s": 601}, "timeout_s"),
        ({"max_budget_usd": 0.6}, "budget"),
        ({"egress": ["a b c:x"]}, "egress"),
    ],
)
def test_more_rights_are_refused_with_their_names(platform, acme, more, word):
    words = platform.refused("agent_create", name="Strong", instructions="x", **more)
    assert words.startswith(("not_permitted:", "invalid:"))
    assert word in words
    with tenant_transaction(acme.organisation.id):
        assert not Agent.objects.filter(name="Strong").exists()


def test_a_tasks_own_cap_bounds_what_it_makes(gateway, acme, maker):
    capped = Caller(gateway, at_work(acme, maker, max_budget_microusd=200_000), "platform")
    assert capped("agent_create", name="x", instructions="x")["max_budget_usd"] == "0.200000"


def test_made_agents_hold_no_secret_and_are_counted(platform, acme, maker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(making, "MAX_MADE", 2)
    first = platform("agent_create", name="Twin", instructions="x")
    second = platform("agent_create", name="Twin", instructions="x")
    assert first["slug"] != second["slug"]
    assert platform.refused("agent_create", name="Third", instructions="x").startswith("limited: There are 2")
    with tenant_transaction(acme.organisation.id):
        assert not Secret.objects.filter(agent_ids__contains=[first["agent_id"]]).exists()


def test_nobody_else_sees_an_agent_that_was_made_for_a_person(gateway, platform, acme, claude, globex):
    made = platform("agent_create", name="Private", instructions="x")
    strangers = [
        at_work(acme, claude, who=acme.people["bob"]),
        at_work(acme, claude, who=system_actor(acme.organisation.id)),
        at_work(globex, globex.agent),
    ]
    for stranger in strangers:
        call = Caller(gateway, stranger, "platform")
        assert made["agent_id"] not in [row["agent_id"] for row in call("agent_list")["agents"]]
        for name in (made["agent_id"], made["slug"], "Private"):
            assert call.refused("agent_get", agent=name).startswith("agent_not_found:")
            assert call.refused("task_submit", prompt="x", agent=name).startswith("agent_not_found:")
    bob = acme.people["bob"]
    with pytest.raises(AgentMissing):
        update_agent(bob, stored(acme, made["agent_id"]).id, {"name": "Mine"})
    with pytest.raises(AgentMissing):
        submit_task(bob, TaskOrder(agent_id=made["agent_id"], prompt="x"), source="api")


def test_only_owners_and_admins_give_an_agent_what_needs_no_asking(acme):
    bob = acme.people["bob"]
    for name in ("reads_all_memories", "installs_packages"):
        with pytest.raises(RoleMissing):
            update_agent(bob, acme.agent.id, {name: True})
        own = create_agent(bob, AgentFields(name=f"Of bob {name}"))
        assert getattr(update_agent(bob, own.id, {name: True}), name) is True
        assert getattr(update_agent(acme.owner, acme.agent.id, {name: True}), name) is True


# --- packages and servers ----------------------------------------------------------------------------


def test_packages_wait_for_a_person_unless_the_owner_lets_the_agent(platform, acme, maker):
    wish = {"apt": ["jq"], "pip": ["requests==2.32.3"], "reason": "to read the answers"}
    with recorded() as seen:
        asked = platform("install_packages", **wish)
    assert asked["state"] == "waiting"
    assert "approval.requested" in seen.event_types
    assert platform("install_packages", **wish) == asked
    assert stored(acme, maker.id).packages.get("apt", []) == []
    decide_approval(acme.owner, asked["approval_id"], "allow")
    assert stored(acme, maker.id).packages["apt"] == ["jq"]
    assert platform("install_packages", **wish)["state"] == "there"
    update_agent(acme.owner, maker.id, {"installs_packages": True})
    assert platform("install_packages", apt=["ffmpeg"], reason="to cut")["state"] == "granted"
    assert stored(acme, maker.id).packages["apt"] == ["ffmpeg", "jq"]
    rebuilt = platform("request_rebuild")
    assert rebuilt["status"] == "queued"


def test_packages_that_are_none_or_denied_are_told(platform, acme):
    assert platform.refused("install_packages", reason="x").startswith("invalid: No package is named.")
    assert platform.refused("install_packages", apt=["-o x"], reason="x").startswith("invalid: apt.0:")
    asked = platform("install_packages", apt=["nmap"], reason="x")
    decide_approval(acme.owner, asked["approval_id"], "deny")
    assert platform("install_packages", apt=["nmap"], reason="please")["state"] == "denied"
    assert platform.refused("request_rebuild").startswith("invalid: The agent has no packages.")


def test_a_server_is_registered_for_the_person_who_allows_it(platform, acme, maker):
    wish = {"name": "weather", "url": "https://mcp.example.com/mcp", "reason": "for the trip"}
    asked = platform("add_mcp_server", **wish)
    assert asked["state"] == "waiting"
    with tenant_transaction(acme.organisation.id):
        assert not UpstreamServer.objects.exists()
    decide_approval(acme.owner, asked["approval_id"], "allow")
    with tenant_transaction(acme.organisation.id):
        server = UpstreamServer.objects.get()
    assert (server.name, server.owner_id) == ("weather", acme.owner.user_id)
    assert "weather" in stored(acme, maker.id).mcp_servers
    assert platform("add_mcp_server", **wish)["state"] == "there"


def test_a_server_of_no_use_is_refused_before_a_person_is_asked(platform):
    for url in ("ftp://example.com", "https://10.0.0.1/mcp", "https://user:pass@example.com/mcp"):
        assert platform.refused("add_mcp_server", name="x", url=url, reason="x").startswith("invalid:")
    words = platform.refused("add_mcp_server", name="memory", url="https://example.com/mcp", reason="x")
    assert words.startswith("name_taken:")


# --- workspaces --------------------------------------------------------------------------------------


def test_a_workspaces_events_come_by_type_and_page(platform, making_one):
    runner, place = making_one.runner, str(making_one.task.workspace_id)
    for number in range(5):
        runner.says("message.created", role="assistant", text=f"step {number}")
        runner.says("tool.called", call_id=f"c{number}", name="Bash", input={"command": "true"})
    types = ["message.created"]
    first = platform("workspace_events", workspace_id=place, types=types, limit=4)
    assert [event["data"]["text"] for event in first["events"]] == ["go", "step 0", "step 1", "step 2"]
    assert first["has_more"] is True
    rest = platform("workspace_events", workspace_id=place, types=types, after=first["next_after"])
    assert [event["data"]["text"] for event in rest["events"]] == ["step 3", "step 4"]
    assert rest["has_more"] is False
    again = platform("workspace_events", workspace_id=place, after=rest["next_after"])
    assert again["events"] == []


def test_a_transcript_reads_like_a_conversation_and_keeps_its_end(platform, making_one):
    runner, place = making_one.runner, str(making_one.task.workspace_id)
    runner.says("tool.called", call_id="1", name="Bash", input={"command": "ls"})
    runner.says("tool.returned", call_id="1", output="a.txt")
    runner.says("message.created", role="assistant", text="There is one file. " + "x" * 600)
    whole = platform("workspace_transcript", workspace_id=place)
    assert whole["text"].startswith(
        'Person: go\n\n[calls Bash {"command": "ls"}]\n\n[gave: a.txt]\n\nAgent: There'
    )
    assert whole["is_cut"] is False
    end = platform("workspace_transcript", workspace_id=place, max_chars=500)
    assert (len(end["text"]), end["is_cut"]) == (500, True)


def test_an_idle_workspace_is_archived_and_ones_own_is_not(platform, acme, making_one):
    task = submit(acme)
    busy = platform.refused("workspace_archive", workspace_id=str(task.workspace_id))
    assert busy.startswith("still_in_use:")
    platform("task_cancel", task_id=str(task.id))
    closed = platform("workspace_archive", workspace_id=str(task.workspace_id))
    assert closed["archived_at"] is not None
    listed = platform("workspace_list", archived=True)["workspaces"]
    assert [row["workspace_id"] for row in listed] == [str(task.workspace_id)]
    own = platform.refused("workspace_archive", workspace_id=str(making_one.task.workspace_id))
    assert own.startswith("still_in_use:")
    assert platform.refused("task_cancel", task_id=str(making_one.task.id)).startswith("conflict:")


def test_tasks_are_listed_by_state_and_place(platform, acme, making_one):
    first, second = submit(acme, prompt="one"), submit(acme, prompt="two")
    platform("task_cancel", task_id=str(first.id))
    rows = platform("task_list", status="queued")["tasks"]
    assert [(row["task_id"], row["prompt"]) for row in rows] == [(str(second.id), "two")]
    here = platform("task_list", workspace_id=str(making_one.task.workspace_id))["tasks"]
    assert [row["task_id"] for row in here] == [str(making_one.task.id)]
    page = platform("task_list", limit=2)
    assert len(platform("task_list", cursor=page["next"])["tasks"]) == 1


# --- the memory of all agents ------------------------------------------------------------------------


def test_all_memories_are_read_only_where_the_owner_has_granted_it(gateway, platform, acme, maker):
    write_memory(acme.owner, acme.agent.id, "food", "The favourite restaurant is Da Luigi.")
    write_memory(acme.people["bob"], acme.agent.id, "bobs", "The favourite restaurant is a secret.")
    words = platform.refused("memory_query", query="restaurant")
    assert words.startswith("not_granted: You may read your own notes only, with memory_search.")
    update_agent(acme.owner, maker.id, {"reads_all_memories": True})
    (found,) = platform("memory_query", query="favourit restorant")["notes"]
    assert (found["agent"], found["name"]) == ("shell", "food")
    nobodys = at_work(acme, stored(acme, maker.id), who=system_actor(acme.organisation.id))
    assert Caller(gateway, nobodys, "platform").refused("memory_query", query="x").startswith("not_granted:")
