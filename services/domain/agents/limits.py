"""What one agent may do beyond another: nothing that an agent makes or sets to work later may exceed its maker."""

from __future__ import annotations

from collections.abc import Sequence

from services.domain.agents.models import Agent
from services.domain.egress.rules import EgressRule, find_grant, read_rules
from services.domain.integrations.models import Integration
from services.domain.vault.models import Secret

_AMOUNTS = ("timeout_s", "memory_mb", "cpus", "disk_mb", "pids")
_CAPS = ("max_budget_microusd", "max_turns")
_GRANTS = ("reads_all_memories", "installs_packages")


def exceeding(agent: Agent, maker: Agent) -> list[str]:
    """Return the rights of an agent that its maker has not, by field; none when it may do as much or less.

    In the tenant's transaction.
    """
    if agent.id == maker.id:
        return []
    found = [name for name in _AMOUNTS if getattr(agent, name) > getattr(maker, name)]
    found += [name for name in _CAPS if _is_higher(getattr(agent, name), getattr(maker, name))]
    found += [name for name in _GRANTS if getattr(agent, name) and not getattr(maker, name)]
    if not set(agent.mcp_servers) <= set(maker.mcp_servers):
        found.append("mcp_servers")
    if maker.tools is not None and (agent.tools is None or not set(agent.tools) <= set(maker.tools)):
        found.append("tools")
    models = maker.allowed_models
    if models is not None and (agent.allowed_models is None or not set(agent.allowed_models) <= set(models)):
        found.append("allowed_models")
    allowed = read_rules(maker.egress)
    if not all(is_covered(rule, allowed) for rule in read_rules(agent.egress)):
        found.append("egress")
    granted = Secret.objects.filter(agent_ids__contains=[agent.id])
    if granted.exclude(agent_ids__contains=[maker.id]).exists():
        found.append("secrets")
    accounts = Integration.objects.filter(agent_ids__contains=[agent.id])
    if accounts.exclude(agent_ids__contains=[maker.id]).exists():
        found.append("accounts")
    return found


def is_covered(rule: EgressRule, allowed: Sequence[EgressRule]) -> bool:
    """Say whether entries allow all that one entry does. A wildcard is covered by an equal or wider wildcard."""
    if rule in allowed:
        return True
    if rule.port is None or rule.host.startswith("*."):
        wider = [
            entry
            for entry in allowed
            if (entry.port is None or entry.port == rule.port)
            and (
                entry.host == rule.host
                or (entry.host.startswith("*.") and rule.host.endswith(entry.host[1:]))
            )
        ]
        return any(_has_methods(entry.methods, rule.methods) for entry in wider)
    grant = find_grant(allowed, rule.host, rule.port)
    return grant is not None and _has_methods(
        None if grant.methods is None else list(grant.methods), rule.methods
    )


def _has_methods(allowed: Sequence[str] | None, wanted: Sequence[str] | None) -> bool:
    return allowed is None or (wanted is not None and set(wanted) <= set(allowed))


def _is_higher(cap: int | None, limit: int | None) -> bool:
    return limit is not None and (cap is None or cap > limit)
