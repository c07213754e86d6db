"""Who turns voice messages into text for an organisation: the model that it names, opened by whose keys pay for it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from services.domain.llm.models import LlmVendor
from services.domain.llm.patterns import is_allowed
from services.domain.llm.policy import find_policy
from services.domain.llm.rules import load_rules
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.accesses import Access, Used, record_accesses
from services.domain.vault.models import AccessWay, CredentialKind


@dataclass(frozen=True, slots=True)
class Transcriber:
    """A server that speaks the OpenAI API of transcriptions. `used` is the own key that opens it.

    A server that an organisation named `is_checked`: it is dialled at public addresses only.
    """

    base_url: str
    key: SecretStr
    model: str
    used: Used | None
    is_checked: bool


def find_transcribers(
    org_id: uuid.UUID, platform_url: str, platform_key: SecretStr | None
) -> list[Transcriber]:
    """List who is asked, in order; nobody where the organisation has not named a model, or nothing opens it."""
    with tenant_transaction(org_id):
        policy = find_policy()
    if policy is None or not policy.transcriber:
        return []
    rules = load_rules(org_id)
    if not is_allowed(policy.transcriber, *rules.bounds):
        return []
    platform = platform_url.rstrip("/").removesuffix("/v1")
    found = []
    for own in rules.keys_for(LlmVendor.OPENAI):
        if own is not None:
            used = Used(CredentialKind.MODEL_KEY, own.id, own.name)
            found.append(
                Transcriber(
                    own.base_url or platform, own.key, policy.transcriber, used, is_checked=bool(own.base_url)
                )
            )
        elif platform_key is not None and platform_key.get_secret_value():
            found.append(Transcriber(platform, platform_key, policy.transcriber, None, is_checked=False))
    return found


def note_transcribed(org_id: uuid.UUID, transcriber: Transcriber) -> None:
    """Put the use of an own key on record, before it goes out."""
    if transcriber.used is not None:
        host = urlsplit(transcriber.base_url).hostname or ""
        access = Access(
            transcriber.used, AccessWay.MODEL, host=host, method="POST", path="/v1/audio/transcriptions"
        )
        record_accesses(org_id, [access])
