"""Who turns voice messages into text for an organisation: the model that it names, opened by whose keys pay for it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from services.domain.llm.attempts import Candidate
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
    used: Used | None = None
    is_checked: bool = False

    @property
    def llm_key_id(self) -> uuid.UUID | None:
        """Return which own key pays; None is the installation's."""
        return self.used.id if self.used is not None else None


def transcriber_of(
    candidate: Candidate, platform_url: str, platform_key: SecretStr | None
) -> Transcriber | None:
    """Return whom to ask; None where it would be the installation's server, which has been given no key."""
    platform, own = platform_url.rstrip("/").removesuffix("/v1"), candidate.own
    if own is not None:
        used = Used(CredentialKind.MODEL_KEY, own.id, own.name)
        return Transcriber(
            own.base_url or platform, own.key, candidate.model, used, is_checked=bool(own.base_url)
        )
    if platform_key is None or not platform_key.get_secret_value():
        return None
    return Transcriber(platform, platform_key, candidate.model)


def note_transcribed(org_id: uuid.UUID, transcriber: Transcriber) -> None:
    """Put the use of an own key on record, before it goes out."""
    if transcriber.used is not None:
        host = urlsplit(transcriber.base_url).hostname or ""
        access = Access(
            transcriber.used, AccessWay.MODEL, host=host, method="POST", path="/v1/audio/transcriptions"
        )
        record_accesses(org_id, [access])
