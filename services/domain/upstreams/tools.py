"""The tools of a registered server: how a listing is kept, and which of its tools a person has reviewed."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from services.domain.errors import UpstreamRefused
from services.domain.upstreams.models import UpstreamServer

Listing = dict[str, Any]
"""One tool as `tools/list` has it on the wire."""

MAX_TOOLS = 500
MAX_LISTING_BYTES = 1024**2
# What a model, or the program around it, gets to read and decides by. The rest is not passed on.
_KEPT = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}")
# PostgreSQL takes neither in a text.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class ToolState:
    """One tool as it stands: `before` is how it was when it was reviewed."""

    name: str
    state: Literal["served", "hidden", "new", "changed"]
    listing: Listing
    before: Listing | None

    @property
    def reads_only(self) -> bool:
        """Say whether the tool says of itself that it changes nothing."""
        annotations = self.listing.get("annotations")
        return isinstance(annotations, dict) and annotations.get("readOnlyHint") is True


def keep_listings(tools: list[Listing]) -> list[dict[str, Any]]:
    """Return what is kept of a listing. A tool whose name no client takes is passed over. Raises: UpstreamRefused."""
    if len(tools) > MAX_TOOLS:
        raise UpstreamRefused(f"The server lists more than {MAX_TOOLS} tools.")
    kept: dict[str, Listing] = {}
    for tool in tools:
        name = tool.get("name")
        if isinstance(name, str) and _NAME.fullmatch(name):
            kept.setdefault(name, {key: tool[key] for key in _KEPT if tool.get(key) is not None})
    try:
        # Escapes would hide what is unstorable.
        text = json.dumps(kept, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise UpstreamRefused(
            "The server's listing holds numbers that are none, or is nested too deep."
        ) from error
    if "\\u0000" in text or UNSTORABLE.search(text):
        raise UpstreamRefused("The server's listing holds characters that are no text.")
    if len(text.encode()) > MAX_LISTING_BYTES:
        raise UpstreamRefused(f"The server's listing has more than {MAX_LISTING_BYTES} bytes.")
    return [{"hash": fingerprint(listing), "listing": listing} for listing in kept.values()]


def fingerprint(listing: Listing) -> str:
    """Return a hash of all that is passed on of a tool."""
    return hashlib.sha256(json.dumps(listing, sort_keys=True).encode()).hexdigest()


def digest_of(kept: list[dict[str, Any]]) -> str:
    """Return a hash of a whole listing, whatever its order; empty for none."""
    hashes = sorted(f"{tool['listing']['name']} {tool['hash']}" for tool in kept)
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest() if hashes else ""


def tool_states(server: UpstreamServer) -> list[ToolState]:
    """Return the tools of the last listing, in its order, as they stand."""
    reviewed = server.reviewed or {}
    found = []
    for tool in server.tools:
        name, before = tool["listing"]["name"], reviewed.get(tool["listing"]["name"])
        found.append(
            ToolState(
                name,
                _state(server, name, tool, before),
                tool["listing"],
                before["listing"] if before else None,
            )
        )
    return found


def _state(
    server: UpstreamServer, name: str, tool: dict[str, Any], before: dict[str, Any] | None
) -> Literal["served", "hidden", "new", "changed"]:
    if server.allowed_tools is not None and name not in server.allowed_tools:
        return "hidden"
    if before is None:
        return "new"
    return "served" if before["hash"] == tool["hash"] else "changed"


def withheld_tools(server: UpstreamServer) -> list[ToolState]:
    """Return the tools that are allowed and wait for a review."""
    return [tool for tool in tool_states(server) if tool.state in ("new", "changed")]
