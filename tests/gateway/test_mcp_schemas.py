"""What the models read: descriptions, closed schemas, a word for every field, and a way out of every error."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from services.domain import errors
from services.domain.errors import Limited, SlipwayError, Temporary
from services.mcp_gateway.http import TOOL_SERVERS
from services.mcp_gateway.mcp_servers.mending import SAY_IT_THEMSELVES, hint_for
from services.mcp_gateway.mcp_servers.tools import Tool, ToolServer

MOST_TOOLS = 40
MOST_LIST_BYTES = 64_000
TOOLS = [
    pytest.param(tool, id=f"{server.name}.{tool.name}") for server in TOOL_SERVERS for tool in server.tools
]
SERVERS = [pytest.param(server, id=server.name) for server in TOOL_SERVERS]


def objects_of(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a schema that have fields of their own."""
    for name, part in {"": schema, **schema.get("$defs", {})}.items():
        if part.get("type") == "object":
            yield name, part


def is_described(schema: dict[str, Any]) -> bool:
    """Say whether a field says what it is, by itself or by what it may be."""
    return bool(schema.get("description")) or any(
        part.get("description") for part in schema.get("anyOf", ()) if part.get("type") != "null"
    )


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_says_what_it_is_for_and_what_each_field_means(tool: Tool[Any]):
    listing = tool.listing()
    assert re.fullmatch(r"[a-z][a-z0-9_]{2,63}", listing.name)
    assert listing.description is not None
    assert 40 < len(listing.description) < 700
    assert listing.output_schema is not None
    for schema in (listing.input_schema, listing.output_schema):
        for name, part in objects_of(schema):
            assert part.get("additionalProperties") is False, f"{name or tool.name} is open"
            for field, inner in part.get("properties", {}).items():
                assert is_described(inner), f"{name or tool.name}.{field} says nothing"


@pytest.mark.parametrize("server", SERVERS)
def test_a_list_of_tools_has_a_sensible_size(server: ToolServer):
    listings = [tool.listing().model_dump(by_alias=True, exclude_none=True) for tool in server.tools]
    assert len({tool.name for tool in server.tools}) == len(server.tools) <= MOST_TOOLS
    assert len(json.dumps(listings)) <= MOST_LIST_BYTES
    assert 20 < len(server.instructions) < 1_000


@pytest.mark.parametrize("name", ["memory", "platform"])
def test_texts_that_a_model_makes_up_have_examples(name: str):
    (server,) = [server for server in TOOL_SERVERS if server.name == name]
    for tool in server.tools:
        schema = tool.listing().input_schema
        for field in schema.get("required", ()):
            inner = schema["properties"][field]
            if inner.get("type") == "string" and "format" not in inner and "enum" not in inner:
                assert inner.get("examples"), f"{tool.name}.{field} has no example"


def leaves() -> list[type[SlipwayError]]:
    """Return every error that there is, but the authorization server's: no tool raises that."""
    found = [cls for _, cls in inspect.getmembers(errors, inspect.isclass)]
    return [cls for cls in found if issubclass(cls, SlipwayError) and cls is not errors.OAuthRefused]


@pytest.mark.parametrize("cls", leaves())
def test_every_error_says_how_to_mend_the_call(cls: type[SlipwayError]):
    error = cls("It went wrong.")
    assert hint_for(error) or isinstance(error, SAY_IT_THEMSELVES)
    if issubclass(cls, Limited | Temporary):
        assert hint_for(cls("It went wrong.", retry_after_s=30)) in ("Try again in 30 s.", "")
