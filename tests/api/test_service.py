"""The service as a whole: alive, ready, measured, and careful with browsers and with its own failures."""

from __future__ import annotations

import json
import logging
import socket

import psycopg
import pytest
from django.db import OperationalError, connection
from django.test import Client
from pydantic import SecretStr

from conftest import PASSWORD
from services.api import readiness
from services.api.http.failures import find_family
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.environment import environment


@pytest.fixture
def browser(database) -> Client:
    return Client()


def test_it_is_alive_and_ready(browser):
    assert browser.get("/health").json() == {"status": "alive"}
    ready = browser.get("/ready")
    states = dict.fromkeys(("database", "sandbox_plane", "redis", "broker"), "ok")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "dependencies": states})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_without_the_broker_it_is_degraded_and_still_takes_tasks(browser, alice, acme, monkeypatch):
    away = environment().model_copy(update={"broker_url": SecretStr(f"amqp://u:p@127.0.0.1:{free_port()}//")})
    monkeypatch.setattr(readiness, "environment", lambda: away)
    ready = browser.get("/ready")
    assert (ready.status_code, ready.json()["status"], ready.json()["dependencies"]["broker"]) == (
        200, "degraded", "down",
    )  # fmt: skip
    assert alice.post("/v1/tasks", {"agent_id": str(acme.agent.id), "prompt": "x"}).status == 202


def test_a_port_that_speaks_something_else_is_no_broker(browser, monkeypatch):
    redis = environment().redis_url.get_secret_value().partition("//")[2]
    away = environment().model_copy(update={"broker_url": SecretStr(f"amqp://u:p@{redis}")})
    monkeypatch.setattr(readiness, "environment", lambda: away)
    assert browser.get("/ready").json()["dependencies"]["broker"] == "down"


def test_without_the_database_it_is_not_ready(browser, monkeypatch):
    def refuse(alias: str) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(readiness, "_ask_database", refuse)
    ready = browser.get("/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")


def test_metrics_are_for_this_machine_only(browser, alice):
    alice.get("/v1/tasks")
    text = browser.get("/metrics").content.decode()
    assert 'slipway_api_requests_total{method="GET",route="v1/tasks",status="200"}' in text
    assert browser.get("/metrics", REMOTE_ADDR="203.0.113.9").status_code == 404
    assert browser.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 404


def test_the_metrics_name_routes_and_not_ids(browser, alice, world):
    alice.get(f"/v1/tasks/{world['task_id']}")
    alice.get("/v1/made-up/by-a-stranger")
    text = browser.get("/metrics").content.decode()
    assert world["task_id"] not in text
    assert "by-a-stranger" not in text


def test_a_sane_request_id_is_kept_and_another_replaced(alice):
    kept = alice.get("/v1/nothing", X_Request_ID="client-12345")
    assert kept.headers["X-Request-ID"] == kept.body["error"]["request_id"] == "client-12345"
    for given in ("x", "a b c d e f g", "<script>alert(1)</script>", "x" * 101):
        assert alice.get("/v1/nothing", X_Request_ID=given).headers["X-Request-ID"] != given


def test_answers_keep_browsers_safe(browser):
    headers = browser.get("/v1/docs").headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["connect-src"] == "'self' ws://127.0.0.1:8001 http://127.0.0.1:8001"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert browser.get("/v1/me").headers["Cache-Control"] == "no-store"


def test_a_foreign_host_is_refused(browser):
    refused = browser.get("/v1/me", headers={"Host": "evil.example"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "malformed_body")


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/x/y", "/hooks/", "/hooks/x", "/v1/tasks/"])
def test_unknown_paths_answer_in_the_apis_form(browser, path):
    missing = browser.get(path)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")


def test_an_unforeseen_failure_shows_no_internals_and_is_logged(alice, monkeypatch, caplog):
    def fail(*_: object) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr("services.api.v1.tasks.list_tasks", fail)
    with caplog.at_level(logging.ERROR):
        answer = alice.call_unchecked("GET", "/v1/tasks")
    assert (answer.status, answer.code) == (500, "internal")
    assert b"hunter2" not in answer.raw
    assert answer.body["error"]["request_id"] in caplog.text
    assert "hunter2" in caplog.text


@pytest.mark.parametrize("error", [OperationalError("away"), psycopg.OperationalError("away")])
def test_a_database_that_is_away_is_503_and_says_when_to_come_back(alice, monkeypatch, error):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("services.api.v1.tasks.list_tasks", fail)
    answer = alice.get("/v1/tasks")
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "temporary", "2")
    assert b"away" not in answer.raw


def test_a_query_that_takes_too_long_is_temporary(acme):
    with (
        pytest.raises(OperationalError) as cancelled,
        tenant_transaction(acme.organisation.id),
        connection.cursor() as cursor,
    ):
        cursor.execute("SET LOCAL statement_timeout = 10")
        cursor.execute("SELECT pg_sleep(5)")
    assert find_family(cancelled.value).code == "temporary"


def test_the_cookies_of_a_session_are_kept_from_scripts_and_other_sites(acme):
    client = Client()
    signed_in = client.post("/sign-in", {"email": "alice@acme.example", "password": PASSWORD})
    assert signed_in.status_code == 302
    cookie = client.cookies["slipway_session"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"


def test_an_error_is_json_even_for_a_browser(browser):
    refused = browser.get("/v1/tasks", headers={"Accept": "text/html"})
    assert refused.headers["Content-Type"] == "application/json"
    assert json.loads(refused.content)["error"]["code"] == "unauthenticated"
