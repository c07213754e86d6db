"""What can go wrong at the front door.

StartFailed
├── NotReady       a program did not become ready; carries its name
├── ToolMissing    a program that apt would install is not there
└── EngineMissing  no container engine can be had
"""

from __future__ import annotations


class StartFailed(Exception):
    """The stack cannot be brought up; the message says why in one sentence."""


class NotReady(StartFailed):
    """One program of the stack did not become ready in time."""

    def __init__(self, program: str, reason: str) -> None:
        super().__init__(f"{program} is not ready: {reason}")
        self.program = program


class ToolMissing(StartFailed):
    """A server's program is not installed."""

    def __init__(self, tool: str, package: str) -> None:
        super().__init__(f"{tool} is not installed; apt package: {package}")


class EngineMissing(StartFailed):
    """No container engine answers and none can be started here."""
