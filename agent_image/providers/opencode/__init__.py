"""The opencode provider: the CLI as a server on loopback, all of it reaching the gateway only."""

from __future__ import annotations

from pathlib import Path

from agent_image.providers.opencode.provider import OpencodeProvider
from agent_image.runner.turn import ProviderUnknown

_BINARY = Path(__file__).resolve().parents[3] / "opencode" / "bin" / "opencode"


def open_provider() -> OpencodeProvider:
    if not _BINARY.exists():
        raise ProviderUnknown("This sandbox's image lacks what the provider 'opencode' needs.")
    return OpencodeProvider(_BINARY)
