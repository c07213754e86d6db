"""Whoever gets an event can GET its object, and nobody else gets it: for every type that there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast, get_args

import pytest
from pydantic import SecretStr

from conftest import Tenant
from services.domain.actors import Actor
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.contacts.destinations import DestinationFields, create_destination
from services.domain.events.log import get_heads, list_events, record_event
from services.domain.events.models import Event
from services.domain.events.registry import KINDS, StreamKind, is_event_for
from services.domain.events.types import EventData
from services.domain.identity.actions import add_member, create_token
from services.domain.identity.models import User
from services.domain.identity.queries import all_tenants_authenticate
from services.domain.integrations.actions import NewIntegration, connect_integration
from services.domain.llm.budgets import BudgetFields, put_budget
from services.domain.llm.models import BudgetLevel, BudgetPeriod
from services.domain.memory.actions import write_memory
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.actions import NewUpstream, register_upstream
from services.domain.vault.actions import create_secret
from services.domain.vault.fields import NewSecret
from services.domain.workspaces.queries import may_read_stream
from tests.api.client import Api
from tests.api.conftest import World


def of_bobs_own(acme: Tenant) -> None:
    """Give bob one of each thing that only he and perhaps the admins may see."""
    bob = acme.people["bob"]
    agent = create_agent(bob, AgentFields(name="Bob's", is_shared=False))
    create_secret(bob, NewSecret(name="MINE", value=SecretStr("hush"), is_personal=True))
    connect_integration(bob, NewIntegration(kind="gmail", name="bob's"))
    register_upstream(bob, NewUpstream(name="bobs", url="http://127.0.0.1:9/mcp", is_personal=True))
    create_destination(bob, DestinationFields(name="me", person_id=bob.user_id))
    write_memory(bob, agent.id, "likes", "Coffee.")
    put_budget(
        acme.owner,
        BudgetFields(
            level=BudgetLevel.PERSON, period=BudgetPeriod.DAY, subject_id=bob.user_id, limit_microusd=9
        ),
    )


@dataclass(frozen=True)
class Said:
    """The data of an event that names its objects and says nothing else."""

    type: str
    named: dict[str, str]

    def to_data(self) -> dict[str, str]:
        return self.named


def told_of_everything(acme: Tenant, world: World) -> list[Event]:
    """Return acme's events; of each type that nothing here has caused, one is recorded about the world's things."""
    of_bobs_own(acme)
    owner = acme.owner
    streams: dict[StreamKind, str] = {
        "workspace": f"workspace:{world['workspace_id']}",
        "org": f"org:{owner.org_id}",
        "user": f"user:{owner.user_id}",
    }
    assert set(streams) == set(get_args(StreamKind))
    ids = {name: str(found) for name, found in world.ids.items()} | {"key_id": world["llm_key_id"]}
    with tenant_transaction(owner.org_id):
        caused = {(event.type, event.stream.partition(":")[0]) for event in Event.objects.all()}
        for name, kind in KINDS.items():
            for place in kind.streams:
                if (name, place) not in caused:
                    named = {key: ids[key] for key in kind.data.model_fields if key in ids}
                    record_event(streams[place], cast("EventData", Said(name, named)))
        events = list(Event.objects.all())
    assert {event.type for event in events} == set(KINDS)
    return events


def route_of(event: Event) -> str:
    ids = event.data | {"stream_id": event.stream.partition(":")[2]}
    return KINDS[event.type].route.format(**ids)


@pytest.fixture
def readers(acme: Tenant, globex: Tenant) -> dict[str, tuple[Actor, Api]]:
    """Give everybody who may try: each with the actor of their token, and the API as they see it."""
    carol = User.objects.create_user("carol@acme.example", "x", display_name="carol")
    add_member(acme.owner, carol, "viewer")
    tokens = {
        "alice": acme.token,
        "bob": acme.tokens["bob"],
        # A viewer makes no token, but keeps one from before.
        "carol": create_token(Actor(acme.organisation.id, "user", "member", carol.pk), name="hers")[1],
        "mallory": globex.token,
    }
    for scope in ("workspaces:read", "tasks:read", "chats:read"):
        tokens[f"bob with {scope}"] = create_token(acme.people["bob"], name="narrow", scopes=[scope])[1]
    return {name: (all_tenants_authenticate(token), Api(token)) for name, token in tokens.items()}


def test_whoever_gets_an_event_can_get_its_object_and_nobody_else_does(acme, world, readers):
    events = told_of_everything(acme, world)
    wrong, given = [], 0
    answers: dict[tuple[str, str], bool] = {}
    for event in events:
        if event.data.get("change") == "deleted":
            continue
        route = route_of(event)
        for name, (actor, api) in readers.items():
            with tenant_transaction(actor.org_id):
                follows = may_read_stream(actor, event.stream)
            gets = follows and is_event_for(actor, event.type, event.readers)
            if (name, route) not in answers:
                answers[name, route] = api.call_unchecked("GET", route).status == 200
            given += gets
            if gets != (follows and answers[name, route]):
                wrong.append((name, event.type, route, gets))
    assert not wrong
    assert given > len(events)


def test_nobody_of_another_organisation_follows_anything_of_acmes(acme, world, readers):
    mallory = readers["mallory"][0]
    for stream in {event.stream for event in told_of_everything(acme, world)}:
        with tenant_transaction(mallory.org_id):
            assert not may_read_stream(mallory, stream)
            assert list_events(stream, after=0, limit=10) == []
            assert get_heads([stream]) == {}
