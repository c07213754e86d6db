"""The shell provider: no model; the prompt is a bash script, its output is the answer."""

from __future__ import annotations

from agent_image.providers.shell.provider import ShellProvider

__all__ = ["ShellProvider", "open_provider"]


def open_provider() -> ShellProvider:
    return ShellProvider()
