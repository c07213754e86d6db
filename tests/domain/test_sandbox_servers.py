"""MCP servers that run in the sandbox: what may be started there, who may say so, and what a turn gets of them."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from services.domain.agents.actions import update_agent
from services.domain.errors import Invalid, RoleMissing, UpstreamInSandbox, UpstreamMissing
from services.domain.tasks.models import TaskToken
from services.domain.tasks.runner import issue_turn
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.actions import (
    NewUpstream,
    approve_tools,
    delete_upstream,
    register_upstream,
    set_credential,
    update_upstream,
)
from services.domain.upstreams.authorization import get_connectable
from services.domain.upstreams.credentials import open_upstream
from services.domain.upstreams.in_sandbox import MAX_ALL_BYTES, list_sandbox_servers
from services.domain.upstreams.queries import get_upstream, list_remote_names, list_upstream_names
from services.domain.vault.actions import delete_secret
from services.domain.vault.queries import list_secret_accesses
from tests.domain.cast import keep, running


def new(**fields) -> NewUpstream:
    program = {"command": "mcp-server-git", "args": ["--repository", "/workspace"]}
    return NewUpstream.model_validate({"name": "git", "transport": "stdio", **program, **fields})


def frame_of(tenant, agent_servers: list[str], **order):
    """Start a task of an agent that lists servers; return the frame of its turn."""
    update_agent(tenant.owner, tenant.agent.id, {"mcp_servers": agent_servers})
    task, runner = running(tenant, **order)
    frame = issue_turn(task.org_id, task.id, runner.sandbox_id)
    assert frame is not None
    return task, frame


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"command": ""}, "command"), ({"command": "npx -y x"}, "command"), ({"command": "-c"}, "command"),
        ({"command": "a\x00"}, "command"), ({"command": "a\nb"}, "command"), ({"args": ["a\x00b"]}, "args"),
        ({"args": ["x" * MAX_ALL_BYTES, "y"]}, "args"), ({"env": {"A": "x" * MAX_ALL_BYTES}}, "args"),
        ({"env": {"A=B": "x"}}, "env"), ({"env": {"": "x"}}, "env"), ({"env": {"A": "\x00"}}, "env"),
        ({"env": {"SLIPWAY_X": "x"}}, "env"), ({"env_secrets": {"A B": "TOKEN"}}, "env_secrets"),
        ({"env_secrets": {"A": "not a name"}}, "env_secrets"), ({"env_secrets": {"A": "PATH"}}, "env_secrets"),
        ({"env": {"A": "x"}, "env_secrets": {"A": "TOKEN"}}, "env_secrets"),
        ({"url": "https://mcp.example.com/"}, "url"), ({"auth": "oauth"}, "auth"), ({"auth": "header"}, "auth"),
        ({"client_id": "x"}, "client_id"), ({"credential": "x"}, "credential"),
        ({"header_name": "X-Key"}, "header_name"),
        ({"transport": "http"}, "command"), ({"transport": "http", "command": "", "args": []}, "url"),
        ({"transport": "http", "command": "", "args": [], "url": "https://a.example/", "env": {"A": "x"}}, "env"),
    ],
)  # fmt: skip
def test_what_no_process_can_be_started_with_and_what_does_not_go_together_is_refused(acme, fields, named):
    with pytest.raises(Invalid) as refused:
        register_upstream(acme.owner, new(**fields))
    assert named in refused.value.details["fields"]
    with tenant_transaction(acme.organisation.id):
        assert list_upstream_names(acme.owner.user_id) == set()


@pytest.mark.parametrize(
    "fields", [{"args": ["x"] * 51}, {"command": "x" * 301}, {"args": [1]}, {"transport": "sse"}]
)
def test_there_is_a_limit_to_everything(fields):
    with pytest.raises(ValidationError):
        new(**fields)


def test_a_turn_gets_those_that_its_agent_lists_and_no_token_for_them(acme):
    keep(acme.owner, name="GIT_TOKEN", value="value-of-the-token")
    register_upstream(
        acme.owner,
        new(env={"MODE": "fast"}, env_secrets={"API_KEY": "GIT_TOKEN"}, allowed_tools=["log"], timeout_s=9),
    )
    register_upstream(acme.owner, new(name="unlisted"))
    register_upstream(acme.owner, NewUpstream(name="weather", url="https://mcp.example.com/mcp"))
    task, frame = frame_of(acme, ["git", "memory", "weather"])
    assert frame["options"]["mcp_stdio"] == [
        {
            "name": "git", "command": "mcp-server-git", "args": ["--repository", "/workspace"], "env": {"MODE": "fast"},
            "secrets": {"API_KEY": "GIT_TOKEN"}, "allowed_tools": ["log"], "timeout_s": 9,
        }
    ]  # fmt: skip
    assert "value-of-the-token" not in str(frame["options"])
    assert frame["env"]["GIT_TOKEN"] == "value-of-the-token"
    assert [server["name"] for server in frame["mcp"]] == ["memory", "weather"]
    with tenant_transaction(acme.organisation.id):
        audiences = set(
            TaskToken.objects.filter(task=task, revoked_at=None).values_list("audience", flat=True)
        )
    assert audiences == {"mcp:memory", "mcp:weather"}


def test_what_a_server_in_the_sandbox_gets_of_the_vault_is_on_record(acme):
    secret = keep(acme.owner, name="GIT_TOKEN")
    register_upstream(acme.owner, new(env_secrets={"API_KEY": "GIT_TOKEN"}))
    task, _ = frame_of(acme, ["git"])
    with tenant_transaction(acme.organisation.id):
        access = list_secret_accesses(acme.owner, secret.id).get()
    assert (access.task_id, access.way, access.version) == (task.id, "env", 1)


def test_a_turn_of_an_agent_without_such_servers_says_nothing_of_them(acme):
    assert "mcp_stdio" not in frame_of(acme, ["memory"])[1]["options"]


def test_they_come_in_the_agents_order(acme):
    for name in ("a", "b", "c"):
        register_upstream(acme.owner, new(name=name))
    with tenant_transaction(acme.organisation.id):
        found = list_sandbox_servers(None, ["c", "a", "memory", "b"])
    assert [server["name"] for server in found] == ["c", "a", "b"]


def test_a_secret_that_is_gone_is_only_a_name_in_the_turn(acme):
    secret = keep(acme.owner, name="GIT_TOKEN")
    register_upstream(acme.owner, new(env_secrets={"API_KEY": "GIT_TOKEN"}))
    delete_secret(acme.owner, secret.id)
    _, frame = frame_of(acme, ["git"])
    assert ("GIT_TOKEN" in frame["env"], frame["options"]["mcp_stdio"][0]["secrets"]) == (
        False,
        {"API_KEY": "GIT_TOKEN"},
    )


def test_a_personal_one_is_for_its_owners_work_only_and_no_other_tenant_finds_any(acme, globex):
    bob = acme.people["bob"]
    with pytest.raises(RoleMissing):
        register_upstream(bob, new())
    own = register_upstream(bob, new(is_personal=True))
    with tenant_transaction(acme.organisation.id):
        assert [server["name"] for server in list_sandbox_servers(bob.user_id, ["git"])] == ["git"]
        assert list_sandbox_servers(acme.owner.user_id, ["git"]) == []
        assert list_sandbox_servers(None, ["git"]) == []
        assert "git" not in list_remote_names(bob.user_id, ["git"])
    with tenant_transaction(globex.organisation.id):
        assert list_sandbox_servers(globex.owner.user_id, ["git"]) == []
    for attempt in (
        lambda: update_upstream(globex.owner, own.id, {"timeout_s": 5}),
        lambda: delete_upstream(globex.owner, own.id),
        lambda: get_connectable(globex.owner, own.id),
        lambda: approve_tools(globex.owner, own.id, ""),
    ):
        with pytest.raises(UpstreamMissing):
            attempt()
    with pytest.raises(Invalid):
        update_agent(globex.owner, globex.agent.id, {"mcp_servers": ["git"]})


def test_it_is_changed_within_its_kind(acme):
    server = register_upstream(acme.owner, new())
    changed = update_upstream(acme.owner, server.id, {"args": [], "env": {"MODE": "slow"}})
    assert (changed.args, changed.env, changed.status) == ([], {"MODE": "slow"}, "unchecked")
    for changes in ({"url": "https://mcp.example.com/"}, {"auth": "header"}, {"command": ""}):
        with pytest.raises(Invalid):
            update_upstream(acme.owner, server.id, changes)
    with pytest.raises(Invalid):
        set_credential(acme.owner, server.id, SecretStr("hush"))
    elsewhere = register_upstream(acme.owner, NewUpstream(name="weather", url="https://mcp.example.com/mcp"))
    with pytest.raises(Invalid):
        update_upstream(acme.owner, elsewhere.id, {"command": "sh"})


def test_nobody_outside_asks_it_anything(acme):
    server = register_upstream(acme.owner, new())

    async def run(function, *args, **kwargs):
        return function(*args, **kwargs)

    for attempt in (
        lambda: get_connectable(acme.owner, server.id),
        lambda: approve_tools(acme.owner, server.id, ""),
        lambda: open_upstream(server, run),
    ):
        with pytest.raises(UpstreamInSandbox):
            attempt()
    with tenant_transaction(acme.organisation.id):
        assert get_upstream(acme.owner, server.id).status == "unchecked"
