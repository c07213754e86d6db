"""The values of one turn: what the gateway asks for, and what a provider makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class TurnInvalid(Exception):
    """The turn's frame is not what docs/link.md says. The message is safe to show."""


class ProviderUnknown(Exception):
    """This image has no such provider, or lacks what it needs. The message is safe to show."""


@dataclass(frozen=True, slots=True)
class McpServer:
    """An MCP server of the gateway: its path there and this turn's token for it."""

    name: str
    path: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StdioServer:
    """An MCP server that runs in the sandbox. `secrets`: by variable, the name of one in the turn's env."""

    name: str
    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict)
    allowed_tools: tuple[str, ...] | None = None
    timeout_s: int = 60


@dataclass(frozen=True, slots=True)
class ModelAccess:
    """The gateway's model proxy: the vendor's wire format, the path and this turn's token."""

    kind: str
    path: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Session:
    """What a provider saved in earlier turns of the workspace."""

    id: str
    entries: list[dict[str, Any]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A message that a person sent while the turn was at work."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One piece of work. `env` is secret: it goes into the environment of the provider's process only."""

    id: str
    provider: str
    prompt: str
    instructions: str = ""
    model: str | None = None
    max_turns: int | None = None
    timeout_s: float = 900.0
    tools: list[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    mcp: tuple[McpServer, ...] = ()
    mcp_stdio: tuple[StdioServer, ...] = ()
    llm: ModelAccess | None = None
    session: Session | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def trace_headers(self) -> dict[str, str]:
        """Return the header that lets the platform link a request to this turn; none when it does not trace."""
        traceparent = self.options.get("traceparent")
        return {"traceparent": traceparent} if isinstance(traceparent, str) and traceparent else {}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a turn failed: one of the codes of docs/link.md, and a sentence for the person who asked."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What a turn used. `cost_usd` is None where the provider does not know prices."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": self.cost_usd,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a provider ended: the final text, and the failure if it was one."""

    text: str = ""
    failure: Failure | None = None
    usage: Usage | None = None
    turns: int = 1


class TurnEvents(Protocol):
    """What a provider sends while it works, and what it hears: the one schema of events of every provider."""

    async def message_created(self, text: str) -> None: ...

    async def tool_called(self, call_id: str, name: str, tool_input: Mapping[str, Any]) -> None: ...

    async def tool_returned(
        self, call_id: str, output: str, *, is_error: bool, duration_ms: int, is_truncated: bool = False
    ) -> None: ...

    async def message_consumed(self, message: FollowUp) -> None: ...

    async def session_saved(self, session_id: str, entries: list[dict[str, Any]]) -> None: ...

    async def emit(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Send any durable event; the methods above are the usual way."""
        ...

    def text_delta(self, text: str) -> None: ...

    def reasoning_delta(self, text: str) -> None: ...

    def tool_output(self, call_id: str, text: str) -> None: ...

    def typing(self) -> None: ...

    async def next_message(self) -> FollowUp:
        """Wait for the next follow-up. The provider reports it as consumed once it is in its hands."""
        ...

    async def gateway_url(self) -> str:
        """Return the loopback address that serves the gateway's paths over TCP, opening it if needed."""
        ...


class Provider(Protocol):
    """Turns one turn into events. A fresh one is opened for each turn."""

    async def run(self, turn: Turn, events: TurnEvents) -> Outcome:
        """Work until the turn is done. Whatever it raises ends the turn as `provider_crashed`."""
        ...

    async def interrupt(self, grace_s: float) -> None:
        """Make `run` return soon: ask first, force after `grace_s`."""
        ...


def parse_turn(frame: Mapping[str, Any]) -> Turn:
    """Read a `turn` frame. Raises: TurnInvalid."""
    try:
        options = dict(frame.get("options") or {})
        return Turn(
            id=_text(frame, "turn"),
            provider=_text(frame, "provider"),
            prompt=_text(frame, "prompt"),
            instructions=frame.get("instructions") or "",
            model=frame.get("model"),
            max_turns=frame.get("max_turns"),
            timeout_s=float(frame.get("timeout_s") or 900),
            tools=frame.get("tools"),
            env=_parse_env(frame.get("env") or {}),
            mcp=tuple(
                McpServer(_text(s, "name"), _text(s, "path"), _text(s, "token"))
                for s in frame.get("mcp") or ()
            ),
            mcp_stdio=tuple(_parse_stdio(server) for server in options.get("mcp_stdio") or ()),
            llm=_parse_llm(frame.get("llm")),
            session=_parse_session(frame.get("session")),
            options=options,
        )
    except (TypeError, ValueError, AttributeError) as exc:
        raise TurnInvalid("the turn is not of the form that this runner knows") from exc


def _text(frame: Mapping[str, Any], name: str) -> str:
    value = frame.get(name)
    if not isinstance(value, str):
        raise TurnInvalid(f"the turn's {name} is not text")
    return value


def _parse_env(env: Mapping[str, Any]) -> dict[str, str]:
    for name, value in env.items():
        if not isinstance(value, str) or not name or "=" in name or "\0" in name + value:
            raise TurnInvalid("the turn's env holds a name or a value that no process can have")
    return dict(env)


def _parse_stdio(server: Mapping[str, Any]) -> StdioServer:
    args, secrets, allowed = (
        server.get("args") or [],
        server.get("secrets") or {},
        server.get("allowed_tools"),
    )
    words = [*args, *secrets, *secrets.values(), *(allowed or ())]
    if not all(isinstance(word, str) and "\0" not in word for word in words):
        raise TurnInvalid("the turn's mcp_stdio holds an argument or a name that no process can have")
    return StdioServer(
        name=_text(server, "name"),
        command=_text(server, "command"),
        args=tuple(args),
        env=_parse_env(server.get("env") or {}),
        secrets=dict(secrets),
        allowed_tools=None if allowed is None else tuple(allowed),
        timeout_s=int(server.get("timeout_s") or 60),
    )


def _parse_llm(llm: Mapping[str, Any] | None) -> ModelAccess | None:
    return None if llm is None else ModelAccess(_text(llm, "kind"), _text(llm, "path"), _text(llm, "token"))


def _parse_session(session: Mapping[str, Any] | None) -> Session | None:
    return None if session is None else Session(_text(session, "id"), list(session.get("entries") or ()))
