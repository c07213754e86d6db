"""The environment of a CLI that a provider runs."""

from __future__ import annotations

import os
from collections.abc import Mapping

_RUNNERS_OWN = "SLIPWAY_"


def build_environment(secrets: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the sandbox's environment without the runner's settings, the turn's secrets, and `own` over both."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_RUNNERS_OWN)}
    return {**inherited, **secrets, "NO_PROXY": "127.0.0.1,localhost", **own}
