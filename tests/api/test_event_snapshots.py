"""A list and the events after it are the list as it is now: for every type of object, for an admin and a member."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from conftest import Tenant
from services.domain.actors import Actor
from services.domain.agents.actions import AgentFields, archive_agent, create_agent, update_agent
from services.domain.agents.people import put_agent_person, remove_agent_person
from services.domain.chats.actions import create_link, delete_link, retry_delivery, update_link
from services.domain.chats.wirings import WiringFields, create_wiring, delete_wiring, update_wiring
from services.domain.contacts.destinations import (
    DestinationFields,
    create_destination,
    delete_destination,
    update_destination,
)
from services.domain.events.listed import Listed
from services.domain.events.log import get_heads, list_events
from services.domain.events.models import Event
from services.domain.events.registry import KINDS, is_event_for
from services.domain.identity.actions import (
    add_member,
    change_role,
    create_token,
    remove_member,
    revoke_token,
)
from services.domain.identity.models import User
from services.domain.identity.queries import all_tenants_authenticate
from services.domain.integrations.actions import (
    IntegrationChanges,
    NewIntegration,
    connect_integration,
    remove_integration,
    update_integration,
)
from services.domain.llm.budgets import BudgetFields, delete_budget, put_budget
from services.domain.llm.models import BudgetLevel, BudgetPeriod
from services.domain.memory.actions import delete_memory, write_memory
from services.domain.playbooks.actions import (
    PlaybookFields,
    create_playbook,
    delete_playbook,
    run_playbook,
    update_playbook,
)
from services.domain.questions.actions import Ask, answer_question, ask_question
from services.domain.rooms.actions import bring_agent, close_room, open_room, rename_room
from services.domain.skills.actions import SkillFields, create_skill, delete_skill, update_skill
from services.domain.tasks.finish import Outcome, finish_locked_task
from services.domain.tasks.queries import agent_actor
from services.domain.tasks.submit import TaskOrder, cancel_task, lock_task, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.actions import (
    NewUpstream,
    delete_upstream,
    register_upstream,
    update_upstream,
)
from services.domain.vault.actions import create_secret, delete_secret, update_secret
from services.domain.vault.fields import NewSecret
from services.domain.workspaces.actions import (
    archive_workspace,
    delete_workspace,
    rename_workspace,
    restore_workspace,
)
from tests.api.client import Api
from tests.api.conftest import World
from tests.api.test_tenants import OPERATIONS, call
from tests.domain.cast import running

LISTED: dict[str, type[Listed]] = {
    name: kind.data for name, kind in KINDS.items() if issubclass(kind.data, Listed)
}
# What nobody can delete. An archived agent leaves its list as well.
NEVER_DELETED = {"agent.changed", "task.changed", "question.changed", "delivery.changed"}
Lists = dict[str, dict[str, dict[str, Any]]]


class Follower:
    """A client that has taken all lists once, and from then on only applies what it is told."""

    def __init__(self, token: str) -> None:
        self.api = Api(token)
        self.actor: Actor = all_tenants_authenticate(token)
        self.stream = f"org:{self.actor.org_id}"
        with tenant_transaction(self.actor.org_id):
            self.cursor = get_heads([self.stream])[self.stream][1]
        self.lists = self.fresh()

    def fresh(self) -> Lists:
        """Take every list, as far as its events tell of it."""
        return {name: self._list(name, data) for name, data in LISTED.items()}

    def catch_up(self) -> None:
        """Apply what has happened since."""
        with tenant_transaction(self.actor.org_id):
            events = list_events(self.stream, after=self.cursor, limit=10_000)
        for event in events:
            if event.type in LISTED and is_event_for(self.actor, event.type, event.readers):
                self._apply(event)
        self.cursor = events[-1].seq

    def _apply(self, event: Event) -> None:
        data = {name: value for name, value in event.data.items() if name != "change"}
        object_id = data[LISTED[event.type].key]
        is_listed = not (event.type == "agent.changed" and data["archived_at"])
        if event.data["change"] == "deleted":
            self._forget(event.type, object_id)
        elif is_listed:
            self.lists[event.type][object_id] = data
        else:
            self.lists[event.type].pop(object_id, None)

    def _forget(self, name: str, object_id: str) -> None:
        self.lists[name].pop(object_id, None)
        for child, data in LISTED.items():
            for field in [field for field, parent in data.parents.items() if parent == name]:
                hanging = [key for key, one in self.lists[child].items() if one[field] == object_id]
                for key in hanging:
                    self._forget(child, key)

    def _list(self, name: str, data: type[Listed]) -> dict[str, dict[str, Any]]:
        path = KINDS[name].route.rpartition("/")[0]
        answer = self.api.get(f"{path}?limit=200")
        assert answer.status == 200, (path, answer.body)
        assert answer.body["next"] is None
        shown = {data.key: "id", **data.sources}
        shown |= {field: source.rpartition(".")[2] for field, source in data.sources.items()}
        fields = [field for field in data.model_fields if field != "change"]
        items = [{field: item[shown.get(field, field)] for field in fields} for item in answer.body["items"]]
        return {item[data.key]: item for item in items}


def change_people(acme: Tenant) -> None:
    owner = acme.owner
    dave = User.objects.create_user("dave@acme.example", "x", display_name="dave")
    add_member(owner, dave, "viewer")
    change_role(owner, dave.pk, "member")
    create_token(Actor(owner.org_id, "user", "member", dave.pk), name="dave's")
    row, _ = create_token(acme.people["bob"], name="bob's")
    revoke_token(acme.people["bob"], row.id)
    remove_member(owner, dave.pk)
    erin = User.objects.create_user("erin@acme.example", "x", display_name="erin")
    add_member(owner, erin, "viewer")


def change_agents(acme: Tenant, world: World) -> None:
    owner, agent_id, bob = acme.owner, acme.agent.id, acme.users["bob"].pk
    update_agent(owner, agent_id, {"description": "For everything."})
    update_agent(owner, agent_id, {"is_shared": False, "description": "For some."})
    put_agent_person(owner, agent_id, bob, "member")
    other = create_agent(owner, AgentFields(name="Other"))
    archive_agent(owner, create_agent(owner, AgentFields(name="Short-lived")).id)
    update_agent(owner, other.id, {"is_shared": False})
    put_agent_person(owner, other.id, bob, "member")
    remove_agent_person(owner, other.id, bob)
    create_agent(acme.people["bob"], AgentFields(name="Bob's", is_shared=False))
    playbook, _ = create_playbook(owner, PlaybookFields(agent_id=agent_id, name="Once", prompt="true"))
    run_playbook(owner, playbook.id)
    delete_playbook(owner, playbook.id)
    update_playbook(owner, world.ids["playbook_id"], {"is_enabled": False})
    kept = create_skill(owner, SkillFields(name="deploy", description="How we deploy.", body="Carefully."))
    update_skill(owner, kept.id, {"body": "Very carefully."})
    delete_skill(owner, create_skill(owner, SkillFields(name="gone", description="d", body="b")).id)
    write_memory(owner, agent_id, "likes", "Coffee.")
    write_memory(acme.people["bob"], agent_id, "hates", "Tea.")
    write_memory(acme.people["bob"], agent_id, "knows", "Much.")
    delete_memory(acme.people["bob"], agent_id, "knows")


def change_work(acme: Tenant) -> None:
    owner = acme.owner
    order = TaskOrder(agent_id=acme.agent.id, prompt="true")
    workspace_id = cancel_task(owner, submit_task(owner, order, source="api").id).workspace_id
    rename_workspace(owner, workspace_id, "Renamed")
    archive_workspace(owner, workspace_id)
    restore_workspace(owner, workspace_id)
    task, _ = running(acme)
    question = ask_question(agent_actor(task), Ask(text="Which?"))
    answer_question(owner, question.id, text="This one.")
    with tenant_transaction(owner.org_id):
        finish_locked_task(lock_task(task.id), Outcome(status="succeeded", text="done"))
    gone, _ = running(acme)
    ask_question(agent_actor(gone), Ask(text="Never answered?"))
    with tenant_transaction(owner.org_id):
        finish_locked_task(lock_task(gone.id), Outcome(status="failed", error=("x", "x")))
    delete_workspace(owner, gone.workspace_id)


def change_chats(acme: Tenant, world: World) -> None:
    owner = acme.owner
    link = create_link(owner, kind="telegram", name="Second", config={"bot_token": "1:a"})
    update_link(owner, link.id, name="Third")
    update_wiring(owner, world.ids["wiring_id"], {"priority": 3})
    room = open_room(owner, "Short")
    rename_room(owner, room.id, "Shorter")
    wiring = bring_agent(owner, room.id, acme.agent.id, answers_all=True)
    delete_wiring(owner, wiring.id)
    create_wiring(owner, WiringFields(chat_id=room.id, agent_id=acme.agent.id))
    create_destination(owner, DestinationFields(name="short", chat_id=room.id, is_shared=True))
    close_room(owner, room.id)
    open_room(owner, "Lasting")
    retry_delivery(owner, world.ids["delivery_id"])
    delete_link(owner, link.id)
    mine = create_destination(acme.people["bob"], DestinationFields(name="me", person_id=owner.user_id))
    update_destination(acme.people["bob"], mine.id, {"description": "Ask her."})
    delete_destination(owner, world.ids["destination_id"])


def change_what_opens_things(acme: Tenant, world: World) -> None:
    owner, bob = acme.owner, acme.people["bob"]
    secret = create_secret(bob, NewSecret(name="MINE", value=SecretStr("hush"), is_personal=True))
    update_secret(bob, secret.id, {"description": "Bob's."}, SecretStr("hush hush"))
    delete_secret(owner, world.ids["secret_id"])
    row = connect_integration(bob, NewIntegration(kind="gmail", name="bob's"))
    update_integration(bob, row.id, IntegrationChanges(is_enabled=False))
    remove_integration(owner, world.ids["integration_id"])
    server = register_upstream(bob, NewUpstream(name="bobs", url="http://127.0.0.1:9/mcp", is_personal=True))
    update_upstream(bob, server.id, {"timeout_s": 9})
    delete_upstream(owner, world.ids["server_id"])
    for level, subject in ((BudgetLevel.ORGANISATION, None), (BudgetLevel.PERSON, bob.user_id)):
        for limit in (5, 6):
            put_budget(
                owner,
                BudgetFields(
                    level=level, period=BudgetPeriod.MONTH, subject_id=subject, limit_microusd=limit
                ),
            )
    delete_budget(owner, world.ids["budget_id"])


def test_a_snapshot_and_its_events_are_a_fresh_snapshot(acme: Tenant, world: World) -> None:
    followers = [Follower(acme.token), Follower(acme.tokens["bob"])]
    start = followers[0].cursor
    change_people(acme)
    change_agents(acme, world)
    change_chats(acme, world)
    change_work(acme)
    change_what_opens_things(acme, world)
    for follower in followers:
        before = follower.lists
        follower.catch_up()
        fresh = follower.fresh()
        for name in LISTED:
            assert follower.lists[name] == fresh[name], (follower.actor.role, name)
        assert before is follower.lists
    with tenant_transaction(acme.organisation.id):
        told = Event.objects.filter(stream=followers[0].stream, seq__gt=start, type__in=LISTED)
        changes = {(event.type, event.data["change"]) for event in told}
    for name in LISTED.keys() - NEVER_DELETED:
        assert (name, "deleted") in changes, name
    assert {name for name, _ in changes} == LISTED.keys()


def test_every_route_that_changes_what_a_list_shows_tells_of_it(acme: Tenant, world: World) -> None:
    carol = User.objects.create_user("carol@acme.example", "x", display_name="carol")
    add_member(acme.owner, carol, "member")
    _, token = create_token(Actor(acme.organisation.id, "user", "member", carol.pk), name="hers")
    # Bob is who the routes remove.
    followers = [Follower(acme.token), Follower(token)]
    changing = [
        (method, route)
        for method, route in OPERATIONS
        if method != "get" and "/files" not in route and not route.endswith("/connect")
    ]
    deleting = [(method, route) for method, route in reversed(changing) if method == "delete"]
    for method, route in [*(one for one in changing if one not in deleting), *deleting]:
        call(followers[0].api, method, route, world)
    for follower in followers:
        follower.catch_up()
        fresh = follower.fresh()
        for name in LISTED:
            assert follower.lists[name] == fresh[name], (follower.actor.role, name)
