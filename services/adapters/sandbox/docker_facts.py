"""What a Docker engine says of itself, and what follows from it for a sandbox."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.adapters.sandbox.hardening import AGENT_UID, ALL_PROMISES, promises_of
from services.domain.ports.sandbox import Promise

_REMAPPED_ROOT = re.compile(r"(\d+)\.\d+")


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """One engine. `owner` is the agent's user as the host's files show it: user namespaces move it."""

    version: str
    promises: frozenset[Promise]
    runtimes: frozenset[str]
    memory_bytes: int
    has_user_namespaces: bool
    owner: int

    def note(self, volumes: str) -> str:
        """Say in sentences for an operator what this engine keeps, and what it does not."""
        lacking = ", ".join(sorted(ALL_PROMISES - self.promises))
        kept = f"This engine cannot promise: {lacking}." if lacking else "Every promise is kept."
        mapped = "on" if self.has_user_namespaces else "off"
        return f"{kept} User namespaces are {mapped}. {volumes}"


def read_facts(engine: dict[str, Any], *, is_disk_limited: bool) -> EngineFacts:
    """Read the engine's own account."""
    has_user_namespaces = any("name=userns" in option for option in engine.get("SecurityOptions") or ())
    # With user namespaces the engine's folder is named after the user that is root inside.
    moved = _REMAPPED_ROOT.fullmatch(Path(engine.get("DockerRootDir") or "/").name)
    return EngineFacts(
        version=str(engine.get("ServerVersion", "")),
        promises=promises_of(engine, is_disk_limited=is_disk_limited),
        runtimes=frozenset(engine.get("Runtimes") or ()),
        memory_bytes=int(engine.get("MemTotal") or 0),
        has_user_namespaces=has_user_namespaces,
        owner=AGENT_UID + int(moved[1]) if has_user_namespaces and moved else AGENT_UID,
    )


def read_usage(stats: dict[str, Any]) -> tuple[int, int] | None:
    """Read processor milliseconds and bytes of memory from the engine's statistics; None when nothing runs.

    Files that the kernel only keeps for later are no use of memory: they go when somebody needs the room.
    """
    memory = stats.get("memory_stats") or {}
    if "usage" not in memory:
        return None
    details = memory.get("stats") or {}
    cached = details.get("total_inactive_file", details.get("inactive_file", 0))
    used_ns = stats["cpu_stats"]["cpu_usage"]["total_usage"]
    return used_ns // 1_000_000, max(0, memory["usage"] - cached)
