"""The Codex provider: the vendor's CLI as an app server on two pipes, all of it reaching the gateway only."""

from __future__ import annotations

from pathlib import Path

from agent_image.providers.codex.provider import CodexProvider
from agent_image.runner.turn import ProviderUnknown

_BINARY = Path(__file__).resolve().parents[3] / "codex" / "bin" / "codex"


def open_provider() -> CodexProvider:
    if not _BINARY.exists():
        raise ProviderUnknown("This sandbox's image lacks what the provider 'codex' needs.")
    return CodexProvider(_BINARY)
