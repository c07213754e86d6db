"""The scripted provider, for tests and benchmarks: the prompt is a JSON list of steps."""

from __future__ import annotations

from agent_image.providers.scripted.provider import ScriptedProvider

__all__ = ["ScriptedProvider", "open_provider"]


def open_provider() -> ScriptedProvider:
    return ScriptedProvider()
