"""Asking a server that speaks the OpenAI API what is said in a recording.

Source: the vendor's API reference, "Create transcription".
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import httpx2
from pydantic import SecretStr

from services.adapters.models.checking import key_headers
from services.adapters.upstreams.network import Network
from services.domain.errors import UpstreamAway, UpstreamRefused
from services.kit.storable import storable

_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording, with the name by whose ending servers know its format."""

    name: str
    content_type: str
    data: bytes


async def transcribe(
    base_url: str, key: SecretStr, model: str, recording: Recording, network: Network
) -> str:
    """Return what is said. Raises: UpstreamAway, UpstreamRefused."""
    try:
        async with network.client(read_s=_TIMEOUT_S) as client:
            answer = await client.post(
                f"{base_url}/v1/audio/transcriptions",
                headers=key_headers("openai", key),
                data={"model": model, "response_format": "json"},
                files={"file": (recording.name, recording.data, recording.content_type)},
            )
            status, body = answer.status_code, answer.content
    except (httpx2.HTTPError, OSError, ValueError) as error:
        raise UpstreamAway("The transcriber does not answer.") from error
    if status == 429 or status >= 500:
        raise UpstreamAway(f"The transcriber answers with {status}.")
    if status != 200:
        raise UpstreamRefused(f"The transcriber refused the recording, with {status}.")
    try:
        text = json.loads(body)["text"]
    except (ValueError, KeyError, TypeError) as error:
        raise UpstreamRefused("The transcriber's answer is not what it should be.") from error
    if not isinstance(text, str):
        raise UpstreamRefused("The transcriber's answer is not what it should be.")
    return str(storable(text)).strip()
