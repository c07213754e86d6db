"""The AsyncAPI document is true: what the service sends is as it says, and what it takes is what it says."""

from __future__ import annotations

import json
from typing import Any

import httpx
import jsonschema
import pytest
from pydantic import SecretStr
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from services.domain.events.registry import KINDS
from services.domain.vault.actions import create_secret
from services.domain.vault.fields import NewSecret
from services.realtime.description import LIVE_TYPES, document
from services.realtime.messages import parse_message
from tests.realtime.conftest import Stream

META = "https://slipway.example/asyncapi.json"


def schema_of(frame: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the message that a frame is."""
    messages = document()["components"]["messages"]
    if "op" in frame:
        by_op = {message["name"]: message for message in messages.values()}
        found = by_op[frame["op"]]
    else:
        found = messages["LiveEvent" if frame["type"] in LIVE_TYPES else frame["type"]]
    payload: dict[str, Any] = found["payload"]
    return payload


def check(frame: dict[str, Any]) -> None:
    """Require a frame to be as the document says."""
    whole = Resource.from_contents(document(), default_specification=DRAFT202012)
    registry: Any = Registry().with_resource(META, whole)
    schema = json.loads(json.dumps(schema_of(frame)).replace('"#/', f'"{META}#/'))
    jsonschema.Draft202012Validator(schema, registry=registry).validate(frame)


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if "$ref" in node else set()
        return own.union(*(references(value) for value in node.values()))
    return set().union(*(references(item) for item in node)) if isinstance(node, list) else set()


def test_the_document_is_served_and_every_reference_in_it_leads_somewhere(service):
    served = httpx.get(f"{service.http}/v1/asyncapi.json").raise_for_status().json()
    assert served == document()
    assert served["asyncapi"] == "3.0.0"
    for reference in references(served):
        node: Any = served
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
    assert set(served["components"]["messages"]) >= set(KINDS)


def test_what_the_service_sends_is_as_the_document_says(service, acme, stream: Stream):
    org = f"org:{acme.organisation.id}"
    frames = []
    with service.client(acme.tokens["bob"]) as client:
        frames.append(client.ask(op="ping"))
        frames.append(client.ask(op="nonsense"))
        head = client.subscribe(org, None)["head"]
        create_secret(acme.owner, NewSecret(name="MINE", value=SecretStr("hush"), is_personal=True))
        frames += [client.receive() for _ in range(head + 1)]
        frames.append(client.subscribe(stream.name, 0))
        stream.add(2)
        frames += [client.receive() for _ in range(2)]
        stream.say("half", after=2, part=1)
        frames.append(client.receive())
    for frame in frames:
        check(frame)
    assert {frame.get("op") or frame["type"] for frame in frames} >= {
        "pong", "error", "ok", "member.changed", "agent.changed", "event.hidden", "message.created", "text.delta",
    }  # fmt: skip


def test_a_frame_that_is_not_as_the_document_says_is_found_out(stream: Stream):
    with pytest.raises(jsonschema.ValidationError):
        check(
            {
                "stream": stream.name,
                "seq": 1,
                "type": "agent.changed",
                "at": "x",
                "task_id": None,
                "turn": None,
                "data": {},
            }
        )


def test_what_the_document_says_of_requests_is_what_is_taken():
    named = {message["name"] for message in document()["components"]["messages"].values()}
    for message in ({"op": "ping"}, {"op": "subscribe", "stream": "x"}, {"op": "unsubscribe", "stream": "x"}):
        check(message)
        assert parse_message(message).op == message["op"]
        assert message["op"] in named
