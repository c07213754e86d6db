"""How programs show who they are: rotated tokens, tokens of named agents, signed requests."""

from __future__ import annotations

import json
import secrets
import uuid
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms
from http_message_signatures.digests import ContentDigest

from services.domain.agents.actions import AgentFields, create_agent
from services.domain.identity.signing import all_tenants_forget_nonces
from services.kit.clock import now
from tests.api.client import Api


def test_after_a_rotation_both_texts_are_good_and_then_the_new_one(alice, monkeypatch):
    made = alice.post("/v1/tokens", {"name": "ci"}).body
    rotated = alice.post(f"/v1/tokens/{made['id']}/rotate", {"grace_s": 3600})
    assert (rotated.status, rotated.body["id"]) == (201, made["id"])
    assert rotated.body["token"] != made["token"]
    for text in (made["token"], rotated.body["token"]):
        assert Api(text).get("/v1/me").status == 200
    twice = alice.post(f"/v1/tokens/{made['id']}/rotate", {"grace_s": 3600}).body
    assert Api(made["token"]).get("/v1/me").code == "token_invalid"
    assert Api(rotated.body["token"]).get("/v1/me").status == 200
    later = now() + timedelta(hours=2)
    with monkeypatch.context() as patched:
        patched.setattr("services.domain.identity.queries.now", lambda: later)
        assert Api(rotated.body["token"]).get("/v1/me").code == "token_invalid"
        assert Api(twice["token"]).get("/v1/me").status == 200
    at_once = alice.post(f"/v1/tokens/{made['id']}/rotate", {"grace_s": 0}).body
    assert Api(twice["token"]).get("/v1/me").code == "token_invalid"
    assert alice.delete(f"/v1/tokens/{made['id']}").status == 204
    assert Api(at_once["token"]).get("/v1/me").code == "token_invalid"


def test_a_rotation_gives_nobody_more_than_they_had(acme, alice):
    wide = alice.post("/v1/tokens", {"name": "wide"}).body
    narrow = alice.post("/v1/tokens", {"name": "n", "scopes": ["tokens:write"]}).body["token"]
    assert Api(narrow).post(f"/v1/tokens/{wide['id']}/rotate", {}).code == "not_permitted"
    bobs = Api(acme.tokens["bob"]).post("/v1/tokens", {"name": "bob's"}).body
    assert alice.post(f"/v1/tokens/{bobs['id']}/rotate", {}).code == "not_permitted"


def test_a_token_of_named_agents_meets_nothing_of_the_others(acme, alice):
    other = create_agent(acme.owner, AgentFields(name="Other"))
    ours, theirs = str(acme.agent.id), str(other.id)
    refused = alice.post("/v1/tokens", {"name": "n", "agent_ids": [ours], "scopes": ["secrets:read"]})
    assert set(refused.fields) == {"scopes"}
    made = alice.post("/v1/tokens", {"name": "n", "agent_ids": [ours]}).body
    narrow = Api(made["token"])
    done = {
        agent: alice.post("/v1/tasks", {"agent_id": agent, "prompt": "true"}).body for agent in (ours, theirs)
    }
    assert narrow.post("/v1/tasks", {"agent_id": ours, "prompt": "true"}).status == 202
    for body in (
        {"agent_id": theirs, "prompt": "x"},
        {"workspace_id": done[theirs]["workspace_id"], "prompt": "x"},
    ):
        assert narrow.post("/v1/tasks", body).status == 404
    mine, not_mine = done[ours], done[theirs]
    for path in (
        "tasks/{id}",
        "workspaces/{workspace_id}",
        "workspaces/{workspace_id}/events",
        "agents/{agent_id}",
    ):
        assert narrow.get(f"/v1/{path.format(**mine)}").status == 200, path
        assert narrow.get(f"/v1/{path.format(**not_mine)}").status == 404, path
    assert narrow.post(f"/v1/tasks/{not_mine['id']}/cancel").status == 404
    for path in ("tasks", "workspaces", "agents"):
        assert theirs.encode() not in narrow.get(f"/v1/{path}").raw, path
    for path in ("secrets", "links", "members", "playbooks", "audit", "tokens"):
        assert narrow.get(f"/v1/{path}").code == "scope_missing", path


