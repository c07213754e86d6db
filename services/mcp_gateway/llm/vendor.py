"""Where a model is, what opens it, and how its API is spoken."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.responses import Response

from services.domain.llm.rates import Tokens
from services.domain.llm.rules import OwnKey
from services.domain.tasks.models import Task
from services.domain.vault.accesses import Access, Used
from services.domain.vault.models import AccessWay, CredentialKind
from services.kit.environment import Environment
from services.mcp_gateway.access_log import ACCESS_LOG
from services.mcp_gateway.llm.replies import Refusal

ANTHROPIC_URL = "https://api.anthropic.com"
OPENAI_URL = "https://api.openai.com"
PLACEHOLDER_KEY = "sk-none"


@dataclass(frozen=True, slots=True)
class Vendor:
    """Where the model is and what opens it."""

    base_url: str
    key: SecretStr | None

    @classmethod
    def of(cls, env: Environment) -> Vendor:
        """Return what the installation has been given for the Anthropic API."""
        return cls(env.anthropic_base_url.rstrip("/"), env.anthropic_api_key)

    @classmethod
    def openai_of(cls, env: Environment) -> Vendor:
        """Return what the installation has been given for the OpenAI API, whose address may end in `/v1`."""
        return cls(env.openai_base_url.rstrip("/").removesuffix("/v1"), env.openai_api_key)

    def target(self, own: OwnKey | None) -> Target:
        """Return where a call goes and what opens it: an own key, or the installation's. Raises: Refusal."""
        if own is None:
            return Target(self.base_url, SecretStr(self.key_text()))
        used = Used(CredentialKind.MODEL_KEY, own.id, own.name)
        return Target(own.base_url or self.base_url, own.key, used, is_checked=bool(own.base_url))

    def key_text(self) -> str:
        """Return the key; a local server needs none, but clients send one. Raises: Refusal."""
        if self.key is not None and self.key.get_secret_value():
            return self.key.get_secret_value()
        if self.base_url in (ANTHROPIC_URL, OPENAI_URL):
            raise no_key("This installation has no key for this model.")
        return PLACEHOLDER_KEY


@dataclass(frozen=True, slots=True)
class Target:
    """One place to send a call to, and the organisation's own key, if that is what opens it.

    A server that an organisation named is `is_checked`: at public addresses only.
    """

    base_url: str
    key: SecretStr
    own: Used | None = None
    is_checked: bool = False

    @property
    def llm_key_id(self) -> uuid.UUID | None:
        """Return which own key pays; None is the installation's."""
        return self.own.id if self.own is not None else None

    async def note_use(self, task: Task) -> None:
        """See to it that the use of an own key is on record, before it goes out. Raises: DatabaseError."""
        if self.own is not None:
            host = urlsplit(self.base_url).hostname or ""
            await ACCESS_LOG.note(task.org_id, Access.by_task(task, self.own, AccessWay.MODEL, host=host))


def no_key(message: str) -> Refusal:
    """Return the answer where nothing opens the model."""
    return Refusal(503, "api_error", "model_key_missing", message)


class Meter(Protocol):
    """Follows a stream and knows at any moment what was used so far, and whether the vendor said that it failed."""

    @property
    def tokens(self) -> Tokens | None:
        """What was used; None when that is not known."""
        ...

    @property
    def has_failed(self) -> bool: ...

    def feed(self, chunk: bytes) -> None: ...


class ModelCall(Protocol):
    """What the proxy needs to know of a call, and the body that goes out."""

    @property
    def model(self) -> str: ...

    @property
    def most(self) -> Tokens: ...

    def body_for(self, model: str) -> bytes:
        """Return the body that goes out, with another model's name in place of the one that was asked for."""
        ...


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one vendor's API differs from another's, as far as passing it on goes."""

    vendor: str
    headers_out: tuple[str, ...]
    queries_out: tuple[str, ...]
    key_headers: Callable[[str], Mapping[str, str]]
    respond: Callable[[Refusal], Response]
    broken_stream: bytes
    """What a stream ends with that broke on the vendor's side."""
    failed_stream: bytes
    """What a stream's first event holds when the vendor could not begin."""
    read_usage: Callable[[bytes], Tokens | None]
    meter: Callable[[Tokens], Meter]
