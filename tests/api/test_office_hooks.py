"""Webhooks of the office platforms: those that only name what happened, and those that carry a signed token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from conftest import Tenant, recorded
from services.adapters.chat.registry import build_adapters
from services.adapters.chat.teams.tests.payloads import APP_ID
from services.adapters.chat.teams.tests.payloads import CONFIG as TEAMS
from services.adapters.chat.webex.tests.payloads import CONFIG as WEBEX
from services.api import linking
from services.domain.chats.actions import create_link
from services.domain.chats.models import InboundMessage, Link
from services.domain.errors import PlatformAway, PlatformRefused
from services.domain.outbox.jobs import parse_job
from services.domain.outbox.models import OutboxJob
from services.worker.jobs import EXECUTORS, chats
from tests.api.client import Answer, Api
from tests.fakes.serving import Fault
from tests.fakes.teams_issuer import TeamsIssuer
from tests.fakes.teams_server import FakeTeams
from tests.fakes.webex_server import DIRECT_ROOM, GROUP_ROOM, FakeWebex, sign

STRANGER = Api()


@pytest.fixture
def webex(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWebex]:
    with FakeWebex(tokens=[WEBEX.bot_token.get_secret_value()]) as server:
        _use(monkeypatch, {"WEBEX_API_BASE": server.url})
        yield server


def _use(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    built = build_adapters(settings)
    monkeypatch.setattr(chats, "adapters", lambda: built)
    monkeypatch.setattr(linking, "adapters", lambda: built)
    monkeypatch.setattr("services.api.hooks.receive.adapters", lambda: built)


def link_of(tenant: Tenant, kind: str, config: Any) -> Link:
    return create_link(
        tenant.owner, kind=kind, name="Bot", config=config.revealed(), unknown_senders="public"
    )


def deliver(link: Link, hook: dict[str, Any]) -> Answer:
    body = json.dumps(hook).encode()
    headers = {"X_Spark_Signature": sign(body, WEBEX.hook_secret)["x-spark-signature"]}
    return STRANGER.hook(f"/hooks/webex/{link.id}", body, **headers)


def run(row: OutboxJob) -> None:
    job = parse_job(row.type, row.payload)
    EXECUTORS[type(job)](job)


def texts() -> list[str]:
    return list(InboundMessage.objects.using("operator").order_by("id").values_list("text", flat=True))


def test_a_hook_that_names_a_message_is_acknowledged_and_completed_by_a_job(
    acme: Tenant, webex: FakeWebex
) -> None:
    link = link_of(acme, "webex", WEBEX)
    written = webex.write(GROUP_ROOM, "build it", mentions_bot=True)
    with recorded() as seen:
        answers = [deliver(link, written).status for _ in range(2)]
    assert answers == [200, 200]
    assert seen.job_types == ["hook.complete", "hook.complete"]
    assert texts() == []
    assert webex.calls.all() == []
    with recorded() as then:
        for row in seen.jobs * 2:
            run(row)
    assert texts() == ["build it"]
    assert then.job_types == ["message.route"]


def test_a_platform_that_is_away_delays_a_message_and_loses_none(acme: Tenant, webex: FakeWebex) -> None:
    link = link_of(acme, "webex", WEBEX)
    with recorded() as seen:
        deliver(link, webex.write(DIRECT_ROOM, "hello"))
    (row,) = seen.jobs
    webex.faults.plan(Fault("error"))
    with pytest.raises(PlatformAway):
        run(row)
    run(row)
    assert texts() == ["hello"]


def test_what_was_taken_back_meanwhile_is_nothing_and_a_revoked_token_is_seen(
    acme: Tenant, webex: FakeWebex
) -> None:
    link = link_of(acme, "webex", WEBEX)
    with recorded() as seen:
        deliver(link, webex.write(DIRECT_ROOM, "oops"))
        deliver(link, webex.write(DIRECT_ROOM, "hello"))
    del webex.messages[next(iter(webex.messages))]
    run(seen.jobs[0])
    assert texts() == []
    webex.tokens = []
    with pytest.raises(PlatformRefused):
        run(seen.jobs[1])


def test_a_deleted_link_s_hook_is_dropped_and_another_tenant_s_is_not_reached(
    acme: Tenant, globex: Tenant, webex: FakeWebex
) -> None:
    link = link_of(acme, "webex", WEBEX)
    with recorded() as seen:
        deliver(link, webex.write(DIRECT_ROOM, "hello"))
    (row,) = seen.jobs
    row.payload["org_id"] = str(globex.organisation.id)
    run(row)
    row.payload["org_id"] = str(acme.organisation.id)
    link.delete(using="operator")
    run(row)
    assert texts() == []


def test_a_call_with_a_signed_token_is_kept_and_a_forged_one_is_401(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TeamsIssuer() as issuer, FakeTeams(issuer) as teams:
        _use(monkeypatch, {"TEAMS_API_BASE": teams.url, **issuer.settings()})
        link = link_of(acme, "teams", TEAMS)
        activity = teams.activity(APP_ID, "hello")
        token = issuer.keys.sign(issuer.claims(APP_ID, teams.service_url))

        def call(bearer: str) -> int:
            return STRANGER.hook(f"/hooks/teams/{link.id}", activity, Authorization=f"Bearer {bearer}").status

        issuer.faults.plan(Fault("error", method="metadata"))
        assert call(token) == 503
        assert call(token[:-4] + "AAAA") == 401
        assert texts() == []
        assert [call(token) for _ in range(3)] == [200, 200, 200]
        assert texts() == ["hello"]
