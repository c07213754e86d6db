"""Script in any text that people, agents and strangers write is shown as text, on every page."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

import psycopg
from django.apps import apps
from django.db import connections, models
from psycopg import sql

from services.domain.events.types import EgressRefused, MessageCreated, TaskStarted, ToolCalled, ToolReturned
from services.domain.tenancy.models import TenantModel
from tests.dashboard.samples import finish, make_everything, submit, tell
from tests.dashboard.test_pages import LISTS, pages_of

PAYLOAD = "\"'><script>hit(1)</script><img src=x onerror=hit(2)>{{7*7}}</textarea></title><svg/onload=hit(3)>"
# What a text may not hold, because its form is checked where it is written or it is a name that code knows.
_KNOWN_FORM = re.compile(
    r"(^|_)(status|state|kind|type|role|provider|source|mode|reason|scope|level|period|engage|session|cron|timezone|slug"
    r"|hash|url|endpoint|email|vendor|auth|effect|visibility|urgency|currency|locale|key|prefix|digest|version|transport"
    r"|token|cursor|server|service|actor|password|fence|image|traceparent|audience|schedule|error_code|resource"
    r"|runtime|username|action|object|decision|standing|method|via|uri|address|locator|policy|host|driver|code|resolution"
    r"|sender_scope|unknown_senders|when_busy|effort|busy|tool|purpose|keeper|credential|owner_type|method)(_|s|$)"
)


def _poisoned_fields(model: type[models.Model]) -> list[models.Field]:
    fields = [
        one for one in model._meta.concrete_fields if isinstance(one, models.CharField | models.TextField)
    ]
    return [one for one in fields if not one.choices and not one.unique and not _KNOWN_FORM.search(one.name)]


def poison(org_id) -> int:
    """Write the payload into every free text of every row of an organisation; returns how many columns took it.

    As a superuser: what may only grow is shown as well.
    """
    database = connections["default"].settings_dict["NAME"]
    taken = 0
    with psycopg.connect(os.environ["SLIPWAY_ADMIN_DATABASE_URL"], dbname=database, autocommit=True) as admin:
        admin.execute("SET session_replication_role = replica")
        for model in apps.get_models():
            if not issubclass(model, TenantModel) or model._meta.app_label == "plane":
                continue
            for column in _poisoned_fields(model):
                statement = sql.SQL("UPDATE {} SET {} = %s WHERE org_id = %s AND {} <> ''").format(
                    *(sql.Identifier(name) for name in (model._meta.db_table, column.column, column.column))
                )
                taken += admin.execute(statement, [PAYLOAD[: column.max_length], org_id]).rowcount > 0
    return taken


def hit(html: str) -> str:
    """Return what of the payload became markup."""
    found = re.search(r"<script>hit|<img src=x|<svg/onload|\"'>|</textarea></title>", html)
    return html[max(0, found.start() - 200) : found.end() + 40] if found else ""


def test_the_payload_is_told_from_what_is_escaped():
    assert hit(PAYLOAD)
    assert not hit(
        PAYLOAD.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    )


def test_stored_script_is_inert_on_every_page(alice, acme):
    made = make_everything(acme)
    task = submit(acme, PAYLOAD)
    tell(
        task,
        TaskStarted(task_id=str(task.id)),
        MessageCreated(role="user", text=PAYLOAD, id=PAYLOAD),
        ToolCalled(call_id=PAYLOAD, name=PAYLOAD, input={"command": PAYLOAD, PAYLOAD: PAYLOAD}),
        ToolReturned(call_id=PAYLOAD, output=PAYLOAD, is_error=True),
        EgressRefused(host=PAYLOAD, port=1, method=PAYLOAD, reason=PAYLOAD),
        MessageCreated(role="assistant", text=PAYLOAD),
    )
    finish(task, status="failed", text=PAYLOAD)
    poisoned = poison(acme.organisation.id)
    assert poisoned > 30
    seen = 0
    for path in [*LISTS, *pages_of(made), f"/workspaces/{task.workspace_id}"]:
        answer = alice.get(path)
        assert answer.status_code == 200, path
        html = answer.content.decode()
        assert not hit(html), (path, hit(html))
        assert "49</textarea>" not in html, path
        seen += "&lt;script&gt;hit(1)" in html
    assert seen > 25


def test_reflected_script_is_inert(alice, acme):
    made = make_everything(acme)
    names = (
        "q",
        "status",
        "by",
        "days",
        "before",
        "depth",
        "edit",
        "path",
        "next",
        "agent",
        "error",
        "state",
        "code",
    )
    for path in ["/sign-in", "/no/such/page", *LISTS, *pages_of(made)]:
        base = path.partition("?")[0]
        for name in names:
            answer = alice.get(f"{base}?{name}={quote(PAYLOAD)}")
            assert answer.status_code < 500, (path, name)
            assert not hit(answer.content.decode()), (path, name)
    for path in (
        "/",
        "/agents/new",
        "/playbooks/new",
        "/secrets",
        "/destinations",
        "/rooms",
        "/settings/tokens",
    ):
        fields = dict.fromkeys(
            ("name", "prompt", "description", "model", "title", "cron", "value", "key"), PAYLOAD
        )
        assert not hit(alice.post(path, fields).content.decode()), path
