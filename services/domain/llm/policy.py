"""Reading the rules for models, and holding a model against them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.domain.actors import Actor, require
from services.domain.agents.models import Agent, Provider
from services.domain.errors import ModelNotAllowed
from services.domain.llm.models import LlmPolicy, LlmVendor, PlatformModels
from services.domain.llm.patterns import is_allowed

# The providers that talk to a model, and whose API they speak when nothing names a model.
_VENDOR_OF = {
    Provider.CLAUDE: LlmVendor.ANTHROPIC,
    Provider.CODEX: LlmVendor.OPENAI,
    Provider.OPENCODE: LlmVendor.OPENAI,
}


def get_policy(actor: Actor) -> LlmPolicy:
    """Return the organisation's rules, the usual ones if it has set none; in the tenant's transaction."""
    require(actor, "models:read")
    return find_policy() or LlmPolicy(org_id=actor.org_id, version=0)


def find_policy() -> LlmPolicy | None:
    """Return the rules of the tenant's transaction, if it has set any."""
    return LlmPolicy.objects.first()


def get_platform() -> PlatformModels:
    """Return the operators' bounds, the usual ones if they have set none."""
    return PlatformModels.objects.first() or PlatformModels(version=0)


def refuse_model(model: str, allowed_models: Sequence[str] | None, *, field: str = "model") -> None:
    """Refuse a model that platform, organisation or agent do not allow; in the tenant's transaction.

    Raises: ModelNotAllowed.
    """
    policy = find_policy()
    bounds = (get_platform().allowed, policy.allowed if policy is not None else None, allowed_models)
    if not is_allowed(model, *bounds):
        raise ModelNotAllowed(f"The model {model} is not allowed here.", fields={field: "forbidden"})


def refuse_agents_model(values: dict[str, Any]) -> None:
    """Refuse an agent whose model it could not use; in the tenant's transaction. Raises: ModelNotAllowed."""
    if values["model"] and values["provider"] in _VENDOR_OF:
        refuse_model(values["model"], values["allowed_models"])


def choose_model(agent: Agent, asked: str | None) -> str:
    """Return the model of a task: what was asked for, the agent's, or the organisation's default.

    In the tenant's transaction. Raises: ModelNotAllowed.
    """
    vendor = _VENDOR_OF.get(Provider(agent.provider))
    if vendor is None:
        return asked or agent.model
    if model := asked or agent.model:
        refuse_model(model, agent.allowed_models)
        return model
    policy = find_policy()
    if policy is None:
        return ""
    default = policy.default_anthropic if vendor == LlmVendor.ANTHROPIC else policy.default_openai
    # A default that an agent's own list leaves out is no default for that agent.
    return default if default and is_allowed(default, policy.allowed, agent.allowed_models) else ""


def choose_effort(agent: Agent) -> str:
    """Return how hard an agent's model is to think; empty leaves it to the model. In the tenant's transaction."""
    if agent.effort or Provider(agent.provider) not in _VENDOR_OF:
        return agent.effort
    policy = find_policy()
    return policy.default_effort if policy is not None else ""
