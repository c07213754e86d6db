"""A tool: a closed input, one action or query, a closed output, and errors that a model can mend its call by."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db import OperationalError
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from mcp_types import Tool as ToolListing
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from services.domain.errors import SlipwayError
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.holding.desk import Prepared
from services.mcp_gateway.holding.masking import masked
from services.mcp_gateway.limits import Rate
from services.mcp_gateway.mcp_servers.mending import hint_for

log = logging.getLogger(__name__)

# PostgreSQL takes neither in a text.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_MOST_FINDINGS = 10


class ToolInput(BaseModel):
    """The base of every input: unknown fields are refused, and errors do not repeat what was sent."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("*", mode="after")
    @classmethod
    def _is_storable(cls, value: Any) -> Any:
        texts = value if isinstance(value, list) else [value]
        if any(isinstance(text, str) and _UNSTORABLE.search(text) for text in texts):
            raise ValueError("must not hold NUL characters or lone surrogates")
        return value


class ToolOutput(BaseModel):
    """The base of every output. Each field says what it is: the model reads the schema too."""

    model_config = ConfigDict(extra="forbid", frozen=True)


InputT = TypeVar("InputT", bound=ToolInput)


def _no_files(given: ToolInput) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Tool(Generic[InputT]):
    """One tool. The description is written for the model that calls it. `open_world`: it reaches an account."""

    name: str
    description: str
    input: type[InputT]
    output: type[ToolOutput]
    run: Callable[[Caller, InputT], Awaitable[ToolOutput]]
    reads_only: bool = False
    destroys: bool = False
    rate: Rate | None = None
    """How often one task may call it; None for what the installation's settings say of every tool."""
    open_world: bool = False
    default_hold: bool = False
    """It sends, deletes or pays outside: where no rule of the organisation speaks, a person must allow each call."""
    files_of: Callable[[InputT], Sequence[str]] = _no_files
    """Files of the workspace that a call carries outside: shown to who must allow it; `read_files` holds it to them."""
    most_file_bytes: int | None = None
    """How much these may be in all; None for what the installation lets mails carry."""

    def listing(self) -> ToolListing:
        """Return the tool as `tools/list` shows it."""
        return ToolListing(
            name=self.name,
            description=self.description,
            input_schema=self.input.model_json_schema(),
            output_schema=self.output.model_json_schema(mode="serialization"),
            annotations=ToolAnnotations(
                read_only_hint=self.reads_only,
                destructive_hint=self.destroys,
                open_world_hint=self.open_world,
            ),
        )

    def prepare(self, arguments: dict[str, Any]) -> Prepared | None:
        """Return a call as rules judge it and people see it; None when the arguments are wrong."""
        try:
            given = self.input.model_validate(arguments)
        except ValidationError:
            return None
        schema = self.input.model_json_schema()
        shown = masked(given.model_dump(mode="json", exclude_none=True), schema)
        return Prepared(
            given.model_dump(mode="json"),
            shown,
            self.fingerprint,
            tuple(self.files_of(given)),
            self.most_file_bytes,
        )

    @property
    def fingerprint(self) -> str:
        """Return a hash of what the tool says that it is."""
        return hashlib.sha256(self.listing().model_dump_json().encode()).hexdigest()

    async def call(self, caller: Caller, arguments: dict[str, Any]) -> CallToolResult:
        """Run the tool. Whatever goes wrong becomes a result that says so: `<code>: <message>`."""
        try:
            output = await self.run(caller, self.input.model_validate(arguments))
        except ValidationError as error:
            return _failed(
                f"invalid: {_explain(error)} This tool takes: {', '.join(self.input.model_fields)}."
            )
        except SlipwayError as error:
            return _failed(f"{error.code}: {error.message}{_fields(error)} {hint_for(error)}".rstrip())
        except OperationalError:
            log.warning("tool %s: the database did not answer", self.name, exc_info=True)
            return _failed("temporary: The platform is busy. Try again in a few seconds.")
        except Exception:
            log.exception("tool %s failed", self.name)
            return _failed("internal: The tool failed. The call itself was in order; try again later.")
        return CallToolResult(
            content=[TextContent(type="text", text=output.model_dump_json())],
            structured_content=output.model_dump(mode="json"),
        )


@dataclass(frozen=True, slots=True)
class ToolServer:
    """One MCP server: its name is the last part of its path and of its tokens' audience."""

    name: str
    title: str
    instructions: str
    tools: tuple[Tool[Any], ...]

    @property
    def audience(self) -> str:
        """Return what a token must be for."""
        return f"mcp:{self.name}"

    @property
    def path(self) -> str:
        """Return where the server is served."""
        return f"/mcp/{self.name}"


def _failed(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def _explain(error: ValidationError) -> str:
    findings = error.errors(include_url=False, include_context=False, include_input=False)[:_MOST_FINDINGS]
    return " ".join(f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}." for found in findings)


def _fields(error: SlipwayError) -> str:
    fields = error.details.get("fields")
    if not isinstance(fields, dict):
        return ""
    return " (" + "; ".join(f"{name}: {reason}" for name, reason in fields.items()) + ")"
