"""Breaking a payload somewhere, as no platform would."""

from __future__ import annotations

import copy
import random
from typing import Any

_JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**30,
    1.5,
    "",
    "x",
    "\x00\ud800",
    [],
    [1],
    {},
    {"id": []},
    [[]],
    "9" * 50,
)


def spoil(payload: dict[str, Any], dice: random.Random) -> None:
    """Replace, remove or add one value somewhere."""
    place: Any = payload
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = dice.choice(keys)
        if isinstance(place[key], dict | list) and dice.random() < 0.8:
            place = place[key]
            continue
        if isinstance(place, dict) and dice.random() < 0.2:
            del place[key]
        else:
            place[key] = copy.deepcopy(dice.choice(_JUNK))
        return
