"""An engine in memory behind the worker."""

from __future__ import annotations

import pytest

from services.domain.plane.hosts import register_host
from services.worker.engine_rest import EngineRest
from services.worker.jobs import dispatching, pool, sandboxes
from tests.fakes.sandbox_driver import FakeDriver


@pytest.fixture
def engine(database, monkeypatch) -> FakeDriver:
    """Put an engine in memory behind the worker, on a host with room for four."""
    fake = FakeDriver()
    monkeypatch.setattr(sandboxes, "make_host_driver", lambda *args, **kwargs: fake)
    sandboxes.driver.cache_clear()
    pool._refused_until.clear()
    monkeypatch.setattr(dispatching, "_rest", EngineRest())
    register_host("testhost", driver="fake", slots=4)
    yield fake
    sandboxes.driver.cache_clear()
