"""The Claude provider: the Claude Agent SDK and its bundled CLI, all of it reaching the gateway only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent_image.providers.claude.provider import ClaudeProvider

# The runner starts with an empty path (-S). The SDK lies beside agent_image in the image, and is loaded at the
# first turn that needs it: an idle sandbox does without its 60 MB.
_PACKAGES = str(Path(__file__).resolve().parents[3] / "packages")


def open_provider() -> ClaudeProvider:
    if _PACKAGES not in sys.path:
        sys.path.append(_PACKAGES)
    from agent_image.providers.claude.provider import ClaudeProvider

    return ClaudeProvider()
