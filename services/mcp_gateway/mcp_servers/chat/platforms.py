"""The platforms' rendering and abilities, for the tools: nothing is sent from here."""

from __future__ import annotations

import functools

from services.adapters.chat.registry import build_adapters
from services.domain.errors import AbilityMissing
from services.domain.ports.chat import ChatAdapter
from services.domain.ports.chat_abilities import Ability, abilities_of


@functools.cache
def _adapters() -> dict[str, ChatAdapter]:
    return build_adapters({})


def adapter_of(kind: str) -> ChatAdapter:
    """Return a platform's adapter."""
    return _adapters()[kind]


def require_ability(kind: str, ability: Ability) -> ChatAdapter:
    """Return a platform's adapter if it can do this. Raises: AbilityMissing."""
    adapter = adapter_of(kind)
    if ability not in abilities_of(adapter):
        raise AbilityMissing(f"{adapter.manifest.label} cannot do this: no {ability}.", ability=str(ability))
    return adapter


def list_abilities(kind: str) -> list[str]:
    """List what a platform can do beyond text."""
    return sorted(abilities_of(adapter_of(kind)))
