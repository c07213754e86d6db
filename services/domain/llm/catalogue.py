"""Which of the listed models an organisation may use, and what they cost now."""

from __future__ import annotations

from dataclasses import dataclass

from services.domain.actors import Actor
from services.domain.llm.models import LlmVendor
from services.domain.llm.patterns import is_allowed
from services.domain.llm.policy import get_platform, get_policy
from services.domain.llm.prices import load_price_book
from services.domain.llm.rates import Price
from services.kit.clock import now


@dataclass(frozen=True, slots=True)
class UsableModel:
    """A family of models, whose API it speaks, and its price."""

    model: str
    vendor: str
    price: Price
    is_default: bool


def list_usable_models(actor: Actor) -> list[UsableModel]:
    """List the families that the rules allow, by name; in the tenant's transaction."""
    policy = get_policy(actor)
    bounds = (get_platform().allowed, policy.allowed)
    defaults = {policy.default_anthropic, policy.default_openai}
    return [
        UsableModel(
            family,
            LlmVendor.ANTHROPIC if family.startswith("claude") else LlmVendor.OPENAI,
            price,
            family in defaults,
        )
        for family, price in load_price_book().families(now()).items()
        if is_allowed(family, *bounds)
    ]
