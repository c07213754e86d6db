"""The null driver and the registry: no isolation, and never where people rely on it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from services.adapters.sandbox.null_driver import NullDriver
from services.adapters.sandbox.registry import KINDS, make_driver
from services.adapters.sandbox.tests.conftest import AgentImages, host_with
from services.domain.errors import ConfigInvalid


def test_it_does_not_run_in_production(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLIPWAY_ENV", "production")
    with pytest.raises(ConfigInvalid):
        NullDriver("t")
    with pytest.raises(ConfigInvalid):
        make_driver("null", "t", tmp_path)


def test_it_promises_nothing() -> None:
    assert NullDriver("t", environment="test").promises == frozenset()


async def test_it_ends_every_turn_at_once_with_its_prompt(run_dir: Path) -> None:
    async with host_with("null", AgentImages("", ""), run_dir) as host:
        sandbox = await host.make()
        await sandbox.start()
        for provider in ("shell", "claude"):
            turn = await sandbox.gateway.send_turn(provider, "a prompt")
            assert (await sandbox.gateway.wait_done(turn))["text"] == "a prompt"
            types = [event["type"] for event in sandbox.gateway.of_turn(turn)]
            assert types == ["turn.started", "message.created", "turn.done"]


async def test_all_its_sandboxes_share_one_thread(run_dir: Path) -> None:
    async with host_with("null", AgentImages("", ""), run_dir) as host:
        for _ in range(5):
            await (await host.make()).start()
        assert [t.name for t in threading.enumerate()].count("null-sandboxes") == 1
    assert "null-sandboxes" not in [t.name for t in threading.enumerate()]


@pytest.mark.parametrize("kind", KINDS)
def test_the_registry_makes_every_kind(kind: str, tmp_path: Path) -> None:
    assert make_driver(kind, "t", tmp_path, environment="test").kind == kind


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="docker"):
        make_driver("chroot", "t", tmp_path)
