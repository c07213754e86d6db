"""Input that is wrong: a 4xx with a stable code, and never more than that."""

from __future__ import annotations

import json
import uuid

import pytest

from services.domain.identity.actions import create_token, remove_member
from services.kit.clock import now
from tests.api.client import Api

ROUTE = "/v1/tasks"
NOBODY = str(uuid.uuid4())


def test_an_unknown_agent_is_404(alice):
    missing = alice.post(ROUTE, {"agent_id": NOBODY, "prompt": "x"})
    assert (missing.status, missing.code) == (404, "agent_not_found")


def test_an_unknown_workspace_is_404(alice):
    missing = alice.post(ROUTE, {"workspace_id": NOBODY, "prompt": "x"})
    assert (missing.status, missing.code) == (404, "workspace_not_found")


def test_an_unknown_chat_to_deliver_to_is_404(alice, acme):
    body = {"agent_id": str(acme.agent.id), "prompt": "x", "deliver_to": {"chat_id": NOBODY}}
    missing = alice.post(ROUTE, body)
    assert (missing.status, missing.code) == (404, "chat_not_found")


def test_neither_agent_nor_workspace_is_refused(alice):
    assert alice.post(ROUTE, {"prompt": "x"}).fields == {"agent_id": "missing"}


@pytest.mark.parametrize("prompt", ["", "  \n", "x" * 200_001, "x" * 1_000_000])
def test_an_empty_or_endless_prompt_is_refused(alice, acme, prompt):
    refused = alice.post(ROUTE, {"agent_id": str(acme.agent.id), "prompt": prompt})
    assert (refused.status, refused.code) == (400, "prompt_invalid")


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
def test_text_that_cannot_be_stored_is_refused(alice, acme, text):
    refused = alice.post(ROUTE, {"agent_id": str(acme.agent.id), "prompt": text})
    assert (refused.status, list(refused.fields)) == (400, ["prompt"])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe",
        b'{"prompt": NaN}',
        b"[" * 100_000,
        b'{"prompt": ' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"output_schema": ' + b'{"a":' * 100 + b"1" + b"}" * 101,
        b'{"timeout_s": ' + b"9" * 5_000 + b"}",
    ],
)
def test_a_malformed_body_is_refused(alice, raw):
    refused = alice.call("POST", ROUTE, raw)
    assert (refused.status, refused.code) == (400, "malformed_body")


def test_an_unknown_field_is_named(alice, acme):
    refused = alice.post(ROUTE, {"agent_id": str(acme.agent.id), "prompt": "x", "promt": "y"})
    assert (refused.status, refused.code, refused.fields) == (
        400,
        "unknown_field",
        {"promt": "unknown field"},
    )


def test_an_unknown_field_beside_a_wrong_one_is_plainly_invalid(alice):
    refused = alice.post(ROUTE, {"agent_id": "no id", "prompt": "x", "promt": "y"})
    assert refused.code == "invalid"
    assert set(refused.fields) == {"agent_id", "promt"}


def test_a_body_for_an_operation_that_takes_none_is_refused(alice, acme):
    task = alice.post(ROUTE, {"agent_id": str(acme.agent.id), "prompt": "x"}).body
    assert alice.post(f"{ROUTE}/{task['id']}/cancel", {"why": "because"}).code == "unknown_field"
    assert alice.post(f"{ROUTE}/{task['id']}/cancel", {}).status == 200


def test_an_error_does_not_repeat_what_was_sent(alice):
    refused = alice.post("/v1/secrets", {"name": "TOKEN", "value": ["very-secret"]})
    assert refused.status == 400
    assert b"very-secret" not in refused.raw


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_a_body_that_is_not_json_by_its_type_is_refused(alice, kind):
    response = alice.client.generic("POST", ROUTE, b'{"prompt": "x"}', content_type=kind, headers=alice._auth)
    assert (response.status_code, json.loads(response.content)["error"]["code"]) == (
        415,
        "unsupported_media_type",
    )


def test_a_body_of_more_than_two_megabytes_is_413(alice):
    refused = alice.call("POST", ROUTE, b'{"prompt": "' + b"x" * 2_097_152 + b'"}')
    assert (refused.status, refused.code) == (413, "body_too_large")


@pytest.mark.parametrize(
    "cron", ["every day", "* * * *", "61 * * * *", "* * * * * *", "0 0 31 2 *", "@reboot", "\U0001f600"]
)
def test_a_bad_cron_is_refused(alice, acme, cron):
    refused = alice.post(
        "/v1/playbooks", {"agent_id": str(acme.agent.id), "name": "n", "prompt": "p", "cron": cron}
    )
    assert (refused.status, refused.code) == (400, "schedule_invalid")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../../etc/passwd", "/etc/localtime", "Europe"])
def test_a_bad_timezone_is_refused(alice, acme, zone):
    body = {"agent_id": str(acme.agent.id), "name": "n", "prompt": "p", "cron": "0 3 * * *", "timezone": zone}
    refused = alice.post("/v1/playbooks", body)
    assert (refused.status, refused.code) == (400, "schedule_invalid")


@pytest.mark.parametrize(
    "path", ["tasks/1", "tasks/no-id/cancel", "agents/%00", "workspaces/..%2f", "nothing", ""]
)
def test_a_path_that_leads_nowhere_is_404(alice, path):
    missing = alice.get(f"/v1/{path}")
    assert (missing.status, missing.code) == (404, "not_found")


def test_a_method_that_a_path_has_not_is_405(alice):
    refused = alice.call("DELETE", ROUTE)
    assert (refused.status, refused.code) == (405, "method_not_allowed")
    assert alice.call("OPTIONS", ROUTE).status == 405


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "status=asleep", "agent_id=1", "status=%00"]
)
def test_a_bad_query_is_refused(alice, query):
    refused = alice.get(f"{ROUTE}?{query}")
    assert (refused.status, refused.code) == (400, "invalid")


def test_an_unknown_parameter_is_refused(alice):
    assert alice.get(f"{ROUTE}?stauts=queued").code == "unknown_field"


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Bearer sw_x", "Bearer x", "Basic YTpi", "sw_x", "Bearer \u00fc"]
)
def test_a_bad_token_is_401(database, header):
    refused = Api().get("/v1/me", Authorization=header)
    assert (refused.status, refused.code) == (401, "token_invalid")
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")


def test_nobody_is_401(database):
    refused = Api().post(ROUTE, {"prompt": "x"})
    assert (refused.status, refused.code) == (401, "unauthenticated")


def test_the_token_of_a_deleted_member_is_401(acme):
    bob = Api(acme.tokens["bob"])
    assert bob.get("/v1/me").status == 200
    remove_member(acme.owner, acme.users["bob"].pk)
    refused = bob.get("/v1/me")
    assert (refused.status, refused.code) == (401, "token_invalid")


def test_a_token_without_the_scope_is_403(acme):
    _, text = create_token(acme.owner, name="reader", scopes=["tasks:read"])
    reader = Api(text)
    assert reader.get(ROUTE).status == 200
    refused = reader.post(ROUTE, {"agent_id": str(acme.agent.id), "prompt": "x"})
    assert (refused.status, refused.code, refused.body["error"]["details"]) == (
        403, "scope_missing", {"scope": "tasks:write"},
    )  # fmt: skip


def test_a_time_without_a_zone_is_refused(alice):
    naive = now().replace(tzinfo=None).isoformat()
    assert set(alice.post("/v1/tokens", {"name": "n", "expires_at": naive}).fields) == {"expires_at"}
