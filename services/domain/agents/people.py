"""The people of one agent: who may use one that is not shared, and who changes it like its owner."""

from __future__ import annotations

import uuid

from services.domain.actors import Actor, require
from services.domain.agents.actions import lock_own_agent
from services.domain.agents.models import Agent, AgentPerson, AgentRole
from services.domain.agents.queries import get_agent, is_agent_admin
from services.domain.audit.models import AuditAction
from services.domain.audit.recording import Subject, record_audit
from services.domain.errors import Invalid, Missing, RoleMissing
from services.domain.events.announcing import announce_change, announce_hidden, hide_earlier
from services.domain.events.listed import AgentChanged
from services.domain.identity.models import Membership
from services.domain.tenancy.transaction import tenant_transaction


def list_agent_people(actor: Actor, agent_id: uuid.UUID) -> list[AgentPerson]:
    """List who has a role with an agent, with their accounts; in the tenant's transaction. Raises: AgentMissing."""
    get_agent(actor, agent_id)
    return list(AgentPerson.objects.select_related("user").filter(agent_id=agent_id).order_by("id"))


def get_agent_person(actor: Actor, agent_id: uuid.UUID, user_id: uuid.UUID) -> AgentPerson:
    """Return a person's role with an agent, in the tenant's transaction. Raises: AgentMissing, Missing."""
    found = [person for person in list_agent_people(actor, agent_id) if person.user_id == user_id]
    if not found:
        raise Missing("This person has no role with the agent.")
    return found[0]


def put_agent_person(actor: Actor, agent_id: uuid.UUID, user_id: uuid.UUID, role: str) -> AgentPerson:
    """Give a member a role with an agent, or another one. Locks: the agent.

    Raises: AgentMissing, RoleMissing for who is no admin of it, Missing for who is no member here, Invalid.
    """
    require(actor, "agents:write")
    if role not in AgentRole.values:
        raise Invalid("There is no such role.", fields={"role": "admin or member"})
    with tenant_transaction(actor.org_id):
        agent = _lock_as_admin(actor, agent_id)
        if not Membership.objects.filter(user_id=user_id).exists():
            raise Missing("There is no such member.")
        AgentPerson.objects.update_or_create(
            agent=agent,
            user_id=user_id,
            defaults={"role": role},
            create_defaults={"role": role, "org_id": actor.org_id},
        )
        announce_change(AgentChanged, agent)
        subject = Subject("agent", agent.id, agent.name, user_id)
        record_audit(actor, AuditAction.AGENT_ROLE_GIVEN, subject, role=role, user=str(user_id))
        return AgentPerson.objects.select_related("user").get(agent=agent, user_id=user_id)


def remove_agent_person(actor: Actor, agent_id: uuid.UUID, user_id: uuid.UUID) -> None:
    """Take a person's role with an agent away; one's own anybody may. Locks: the agent.

    Raises: AgentMissing, RoleMissing, Missing.
    """
    require(actor, "agents:write")
    with tenant_transaction(actor.org_id):
        agent = (
            lock_own_agent(actor, agent_id) if user_id == actor.user_id else _lock_as_admin(actor, agent_id)
        )
        announce_hidden(AgentChanged, agent)
        deleted, _ = AgentPerson.objects.filter(agent=agent, user_id=user_id).delete()
        if not deleted:
            raise Missing("This person has no role with the agent.")
        hide_earlier(AgentChanged, agent)
        announce_change(AgentChanged, agent)
        subject = Subject("agent", agent.id, agent.name, user_id)
        record_audit(actor, AuditAction.AGENT_ROLE_REMOVED, subject, user=str(user_id))


def _lock_as_admin(actor: Actor, agent_id: uuid.UUID) -> Agent:
    agent = lock_own_agent(actor, agent_id)
    if not is_agent_admin(actor, agent):
        raise RoleMissing("The agent's owner, its admins and the organisation's decide this.", role="admin")
    return agent
