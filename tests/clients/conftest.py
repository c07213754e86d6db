"""A served API and a served realtime service, as clients outside meet them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from conftest import Tenant
from services.domain.events.log import NewEvent, record_events
from services.domain.events.types import EventData, MessageCreated, TaskStarted
from services.domain.tasks.finish import Outcome, finish_locked_task
from services.domain.tasks.submit import lock_task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.environment import environment
from slipway_client import Retries, Slipway
from slipway_client.types import Task
from tests.fakes.served_api import served_api
from tests.realtime.conftest import start

__all__ = ["start"]

IMPATIENT = Retries(first_wait_s=0.01)


@pytest.fixture
def api_url(database, start, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve both; the API says where the streams are."""
    with served_api() as url:
        monkeypatch.setattr(environment(), "public_url", url)
        monkeypatch.setattr(environment(), "realtime_public_url", start().http.replace("http", "ws", 1))
        yield url


@pytest.fixture
def slipway(api_url: str, acme: Tenant) -> Iterator[Slipway]:
    """Give acme's owner a client."""
    with Slipway(api_url, acme.token, retries=IMPATIENT) as client:
        yield client


Say = Callable[..., None]


@pytest.fixture
def agent_says(acme: Tenant) -> Say:
    """Let the agent of a task say things, and end it: `agent_says(task, "one", "two", ends="succeeded")`."""

    def say(task: Task, *texts: str, ends: str = "") -> None:
        task_id = uuid.UUID(task["id"])
        said: list[EventData] = [TaskStarted(task_id=task["id"])]
        said += [MessageCreated(role="assistant", text=text) for text in texts]
        with tenant_transaction(acme.organisation.id):
            events = [NewEvent(data, task_id, 1) for data in said]
            record_events(f"workspace:{task['workspace_id']}", events)
            if ends:
                outcome = Outcome(status=ends, text=texts[-1] if texts else "", turns=1)  # type: ignore[arg-type]
                finish_locked_task(lock_task(task_id), outcome)

    return say
