"""Mallory walks every route with acme's ids, and learns and changes nothing."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode as b64encode
from typing import Any

import pytest
from django.urls import get_resolver
from django.urls.resolvers import URLPattern, URLResolver

from services.api.v1.routes import ROUTES
from services.domain.tenancy.transaction import tenant_transaction
from tests.api.client import Api
from tests.api.conftest import World

_ID = re.compile(r"<uuid:(\w+)>")

# For routes that take a body, one that is valid and, where it can, points at acme's things.
BODIES: dict[tuple[str, str], Any] = {
    ("post", "tasks"): {"agent_id": "agent_id", "prompt": "x"},
    ("post", "tasks/<uuid:task_id>/answer"): {"text": "x"},
    ("post", "tasks/<uuid:task_id>/messages"): {"text": "x"},
    ("post", "agents"): {"name": "Mallory's"},
    ("patch", "agents/<uuid:agent_id>"): {"name": "Stolen"},
    ("post", "skills"): {"name": "hers", "description": "d", "body": "b"},
    ("patch", "skills/<uuid:skill_id>"): {"body": "stolen"},
    ("post", "agents/<uuid:agent_id>/clone"): {"name": "Copied"},
    ("post", "agents/<uuid:agent_id>/rollback"): {"version": 1},
    ("put", "agents/<uuid:agent_id>/people/<uuid:user_id>"): {"role": "admin"},
    ("patch", "members/<uuid:user_id>"): {"role": "admin"},
    ("patch", "me"): {"language": "de"},
    ("patch", "workspaces/<uuid:workspace_id>"): {"name": "Stolen"},
    ("post", "workspaces/<uuid:workspace_id>/files/folders"): {"path": "a"},
    ("post", "workspaces/<uuid:workspace_id>/files/move"): {"path": "a", "to": "b"},
    ("post", "workspaces/<uuid:workspace_id>/commands"): {"text": "true"},
    ("post", "playbooks"): {"agent_id": "agent_id", "name": "n", "prompt": "p"},
    ("patch", "playbooks/<uuid:playbook_id>"): {"name": "Stolen"},
    ("post", "secrets"): {"name": "A", "value": "v", "agent_ids": ["agent_id"]},
    ("patch", "secrets/<uuid:secret_id>"): {"value": "stolen"},
    ("put", "secrets/<uuid:secret_id>/value"): {"value": "stolen"},
    ("post", "secrets/<uuid:secret_id>/rollback"): {"version": 1},
    ("post", "links"): {
        "kind": "telegram", "name": "n", "config": {"bot_token": "1:a"}, "default_agent_id": "agent_id",
    },
    ("patch", "links/<uuid:link_id>"): {"name": "Stolen"},
    ("post", "links/<uuid:link_id>/chats"): {"person_id": "U0002BOB"},
    ("patch", "links/<uuid:link_id>/senders/<uuid:sender_id>"): {"standing": "denied"},
    ("post", "wirings"): {"chat_id": "chat_id", "agent_id": "agent_id"},
    ("patch", "wirings/<uuid:wiring_id>"): {"priority": 9},
    ("post", "rooms"): {"title": "Hers"},
    ("patch", "rooms/<uuid:room_id>"): {"title": "Stolen"},
    ("post", "rooms/<uuid:room_id>/agents"): {"agent_id": "agent_id"},
    ("post", "rooms/<uuid:room_id>/messages"): {"text": "x"},
    ("post", "rooms/<uuid:room_id>/presses"): {"message_id": "m", "value": "v"},
    ("put", "rooms/<uuid:room_id>/reactions"): {"message_id": "room_message_id", "emoji": "👍"},
    ("post", "destinations"): {"name": "n", "chat_id": "chat_id"},
    ("patch", "destinations/<uuid:destination_id>"): {"name": "stolen"},
    ("post", "questions/<uuid:question_id>/answer"): {"text": "x"},
    ("put", "me/notifications"): {"time_zone": "Europe/Berlin"},
    ("post", "me/push"): {
        "endpoint": "https://push.example/hers",
        "keys": {"p256dh": b64encode(b"\x04" + b"k" * 64).decode(), "auth": b64encode(b"a" * 16).decode()},
    },
    ("post", "tokens"): {"name": "n"},
    ("post", "tokens/<uuid:token_id>/rotate"): {"grace_s": 0},
    ("post", "organisations"): {"slug": "mallorys-own", "name": "Hers"},
    ("patch", "organisation"): {"name": "Renamed"},
    ("post", "invitations"): {"email": "friend@mallory.example"},
    ("post", "invitations/accept"): {"token": "swi_of-acme"},
    ("post", "oauth_clients"): {"name": "n", "redirect_uris": ["https://mallory.example/cb"]},
    ("post", "mcp_servers"): {"name": "hers", "url": "http://127.0.0.1:9/mcp"},
    ("patch", "mcp_servers/<uuid:server_id>"): {"timeout_s": 9},
    ("post", "mcp_servers/<uuid:server_id>/approve_tools"): {"tools_digest": ""},
    ("post", "integrations"): {"kind": "gmail", "name": "hers", "agent_ids": ["agent_id"]},
    ("patch", "integrations/<uuid:integration_id>"): {"name": "stolen"},
    ("post", "approvals/<uuid:approval_id>/decide"): {"decision": "allow", "scope": "always"},
    ("patch", "llm/policy"): {"retries": 1},
    ("post", "llm/keys"): {"vendor": "anthropic", "name": "hers", "key": "sk-ant-hers-alone"},
    ("patch", "llm/keys/<uuid:llm_key_id>"): {"priority": 1},
    ("put", "budgets"): {"level": "agent", "period": "day", "subject_id": "agent_id", "limit_microusd": 1},
    ("post", "webhooks"): {"name": "hers", "url": "https://mallory.example/in", "event_types": ["task.finished"]},
    ("patch", "webhooks/<uuid:webhook_id>"): {"name": "Stolen"},
    ("post", "approval_rules"): {"effect": "deny", "tool": "*", "agent_id": "agent_id"},
    ("patch", "approval_rules/<uuid:rule_id>"): {"effect": "allow"},
}  # fmt: skip
# What has to be asked for with a query.
QUERIES = {"agents/<uuid:agent_id>/diff": "?before=1&after=1"}
# These create something of mallory's own, and name nothing of acme's.
OF_HER_OWN = {
    ("post", "agents"), ("post", "tokens"), ("post", "tickets"), ("post", "mcp_servers"), ("post", "oauth_clients"),
    ("patch", "llm/policy"), ("post", "llm/keys"), ("post", "rooms"), ("post", "skills"),
    ("post", "organisations"), ("patch", "organisation"), ("post", "invitations"),
}  # fmt: skip
OF_HER_OWN |= {("post", "webhooks")}
OF_HER_OWN |= {("put", "me/notifications"), ("patch", "me"), ("post", "me/push")}
OPERATIONS = [(method, route) for route, endpoint in ROUTES for method in endpoint.operations()]


def with_ids(value: Any, world: World) -> Any:
    if isinstance(value, dict):
        return {key: with_ids(item, world) for key, item in value.items()}
    if isinstance(value, list):
        return [with_ids(item, world) for item in value]
    return world[value] if value in world.ids else value


def call(api: Api, method: str, route: str, world: World):
    path = "/v1/" + _ID.sub(lambda found: world[found[1]], route) + QUERIES.get(route, "")
    return api.call(method.upper(), path, with_ids(BODIES.get((method, route)), world))


def snapshot(acme) -> dict[str, Any]:
    from django.apps import apps

    with tenant_transaction(acme.organisation.id):
        return {
            model._meta.label: sorted(map(str, model.objects.values_list(*_columns(model))))
            for model in apps.get_models()
            if model._meta.app_label
            in (
                "agents",
                "approvals",
                "audit",
                "calls",
                "chat_commands",
                "chats",
                "commands",
                "contacts",
                "events",
                "images",
                "llm",
                "integrations",
                "media",
                "metering",
                "oauth",
                "playbooks",
                "push",
                "questions",
                "skills",
                "rooms",
                "tasks",
                "upstreams",
                "webhooks",
                "vault",
                "workspaces",
            )
        }


def _columns(model: Any) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


def test_every_operation_with_acmes_ids_is_404_for_mallory(acme, world, mallory):
    before = snapshot(acme)
    theirs = [str(found).encode() for found in (*world.ids.values(), acme.organisation.id)]
    for method, route in OPERATIONS:
        answer = call(mallory, method, route, world)
        if "<" in route or ((method, route) in BODIES and (method, route) not in OF_HER_OWN):
            assert answer.status in (403, 404), (method, route, answer.status, answer.body)
        else:
            assert answer.status < 300, (method, route, answer.status, answer.body)
        assert not [found for found in theirs if found in answer.raw], (method, route)
        assert b"acme" not in answer.raw, (method, route)
    assert snapshot(acme) == before


def test_the_same_walk_is_granted_to_alice_where_the_state_allows_it(acme, world, alice):
    refused = {}
    for method, route in OPERATIONS:
        if method != "delete" and not route.endswith("/connect") and "/files" not in route:
            answer = call(alice, method, route, world)
            if answer.status >= 300:
                refused[method, route] = answer.code
    assert refused == {
        ("post", "tasks/<uuid:task_id>/answer"): "task_finished",
        ("post", "tasks/<uuid:task_id>/messages"): "task_finished",
        ("post", "workspaces/<uuid:workspace_id>/pause"): "workspace_not_running",
        ("post", "questions/<uuid:question_id>/answer"): "question_closed",
        ("post", "links/<uuid:link_id>/check"): "conflict",
        ("post", "links/<uuid:link_id>/chats"): "conflict",
        ("post", "wirings"): "name_taken",
        ("post", "invitations/accept"): "not_permitted",
        ("post", "exports"): "conflict",
        ("get", "exports/<uuid:export_id>/content"): "conflict",
        ("get", "agents/<uuid:agent_id>/people/<uuid:user_id>"): "not_found",
    }


@pytest.mark.parametrize(
    "query",
    ["tasks?agent_id={agent_id}", "tasks?workspace_id={workspace_id}", "workspaces?agent_id={agent_id}",
     "playbooks?agent_id={agent_id}", "chats?link_id={link_id}", "wirings?chat_id={chat_id}",
     "deliveries?chat_id={chat_id}", "deliveries?task_id={task_id}", "approvals?task_id={task_id}",
     "calls?task_id={task_id}", "calls?agent_id={agent_id}"],
)  # fmt: skip
def test_a_list_narrowed_to_acmes_things_is_empty_for_mallory(world, mallory, alice, query):
    path = "/v1/" + query.format(**{name: str(found) for name, found in world.ids.items()})
    assert alice.get(path).body["items"]
    assert mallory.get(path).body == {"items": [], "next": None}


def test_a_cursor_of_acmes_leads_mallory_nowhere(acme, world, mallory, alice):
    for _ in range(3):
        alice.post("/v1/tasks", {"agent_id": world["agent_id"], "prompt": "x"})
    cursor = alice.get("/v1/tasks?limit=1").body["next"]
    assert mallory.get(f"/v1/tasks?cursor={cursor}").body == {"items": [], "next": None}


def test_mallory_delivers_nothing_to_acmes_chat(world, globex, mallory):
    for path, body in (
        ("/v1/tasks", {"agent_id": str(globex.agent.id), "prompt": "x"}),
        ("/v1/playbooks", {"agent_id": str(globex.agent.id), "name": "n", "prompt": "x"}),
    ):
        missing = mallory.post(path, body | {"deliver_to": {"chat_id": world["chat_id"]}})
        assert (missing.status, missing.code) == (404, "chat_not_found")


def test_a_session_cannot_choose_an_organisation_of_others(acme, globex):
    api = Api()
    api.client.force_login(globex.users["mallory"])
    assert api.get("/v1/agents", X_Slipway_Org="acme").status == 404


def test_no_route_of_the_api_is_outside_the_table():
    def patterns(resolver: URLResolver, prefix: str = ""):
        for entry in resolver.url_patterns:
            route = prefix + str(entry.pattern)
            if isinstance(entry, URLResolver):
                yield from patterns(entry, route)
            elif isinstance(entry, URLPattern):
                yield route

    found = {route for route in patterns(get_resolver()) if route.startswith("v1/")}
    extra = {"v1/openapi.json", "v1/docs", "v1/^"}
    assert found == {f"v1/{route}" for route, _ in ROUTES} | extra
