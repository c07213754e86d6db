"""Composio's API for one user of one project.

The user stands in the account's settings and in every request; an agent cannot name another.
Source: https://docs.composio.dev/reference/api-reference/tools (v3.1)
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote

import httpx2

from services.adapters.accounts.composio.failures import failure_of
from services.domain.errors import AccountDenied, AccountRefused, ItemMissing

READ_S = 120.0  # a tool may do a lot before it answers
_MAX_CONNECTIONS = 200


@dataclass(frozen=True, slots=True)
class Allowed:
    """What agents may use: toolkits by slug and tools by slug or pattern. Empty allows all."""

    toolkits: frozenset[str]
    tools: tuple[str, ...]

    def permits(self, tool: str, toolkit: str) -> bool:
        """Say whether a tool may be used."""
        if self.toolkits and toolkit.lower() not in self.toolkits:
            return False
        return not self.tools or any(fnmatchcase(tool.upper(), pattern) for pattern in self.tools)


@dataclass(frozen=True, slots=True)
class Connection:
    """An account that the person has connected at Composio."""

    id: str
    toolkit: str
    status: str


@dataclass(frozen=True, slots=True)
class Toolkit:
    """What tools are grouped by: an application."""

    slug: str
    name: str
    description: str


@dataclass(frozen=True, slots=True)
class HostedTool:
    """A tool of the catalogue. `input_schema` is a JSON object, as Composio gives it."""

    slug: str
    name: str
    toolkit: str
    description: str
    input_schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Executed:
    """What became of a tool. `log_id` finds it in Composio's dashboard."""

    is_successful: bool
    content: Any
    error: str
    log_id: str


class ComposioClient:
    """Its calls raise the errors of accounts, and ItemMissing."""

    def __init__(self, http: httpx2.AsyncClient, base: str, *, key: str, user: str, allowed: Allowed) -> None:
        self._http, self._base, self._key = http, f"{base}/api/v3.1", key
        self._user, self._allowed = user, allowed

    async def connections(self) -> list[Connection]:
        """Return the accounts that the user has connected."""
        params = {"user_ids": self._user, "limit": str(_MAX_CONNECTIONS)}
        found = await self._ask("GET", "/connected_accounts", params=params)
        connections = [
            Connection(_text(each, "id"), _text(each.get("toolkit"), "slug"), _text(each, "status"))
            for each in _items(found)
            if _text(each, "user_id") in ("", self._user)
        ]
        return [each for each in connections if self._is_open(each.toolkit)]

    async def toolkits(self, search: str, limit: int) -> list[Toolkit]:
        """Return toolkits of the catalogue that agents may use."""
        params = {"limit": str(limit), "sort_by": "usage"} | ({"search": search} if search else {})
        found = await self._ask("GET", "/toolkits", params=params)
        toolkits = [
            Toolkit(_text(each, "slug"), _text(each, "name"), _text(each.get("meta"), "description"))
            for each in _items(found)
        ]
        return [each for each in toolkits if self._is_open(each.slug)]

    async def search(self, query: str, toolkit: str | None, limit: int) -> list[HostedTool]:
        """Return tools that agents may use."""
        params = {"search": query, "limit": str(limit)} | ({"toolkit_slug": toolkit} if toolkit else {})
        found = [_tool(each) for each in _items(await self._ask("GET", "/tools", params=params))]
        return [tool for tool in found if self._allowed.permits(tool.slug, tool.toolkit)][:limit]

    async def tool(self, slug: str) -> HostedTool:
        """Return one tool with its schema. Raises: AccountDenied for one that agents may not use."""
        tool = _tool(await self._ask("GET", f"/tools/{quote(slug, safe='')}"))
        if not self._allowed.permits(tool.slug, tool.toolkit):
            raise AccountDenied("The account's settings do not allow this tool.")
        return tool

    async def execute(self, slug: str, arguments: dict[str, Any], connection_id: str | None) -> Executed:
        """Run a tool in one of the user's connected accounts. Raises: AccountDenied, ItemMissing."""
        tool = await self.tool(slug)
        body: dict[str, Any] = {"user_id": self._user, "arguments": arguments}
        if connection_id is not None:
            if connection_id not in _ids(await self.connections()):
                raise ItemMissing(
                    "There is no such connection. Take its id from composio_list_connections, or leave it out."
                )
            body["connected_account_id"] = connection_id
        done = await self._ask("POST", f"/tools/execute/{quote(tool.slug, safe='')}", json=body)
        return Executed(
            is_successful=done.get("successful") is True,
            content=done.get("data"),
            error=str(done.get("error") or "")[:2_000],
            log_id=_text(done, "log_id"),
        )

    def _is_open(self, toolkit: str) -> bool:
        return not self._allowed.toolkits or toolkit.lower() in self._allowed.toolkits

    async def _ask(
        self, method: str, path: str, *, params: dict[str, str] | None = None, json: Any = None
    ) -> dict[str, Any]:
        headers = {"x-api-key": self._key}
        answer = await self._http.request(
            method, f"{self._base}{path}", params=params, json=json, headers=headers
        )
        if not answer.is_success:
            raise failure_of(answer, answer.content)
        return _object(answer.content)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise AccountRefused("Composio's answer is not JSON.") from error
    if not isinstance(found, dict):
        raise AccountRefused("Composio's answer is not an object.")
    return found


def _items(found: dict[str, Any]) -> list[dict[str, Any]]:
    items = found.get("items")
    if not isinstance(items, list):
        raise AccountRefused("Composio's answer is not a list.")
    return [each for each in items if isinstance(each, dict)]


def _text(found: Any, name: str) -> str:
    value = found.get(name) if isinstance(found, dict) else None
    return "" if value is None else str(value)


def _tool(found: dict[str, Any]) -> HostedTool:
    schema = found.get("input_parameters")
    return HostedTool(
        slug=_text(found, "slug"),
        name=_text(found, "name"),
        toolkit=_text(found.get("toolkit"), "slug"),
        description=_text(found, "description")[:2_000],
        input_schema=schema if isinstance(schema, dict) else {},
    )


def _ids(connections: Collection[Connection]) -> set[str]:
    return {each.id for each in connections}
