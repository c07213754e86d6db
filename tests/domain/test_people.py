"""People: their roles, what they say about themselves, and what agents are told of it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.domain.agents.actions import AgentFields, create_agent, update_agent
from services.domain.agents.people import list_agent_people, put_agent_person, remove_agent_person
from services.domain.agents.queries import list_agents
from services.domain.contacts.introducing import introduce
from services.domain.contacts.quiet import QuietHours, set_quiet_hours
from services.domain.errors import AgentMissing, Invalid, Missing, NotPermitted, RoleMissing
from services.domain.identity.actions import change_role
from services.domain.identity.models import Membership
from services.domain.identity.people import update_person
from services.domain.identity.queries import all_tenants_actor_of
from services.domain.tasks.runner import issue_turn
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from tests.domain.cast import fresh, running


def role_of(tenant, name):
    return Membership.objects.using("operator").get(user=tenant.users[name]).role


def test_an_admin_gives_roles_but_makes_no_owner(acme):
    bob = acme.users["bob"]
    assert change_role(acme.owner, bob.pk, "admin").role == "admin"
    admin = all_tenants_actor_of(bob, acme.organisation.id)
    with pytest.raises(RoleMissing):
        change_role(admin, bob.pk, "owner")
    with pytest.raises(RoleMissing):
        change_role(admin, acme.users["alice"].pk, "member")
    change_role(acme.owner, bob.pk, "owner")
    assert role_of(acme, "bob") == "owner"


def test_the_last_owner_stays_one(acme):
    with pytest.raises(NotPermitted, match="last owner"):
        change_role(acme.owner, acme.owner.user_id, "member")
    assert role_of(acme, "alice") == "owner"


def test_a_role_that_is_none_is_refused_and_so_is_another_tenants_member(acme, globex):
    with pytest.raises(Invalid):
        change_role(acme.owner, acme.users["bob"].pk, "king")
    with pytest.raises(Missing):
        change_role(globex.owner, acme.users["bob"].pk, "admin")
    with pytest.raises(RoleMissing):
        change_role(acme.people["bob"], acme.users["bob"].pk, "admin")


def test_an_agent_is_told_the_language_and_the_time_zone_of_whom_it_works_for(acme):
    with tenant_transaction(acme.organisation.id):
        assert introduce(acme.owner.user_id) == ""
        assert introduce(None) == ""
    update_person(acme.owner, {"display_name": "Alice", "language": "pt-BR"})
    set_quiet_hours(acme.owner, QuietHours(time_zone="America/Recife"))
    task, _ = running(acme)
    frame = issue_turn(task.org_id, task.id, fresh(task).sandbox_id)
    assert frame is not None
    assert frame["instructions"] == (
        "You work for Alice: their language is pt-BR and their time zone is America/Recife."
    )


@pytest.mark.parametrize("language", ["german!", "d", "de_DE", "de-"])
def test_a_language_is_a_tag(acme, language):
    with pytest.raises(ValidationError):
        update_person(acme.owner, {"language": language})


# --- the people of one agent --------------------------------------------------------------------------


@pytest.fixture
def hidden(acme):
    return create_agent(acme.owner, AgentFields(name="Hidden", slug="hidden", is_shared=False))


def sees(tenant, name, agent):
    with tenant_transaction(tenant.organisation.id):
        return agent.id in {one.id for one in list_agents(tenant.people[name])}


def test_a_member_of_an_agent_uses_it_though_it_is_not_shared(acme, hidden):
    assert not sees(acme, "bob", hidden)
    put_agent_person(acme.owner, hidden.id, acme.users["bob"].pk, "member")
    assert sees(acme, "bob", hidden)
    submit_task(acme.people["bob"], TaskOrder(agent_id=hidden.id, prompt="x"), source="api")
    with pytest.raises(RoleMissing):
        update_agent(acme.people["bob"], hidden.id, {"is_shared": True})
    with pytest.raises(RoleMissing):
        put_agent_person(acme.people["bob"], hidden.id, acme.users["bob"].pk, "admin")
    remove_agent_person(acme.people["bob"], hidden.id, acme.users["bob"].pk)
    assert not sees(acme, "bob", hidden)


def test_an_admin_of_an_agent_decides_about_it_like_its_owner(acme, hidden):
    put_agent_person(acme.owner, hidden.id, acme.users["bob"].pk, "member")
    put_agent_person(acme.owner, hidden.id, acme.users["bob"].pk, "admin")
    assert update_agent(acme.people["bob"], hidden.id, {"is_shared": True}).is_shared
    put_agent_person(acme.people["bob"], hidden.id, acme.users["alice"].pk, "member")
    with tenant_transaction(acme.organisation.id):
        assert [one.role for one in list_agent_people(acme.owner, hidden.id)] == ["admin", "member"]


def test_who_is_no_member_here_gets_no_role_and_another_tenants_agent_does_not_exist(acme, globex, hidden):
    with pytest.raises(Missing):
        put_agent_person(acme.owner, hidden.id, globex.owner.user_id, "member")
    with pytest.raises(AgentMissing):
        put_agent_person(globex.owner, hidden.id, globex.owner.user_id, "member")
    with pytest.raises(Invalid):
        put_agent_person(acme.owner, hidden.id, acme.users["bob"].pk, "king")
