"""Asking a server that speaks the OpenAI API what is said in a recording.

Source: the vendor's API reference, "Create transcription".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
from pydantic import SecretStr

from services.adapters.models.checking import key_headers
from services.adapters.models.wire import Call, ModelServers
from services.adapters.upstreams.network import Network
from services.kit.storable import storable


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording, with the name by whose ending servers know its format."""

    name: str
    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Transcription:
    """A server's answer. `said` is None where it has none, whatever its status."""

    status: int
    headers: Mapping[str, str]
    answer: Mapping[str, Any]

    @property
    def said(self) -> str | None:
        """Return the words of a good answer."""
        text = self.answer.get("text")
        return str(storable(text)).strip() if self.status == 200 and isinstance(text, str) else None


def call_for(base_url: str, key: SecretStr, model: str, recording: Recording, *, is_checked: bool) -> Call:
    """Return the call that asks for a recording's words. Pure."""
    form = httpx2.Request(
        "POST",
        f"{base_url}/v1/audio/transcriptions",
        data={"model": model, "response_format": "json"},
        files={"file": (recording.name, recording.data, recording.content_type)},
    )
    headers = {
        **key_headers("openai", key),
        "content-type": form.headers["content-type"],
        "accept-encoding": "identity",
        "user-agent": "slipway",
    }
    return Call("POST", str(form.url), headers, form.read(), is_checked)


async def transcribe(call: Call, network: Network) -> Transcription:
    """Ask once. Raises: NotSent, BrokenOff."""
    async with ModelServers(network) as servers:
        response = await servers.send(call)
        try:
            body = await response.read()
        finally:
            response.close()
    return Transcription(response.status, response.headers, _parsed(body))


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
