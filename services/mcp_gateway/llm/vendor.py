"""Where a model is, what opens it, and how its API is spoken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic import SecretStr
from starlette.responses import Response

from services.domain.llm.rates import Tokens
from services.kit.environment import Environment
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

    def key_text(self) -> str:
        """Return the key; a local server needs none, but clients send one. Raises: Refusal."""
        if self.key is not None and self.key.get_secret_value():
            return self.key.get_secret_value()
        if self.base_url in (ANTHROPIC_URL, OPENAI_URL):
            raise Refusal(
                503, "api_error", "model_key_missing", "This installation has no key for this model."
            )
        return PLACEHOLDER_KEY


class Meter(Protocol):
    """Follows a stream and knows at any moment what was used so far; None when that is not known."""

    @property
    def tokens(self) -> Tokens | None: ...

    def feed(self, chunk: bytes) -> None: ...


class ModelCall(Protocol):
    """What the proxy needs to know of a call."""

    @property
    def model(self) -> str: ...

    @property
    def most(self) -> Tokens: ...


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one vendor's API differs from another's, as far as passing it on goes."""

    headers_out: tuple[str, ...]
    queries_out: tuple[str, ...]
    key_headers: Callable[[str], Mapping[str, str]]
    respond: Callable[[Refusal], Response]
    broken_stream: bytes
    """What a stream ends with that broke on the vendor's side."""