class Signer:
    """A program that signs its requests, by a library that others keep."""

    def __init__(self, token_id: str, key: str) -> None:
        self.token_id, self.key = token_id, key

    def headers(self, method: str, path: str, body: bytes = b"", **change: Any) -> dict[str, str]:
        """Return the headers of a signed request."""
        request = SimpleNamespace(method=method, url=f"http://testserver{path}", headers={})
        covered = ["@method", "@path", "@query"]
        if body:
            ContentDigest.add(request.headers, body)
            covered.append("content-digest")
        keys = {self.token_id: self.key.encode()}
        signer = HTTPMessageSigner(
            signature_algorithm=algorithms.HMAC_SHA256,
            key_resolver=MappingKeyResolver(private_keys=keys, public_keys=keys),
        )
        given: dict[str, Any] = {
            "key_id": self.token_id,
            "nonce": secrets.token_urlsafe(16),
            "tag": "slipway",
            "covered_component_ids": covered,
            "use_existing_digest": bool(body),
            **change,
        }
        signer.sign(request, **given)
        return {name.replace("-", "_"): value for name, value in request.headers.items()}


@pytest.fixture
def signer(alice) -> Signer:
    made = alice.post("/v1/tokens", {"name": "service", "kind": "signing"}).body
    return Signer(made["id"], made["token"])


def test_a_signed_request_is_taken_once(signer):
    headers = signer.headers("GET", "/v1/me")
    assert Api().get("/v1/me", **headers).body["kind"] == "token"
    assert Api().get("/v1/me", **headers).code == "token_invalid"
    assert Api().get("/v1/me", **signer.headers("GET", "/v1/me")).status == 200
    # A signing key is not sent: nobody who sees it on the way could use it so.
    assert Api(signer.key).get("/v1/me").code == "token_invalid"


def test_a_signed_body_is_taken_and_another_one_is_not(signer, acme):
    order = {"agent_id": str(acme.agent.id), "prompt": "true"}
    body = json.dumps(order).encode()
    assert (
        Api().call("POST", "/v1/tasks", body, headers=signer.headers("POST", "/v1/tasks", body)).status == 202
    )
    changed = json.dumps(order | {"prompt": "id"}).encode()
    headers = signer.headers("POST", "/v1/tasks", body)
    assert Api().call("POST", "/v1/tasks", changed, headers=headers).code == "token_invalid"
    headers = signer.headers("POST", "/v1/tasks")
    assert Api().call("POST", "/v1/tasks", body, headers=headers).code == "token_invalid"


@pytest.mark.parametrize(
    "change",
    [
        {"created": now() - timedelta(seconds=75)},
        {"created": now() + timedelta(seconds=3600)},
        {"nonce": "short"},
        {"tag": "other"},
        {"covered_component_ids": ["@method"]},
        {"covered_component_ids": ["@method", "@path"]},
    ],
)
def test_a_signature_that_is_old_or_covers_too_little_is_refused(signer, change):
    assert Api().get("/v1/me", **signer.headers("GET", "/v1/me", **change)).code == "token_invalid"


def test_a_signature_of_another_request_or_key_is_refused(signer, alice):
    for forged in (
        signer.headers("GET", "/v1/tasks"),
        signer.headers("POST", "/v1/me"),
        signer.headers("GET", "/v1/me?org=other"),
        Signer(signer.token_id, "swh_guessed").headers("GET", "/v1/me"),
        Signer(str(uuid.uuid4()), signer.key).headers("GET", "/v1/me"),
        {"Signature_Input": "junk", "Signature": "junk"},
    ):
        assert Api().get("/v1/me", **forged).code == "token_invalid"
    alice.delete(f"/v1/tokens/{signer.token_id}")
    assert Api().get("/v1/me", **signer.headers("GET", "/v1/me")).code == "token_invalid"


def test_two_keys_are_live_while_one_is_rotated(signer, alice):
    rotated = alice.post(f"/v1/tokens/{signer.token_id}/rotate", {}).body
    for key in (signer, Signer(signer.token_id, rotated["token"])):
        assert Api().get("/v1/me", **key.headers("GET", "/v1/me")).status == 200
    alice.post(f"/v1/tokens/{signer.token_id}/rotate", {"grace_s": 0})
    assert Api().get("/v1/me", **signer.headers("GET", "/v1/me")).code == "token_invalid"
    assert all_tenants_forget_nonces() == 0
