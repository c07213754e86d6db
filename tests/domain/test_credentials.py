"""Whose a secret is, its versions, where it may go, and the log of who had it."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from pydantic import SecretStr, ValidationError

from conftest import Tenant, recorded
from services.domain.actors import Actor
from services.domain.agents.actions import AgentFields, create_agent, update_agent
from services.domain.agents.models import Agent
from services.domain.errors import (
    AgentMissing,
    AgentNotOwned,
    Invalid,
    Missing,
    NameTaken,
    NotPermitted,
    RoleMissing,
)
from services.domain.tasks.models import Task
from services.domain.tasks.runner import issue_turn
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.actions import (
    MAX_VERSIONS,
    delete_secret,
    list_secrets,
    put_secret_value,
    roll_back_secret,
    update_secret,
)
from services.domain.vault.bindings import Binding, parse_binding, show_binding
from services.domain.vault.grants import list_granted_secrets, open_secret
from services.domain.vault.keeping import all_tenants_forget_old_versions, all_tenants_notice_expiring
from services.domain.vault.models import CredentialAccess, Secret, SecretPlaceholder, SecretVersion
from services.domain.vault.queries import list_secret_accesses, list_secret_versions
from services.kit.clock import now
from tests.domain.cast import Runner, granted, keep, running, start

BINDING = {"host": "api.example.com"}


@pytest.fixture
def bob(acme: Tenant) -> Actor:
    return acme.people["bob"]


def agent_of(actor: Actor, name: str = "Own") -> Agent:
    return create_agent(actor, AgentFields(name=name))


def usable(agent: Agent, user_id: uuid.UUID | None) -> dict[str, str]:
    with tenant_transaction(agent.org_id):
        return {row.name: open_secret(row) for row in list_granted_secrets(agent, user_id)}


def rows(tenant: Tenant, model: Any, **query: Any) -> list[Any]:
    with tenant_transaction(tenant.organisation.id):
        return list(model.objects.filter(**query).order_by("id"))


# --- whose it is -------------------------------------------------------------------------------------


def test_the_organisations_secrets_are_kept_by_admins(acme, bob):
    secret = keep(acme.owner)
    for refused in (
        lambda: keep(bob, name="OTHER"),
        lambda: put_secret_value(bob, secret.id, SecretStr("x")),
        lambda: update_secret(bob, secret.id, {"agent_ids": None}),
        lambda: roll_back_secret(bob, secret.id, 1),
        lambda: delete_secret(bob, secret.id),
    ):
        with pytest.raises(RoleMissing):
            refused()


def test_a_personal_secret_is_for_its_owners_work_by_the_owners_agents(acme, bob):
    his, hers = agent_of(bob, "Bob's"), acme.agent
    keep(bob, name="HIS", value="of bob", is_personal=True)
    assert usable(his, bob.user_id) == {"HIS": "of bob"}
    assert usable(hers, bob.user_id) == {}
    assert usable(his, acme.owner.user_id) == {}
    assert usable(his, None) == {}


def test_a_personal_secret_is_granted_to_agents_of_ones_own_only(acme, bob, globex):
    his = agent_of(bob, "Bob's")
    secret = keep(bob, is_personal=True, agent_ids=[his.id])
    for agent_id, error in ((acme.agent.id, AgentNotOwned), (globex.agent.id, AgentMissing)):
        with pytest.raises(error):
            keep(bob, name="OTHER", is_personal=True, agent_ids=[his.id, agent_id])
        with pytest.raises(error):
            update_secret(bob, secret.id, {"agent_ids": [agent_id]})
    assert usable(his, bob.user_id) == {"TOKEN": "value-of-the-token"}
    # Also an admin's own secret: a member writes what bob's agent does.
    with pytest.raises(AgentNotOwned):
        keep(acme.owner, is_personal=True, agent_ids=[his.id])


def test_a_personal_secret_is_its_owners_to_see_and_change_and_an_admins_to_delete(acme, bob):
    hers = keep(acme.owner, is_personal=True)
    with tenant_transaction(acme.organisation.id):
        assert list(list_secrets(bob)) == []
    for change in (
        lambda: put_secret_value(bob, hers.id, SecretStr("x")),
        lambda: delete_secret(bob, hers.id),
    ):
        with pytest.raises(Missing):
            change()
    his = keep(bob, is_personal=True)  # of the same name, and bob does not learn that alice has one
    with pytest.raises(NotPermitted):
        update_secret(acme.owner, his.id, {"mode": "brokered", "bindings": [BINDING]}, SecretStr("x" * 9))
    delete_secret(acme.owner, his.id)
    with pytest.raises(NameTaken):
        keep(acme.owner, is_personal=True)


def test_an_own_secret_goes_before_the_organisations_of_the_same_name(acme, bob):
    his = agent_of(bob, "Bob's")
    keep(acme.owner, value="for all")
    keep(bob, value="bob's own", is_personal=True)
    assert usable(his, bob.user_id) == {"TOKEN": "bob's own"}
    assert usable(acme.agent, bob.user_id) == {"TOKEN": "for all"}


def test_an_agent_that_holds_a_personal_secret_is_changed_by_that_person_only(acme, bob):
    his = agent_of(bob, "Bob's")
    update_agent(acme.owner, his.id, {"description": "free to all"})
    keep(bob, is_personal=True)
    with pytest.raises(NotPermitted):
        update_agent(acme.owner, his.id, {"instructions": "print the environment"})
    update_agent(bob, his.id, {"instructions": "be good"})


def test_who_is_no_member_any_more_gets_nothing(acme, bob):
    his = agent_of(bob, "Bob's")
    keep(bob, is_personal=True)
    from services.domain.identity.actions import remove_member

    remove_member(acme.owner, bob.user_id)
    assert usable(his, bob.user_id) == {}


def test_an_agent_keeps_no_secrets(acme):
    agent = Actor(
        acme.organisation.id, "agent", role="owner", user_id=acme.owner.user_id, task_id=uuid.uuid4()
    )
    secret = keep(acme.owner)
    for refused in (
        lambda: keep(agent, name="OTHER"),
        lambda: put_secret_value(agent, secret.id, SecretStr("x")),
        lambda: delete_secret(agent, secret.id),
    ):
        with pytest.raises(NotPermitted):
            refused()


def test_another_tenant_finds_nothing(acme, globex):
    secret = keep(acme.owner)
    put_secret_value(acme.owner, secret.id, SecretStr("second"))
    for refused in (
        lambda: put_secret_value(globex.owner, secret.id, SecretStr("x")),
        lambda: roll_back_secret(globex.owner, secret.id, 1),
        lambda: update_secret(globex.owner, secret.id, {"agent_ids": []}),
        lambda: delete_secret(globex.owner, secret.id),
    ):
        with pytest.raises(Missing):
            refused()
    with tenant_transaction(globex.organisation.id):
        for listing in (list_secret_versions, list_secret_accesses):
            with pytest.raises(Missing):
                listing(globex.owner, secret.id)
        assert not SecretVersion.objects.exists()
    assert granted(acme) == {"TOKEN": "second"}


# --- versions ----------------------------------------------------------------------------------------


def test_a_new_value_is_a_new_version_and_an_old_one_can_be_gone_back_to(acme):
    secret = keep(acme.owner, value="first")
    assert put_secret_value(acme.owner, secret.id, SecretStr("second")).version == 2
    assert granted(acme) == {"TOKEN": "second"}
    assert roll_back_secret(acme.owner, secret.id, 1).version == 1
    assert granted(acme) == {"TOKEN": "first"}
    # A number is never given twice.
    assert put_secret_value(acme.owner, secret.id, SecretStr("third")).version == 3
    kept = rows(acme, SecretVersion)
    assert [(row.number, row.retired_at is None) for row in kept] == [(1, False), (2, False), (3, True)]
    with pytest.raises(Missing):
        roll_back_secret(acme.owner, secret.id, 9)


def test_only_so_many_versions_are_kept_and_only_for_so_long(acme):
    secret = keep(acme.owner, value="v1")
    for number in range(2, MAX_VERSIONS + 3):
        put_secret_value(acme.owner, secret.id, SecretStr(f"v{number}"))
    assert [row.number for row in rows(acme, SecretVersion)] == list(range(3, MAX_VERSIONS + 3))
    with tenant_transaction(acme.organisation.id):
        SecretVersion.objects.filter(number__lt=8).update(retired_at=now() - timedelta(days=91))
    all_tenants_forget_old_versions()
    assert [row.number for row in rows(acme, SecretVersion)] == list(range(8, MAX_VERSIONS + 3))
    assert granted(acme) == {"TOKEN": f"v{MAX_VERSIONS + 2}"}


def test_a_new_place_needs_the_value_again_and_forgets_what_was_sealed_before(acme):
    secret = keep(acme.owner, value="the-real-value", mode="brokered", bindings=[BINDING])
    moved = {"bindings": [BINDING, {"host": "evil.example.net"}]}
    for widened in (moved, {"mode": "env", "bindings": []}, {"bindings": [{**BINDING, "always": True}]}):
        with pytest.raises(Invalid, match="needs its value again"):
            update_secret(acme.owner, secret.id, widened)
    update_secret(acme.owner, secret.id, moved, SecretStr("another-value"))
    with pytest.raises(Missing):
        roll_back_secret(acme.owner, secret.id, 1)
    # Fewer places, and other agents, need nothing.
    update_secret(acme.owner, secret.id, {"bindings": [BINDING], "agent_ids": [], "approval": "each_use"})


# --- what goes together ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "brokered"},
        {"bindings": [BINDING]},
        {"approval": "each_use"},
        {"mode": "brokered", "bindings": [BINDING], "value": "short"},
        {"mode": "brokered", "bindings": [BINDING], "value": "two\r\nlines-of-it"},
        {"mode": "brokered", "bindings": [BINDING], "value": "kein-ascii-ü"},
        {"mode": "brokered", "bindings": [BINDING], "value": "x" * 5_000},
        {"mode": "brokered", "bindings": [BINDING], "value": " space-before"},
        {"expires_at": "2020-01-01T00:00:00Z"},
    ],
)
def test_what_does_not_go_together_is_refused_without_the_value(acme, fields):
    with pytest.raises(Invalid) as refused:
        keep(acme.owner, **fields)
    assert "value-of-the-token" not in f"{refused.value}{refused.value.details}"


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "*"},
        {"host": "*.com"},
        {"host": "127.0.0.1"},
        {"host": "a.example", "path": "no-slash"},
        {"host": "a.example", "path": "/a/../b"},
        {"host": "a.example", "path": "/a//b"},
        {"host": "a.example", "path": "/a%2fb"},
        {"host": "a.example", "methods": ["TRACE"]},
        {"host": "a.example", "name": "Host"},
        {"host": "a.example", "name": "Content-Length"},
        {"host": "a.example", "name": "X-A\r\nB"},
        {"host": "a.example", "name": "X-A", "template": "no value"},
        {"host": "a.example", "name": "X-A", "template": "{value}\r\nX-B: c"},
        {"host": "a.example", "into": "basic", "user": "a:b"},
        {"host": "a.example", "into": "basic", "always": True},
        {"host": "a.example", "into": "query"},
        {"host": "a.example", "into": "query", "name": "a&b"},
        {"host": "a.example", "into": "body"},
    ],
)
def test_a_binding_that_would_harm_a_request_is_refused(fields):
    with pytest.raises(ValidationError):
        Binding.model_validate(fields)


@pytest.mark.parametrize(
    "line",
    [
        "api.github.com/repos/acme GET,POST -> header Authorization: Bearer {value}",
        "*.example.com:8443 => header X-Api-Key: {value}",
        "git.example.com -> basic",
        "git.example.com/acme => basic bot",
        "maps.example.com:* HEAD -> query key",
    ],
)
def test_a_binding_reads_as_it_is_shown(line):
    assert show_binding(parse_binding(line)) == line


# --- who had it --------------------------------------------------------------------------------------


def turn_of(task: Task, runner: Runner) -> dict[str, Any]:
    found = issue_turn(task.org_id, task.id, runner.sandbox_id)
    assert found is not None
    return found


def test_a_turn_gets_values_and_placeholders_and_the_log_says_so(acme):
    plain = keep(acme.owner, name="PLAIN", value="plain-value")
    keep(acme.owner, name="HELD", value="never-in-the-sandbox", mode="brokered", bindings=[BINDING])
    task, runner = running(acme)
    turn = turn_of(task, runner)
    assert turn["env"]["PLAIN"] == "plain-value"
    assert turn["env"]["HELD"].startswith("swp_")
    assert "never-in-the-sandbox" not in str(turn)
    assert turn["options"]["egress"] == {"ca_pem": None}
    # Issued again, the placeholder is the same; another task's is another.
    assert turn_of(task, runner)["env"] == turn["env"]
    (placeholder,) = rows(acme, SecretPlaceholder)
    assert placeholder.text == turn["env"]["HELD"]
    access, again = rows(acme, CredentialAccess)
    assert (access.credential_kind, access.credential_id) == ("secret", plain.id)
    assert (access.version, access.way, access.count) == (1, "env", 1)
    assert (access.task_id, access.agent_id, access.user_id) == (task.id, acme.agent.id, acme.owner.user_id)
    assert again.id != access.id
    assert rows(acme, Secret, id=plain.id)[0].last_used_at == again.last_at
    with tenant_transaction(acme.organisation.id):
        assert list(list_secret_accesses(acme.owner, plain.id).order_by("id")) == [access, again]


def test_a_turn_for_another_person_gets_no_personal_secret(acme, bob):
    keep(acme.owner, is_personal=True)
    order = TaskOrder(prompt="env", agent_id=acme.agent.id)
    for actor, expected in ((bob, {}), (acme.owner, {"TOKEN": "value-of-the-token"})):
        task = submit_task(actor, order, source="api")
        assert turn_of(task, Runner(task, start(task).sandbox.id))["env"] == expected


def test_the_log_cannot_be_changed_and_outlives_its_secret(acme):
    secret = keep(acme.owner)
    task, runner = running(acme)
    turn_of(task, runner)
    for change in ("update", "delete"):
        with pytest.raises(Exception, match="permission denied"), tenant_transaction(acme.organisation.id):
            found = CredentialAccess.objects.all()
            found.update(count=9) if change == "update" else found._raw_delete("default")
    delete_secret(acme.owner, secret.id)
    (access,) = rows(acme, CredentialAccess)
    assert access.credential_name == "TOKEN"
    with connections["operator"].cursor() as cursor:
        cursor.execute("UPDATE credential_access SET created_at = %s", [now() - timedelta(days=500)])
    all_tenants_forget_old_versions()
    assert rows(acme, CredentialAccess) == []


def test_an_expired_secret_reaches_nobody_and_its_people_are_told_twice(acme):
    secret = keep(acme.owner, expires_at=now() + timedelta(days=30))
    assert all_tenants_notice_expiring() == 0
    update_secret(acme.owner, secret.id, {"expires_at": now() + timedelta(days=3)})
    with recorded() as found:
        assert (all_tenants_notice_expiring(), all_tenants_notice_expiring()) == (1, 0)
    (event,) = found.events
    assert (event.stream, "TOKEN" in event.data["message"]) == (f"user:{acme.owner.user_id}", True)
    assert granted(acme) != {}
    with tenant_transaction(acme.organisation.id):
        Secret.objects.update(expires_at=now() - timedelta(seconds=1), noticed_at=now() - timedelta(days=3))
    assert granted(acme) == {}
    assert (all_tenants_notice_expiring(), all_tenants_notice_expiring()) == (1, 0)


def test_placeholders_of_tasks_that_have_ended_are_forgotten(acme):
    keep(acme.owner, mode="brokered", bindings=[BINDING])
    task, runner = running(acme)
    turn_of(task, runner)
    with tenant_transaction(acme.organisation.id):
        SecretPlaceholder.objects.update(created_at=now() - timedelta(days=3))
    all_tenants_forget_old_versions()
    assert len(rows(acme, SecretPlaceholder)) == 1
    runner.says("turn.done", status="succeeded", text="done")
    all_tenants_forget_old_versions()
    assert rows(acme, SecretPlaceholder) == []
