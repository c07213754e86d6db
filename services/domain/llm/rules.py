"""All that the gateway judges a call by, read at once and kept until its versions are not the newest any more."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from services.domain.agents.models import Agent
from services.domain.errors import ModelNotAllowed
from services.domain.llm.keys import open_key
from services.domain.llm.models import KeySource, KeyStatus, LlmKey, LlmPolicy
from services.domain.llm.patterns import fits, is_allowed
from services.domain.llm.policy import find_policy, get_platform
from services.domain.llm.prices import PriceBook, load_price_book
from services.domain.tenancy.transaction import tenant_transaction


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key of the organisation's own, opened."""

    id: uuid.UUID
    name: str
    vendor: str
    base_url: str
    key: SecretStr


@dataclass(frozen=True, slots=True)
class LogRules:
    """How calls are logged, where they are."""

    hides_emails: bool
    max_bytes: int
    keep_days: int


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one organisation within the platform's bounds. `agents` holds those with a list of their own."""

    versions: tuple[int, int]
    bounds: tuple[tuple[str, ...], ...]
    agents: Mapping[uuid.UUID, tuple[str, ...]]
    key_source: str
    lends_key: bool
    keys: tuple[OwnKey, ...]
    vendors_with_keys: frozenset[str]
    retries: int
    transcriber: str
    fallbacks: tuple[tuple[str, str], ...]
    log: LogRules | None
    prices: PriceBook

    def allows(self, model: str, agent_id: uuid.UUID | None) -> bool:
        """Say whether an agent may ask this model; None is the organisation itself."""
        return is_allowed(model, *self.bounds, self.agents.get(agent_id) if agent_id else None)

    def refuse(self, model: str, agent_id: uuid.UUID) -> None:
        """Refuse a model that the agent may not ask. Raises: ModelNotAllowed."""
        if not self.allows(model, agent_id):
            raise ModelNotAllowed(f"The model {model} is not allowed for this agent. Ask for another model.")

    def models_for(self, model: str, agent_id: uuid.UUID | None) -> list[str]:
        """Return the model that is asked for, and those that may be asked in its place."""
        instead = [use for pattern, use in self.fallbacks if fits(model, (pattern,)) and use != model]
        return [model, *(use for use in dict.fromkeys(instead) if self.allows(use, agent_id))]

    def keys_for(self, vendor: str) -> list[OwnKey | None]:
        """Return whose key pays, in the order in which they are tried; None stands for the platform's.

        Where an own key should pay and none is usable, nothing does: the platform's does not step in for a refused one.
        """
        own: list[OwnKey | None] = [key for key in self.keys if key.vendor == vendor]
        if self.key_source == KeySource.OWN or (
            self.key_source == KeySource.OWN_FIRST and vendor in self.vendors_with_keys
        ):
            return own
        return [None] if self.lends_key else []


def load_rules(org_id: uuid.UUID) -> Rules:
    """Read everything. The versions come first: what changes meanwhile is noticed at the next call."""
    with tenant_transaction(org_id):
        policy = find_policy() or LlmPolicy(version=0)
        platform = get_platform()
        rows = list(LlmKey.objects.order_by("priority", "id"))
        usable = [row for row in rows if row.is_enabled and row.status != KeyStatus.REFUSED]
        narrowed = Agent.objects.exclude(allowed_models=None).values_list("id", "allowed_models")
        return Rules(
            versions=(policy.version, platform.version),
            bounds=(tuple(platform.allowed), tuple(policy.allowed)),
            agents={agent_id: tuple(allowed or ()) for agent_id, allowed in narrowed},
            key_source=policy.key_source,
            lends_key=platform.lends_key,
            keys=tuple(OwnKey(row.id, row.name, row.vendor, row.base_url, open_key(row)) for row in usable),
            vendors_with_keys=frozenset(row.vendor for row in rows),
            retries=policy.retries,
            transcriber=policy.transcriber,
            fallbacks=tuple((entry["model"], entry["use"]) for entry in policy.fallbacks),
            log=_log_rules(policy) if policy.logs_calls and platform.may_log else None,
            prices=load_price_book(),
        )


def current_versions(org_id: uuid.UUID) -> tuple[int, int]:
    """Return the versions of the newest rules, the organisation's and the platform's."""
    with tenant_transaction(org_id):
        version = LlmPolicy.objects.values_list("version", flat=True).first()
        return version or 0, get_platform().version


def _log_rules(policy: LlmPolicy) -> LogRules:
    return LogRules(policy.log_hides_emails, policy.log_max_bytes, policy.log_keep_days)
