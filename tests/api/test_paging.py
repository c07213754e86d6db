"""Pages stay what they were while rows are added."""

from __future__ import annotations

import base64
import uuid

import pytest


def submit(api, acme) -> str:
    return api.post("/v1/tasks", {"agent_id": str(acme.agent.id), "prompt": "x"}).body["id"]


def test_pages_neither_repeat_nor_lose_while_tasks_are_added(alice, acme):
    before = [submit(alice, acme) for _ in range(7)]
    seen, path = [], "/v1/tasks?limit=3"
    while path:
        page = alice.get(path).body
        seen += [item["id"] for item in page["items"]]
        path = f"/v1/tasks?limit=3&cursor={page['next']}" if page["next"] else ""
        submit(alice, acme)
    assert seen == before[::-1]


def test_the_last_full_page_has_no_next(alice, acme):
    for _ in range(2):
        submit(alice, acme)
    assert alice.get("/v1/tasks?limit=2").body["next"] is None


def test_lists_that_are_at_hand_are_paged_too(alice, acme):
    for name in ("one", "two"):
        alice.post("/v1/tokens", {"name": name})
    first = alice.get("/v1/tokens?limit=2").body
    rest = alice.get(f"/v1/tokens?limit=200&cursor={first['next']}").body
    names = [row["name"] for row in first["items"] + rest["items"]]
    assert names == ["two", "one", "test", "test"]
    assert rest["next"] is None


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "",
        "\u00fc",
        "AAAA",
        "%00",
        str(uuid.uuid4()),
        base64.urlsafe_b64encode(b"\x02" + bytes(16)).decode(),
        "=" * 8,
    ],
)
def test_a_malformed_cursor_is_refused(alice, cursor):
    for path in ("tasks", "tokens", "members"):
        refused = alice.get(f"/v1/{path}?cursor={cursor}")
        assert (refused.status, refused.code) in {(400, "cursor_invalid"), (400, "invalid")}, path
