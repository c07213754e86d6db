"""What this machine's sandboxes lack, asked of the driver itself; a local stack accepts it and says so."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence

from deploy.local.console import Console
from deploy.local.layout import REPOSITORY

SETTING = "SLIPWAY_ACCEPTED_GAPS"


def accept_gaps(settings: Mapping[str, str], inherited: Mapping[str, str], console: Console) -> str:
    """Return the value of the setting: what a person chose, else all that is missing here, named aloud."""
    if SETTING in settings:
        return settings[SETTING]
    missing = find_missing(settings, inherited)
    if missing:
        mark = console.paint("!", "33")
        console.say(
            f"  {mark} {settings['SLIPWAY_SANDBOX_DRIVER']} cannot promise here: {', '.join(missing)}."
        )
        console.say(f"  {mark} This local stack accepts that ({SETTING} in settings.env): do not let")
        console.say(f"  {mark} people run agents on it whom you do not trust.")
    return ",".join(missing)


def find_missing(settings: Mapping[str, str], inherited: Mapping[str, str]) -> Sequence[str]:
    """Return the promises that the driver does not keep on this machine; none when it cannot say."""
    done = subprocess.run(
        [sys.executable, "-m", "services.adapters.sandbox"],
        cwd=REPOSITORY,
        env={**inherited, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        missing: list[str] = json.loads(done.stdout)["missing"]
    except (ValueError, KeyError, TypeError):
        return ()
    return missing
