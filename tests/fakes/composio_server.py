"""A catalogue of tools behind Composio's API, strict about the key and about whose connections are used."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.serving import Faults, Journal, LocalServer

KEY, USER = "ak_only-the-gateway-has-this", "alice-at-acme"
_ROOT = "/api/v3.1"


def tool(slug: str, toolkit: str, description: str) -> dict[str, Any]:
    return {
        "slug": slug,
        "name": slug.replace("_", " ").title(),
        "description": description,
        "toolkit": {"slug": toolkit, "name": toolkit.title(), "logo": ""},
        "input_parameters": {
            "type": "object",
            "properties": {"title": {"type": "string"}},
            "required": ["title"],
        },
        "version": "20251027_00",
    }


class ComposioServer:
    """One project with two users; `executed` is what was run."""

    def __init__(self) -> None:
        self.calls, self.executed, self.faults = Journal(), Journal(), Faults()
        self.keys = {KEY}
        self.result: Any = {"number": 7}
        self.tools = [
            tool("GITHUB_CREATE_AN_ISSUE", "github", "Create an issue"),
            tool("GITHUB_DELETE_A_REPOSITORY", "github", "Delete a repository"),
            tool("NOTION_CREATE_PAGE", "notion", "Create a page"),
        ]
        self.connections = [
            {"id": "ca_github", "user_id": USER, "status": "ACTIVE", "toolkit": {"slug": "github"}},
            {"id": "ca_notion", "user_id": USER, "status": "EXPIRED", "toolkit": {"slug": "notion"}},
            {"id": "ca_other", "user_id": "somebody-else", "status": "ACTIVE", "toolkit": {"slug": "github"}},
        ]
        self.server = LocalServer(
            Starlette(
                routes=[
                    Route(f"{_ROOT}/connected_accounts", self._answered(self._connections)),
                    Route(f"{_ROOT}/toolkits", self._answered(self._toolkits)),
                    Route(f"{_ROOT}/tools", self._answered(self._tools)),
                    Route(f"{_ROOT}/tools/execute/{{slug}}", self._answered(self._execute), methods=["POST"]),
                    Route(f"{_ROOT}/tools/{{slug}}", self._answered(self._tool)),
                ]
            )
        )

    @property
    def url(self) -> str:
        return self.server.url

    def __enter__(self) -> ComposioServer:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    def _answered(self, answer: Any) -> Any:
        async def endpoint(request: Request) -> Response:
            key = request.headers.get("x-api-key")
            if key not in self.keys:
                return _error(401, "Invalid API key")
            self.calls.add({"path": request.url.path, "query": dict(request.query_params), "key": key})
            fault = self.faults.take(request.url.path.removeprefix(_ROOT))
            if fault is not None:
                status = {"throttle": 429, "forbid": 403}.get(fault.how, 500)
                return _error(status, "as planned", {"Retry-After": str(fault.retry_after_s)})
            given: Response = await answer(request)
            return given

        return endpoint

    async def _connections(self, request: Request) -> Response:
        users = request.query_params["user_ids"].split(",")
        return JSONResponse({"items": [each for each in self.connections if each["user_id"] in users]})

    async def _toolkits(self, request: Request) -> Response:
        slugs = dict.fromkeys(each["toolkit"]["slug"] for each in self.tools)
        search = request.query_params.get("search", "")
        items = [
            {"slug": slug, "name": slug.title(), "meta": {"description": f"Tools of {slug}"}}
            for slug in slugs
            if search in slug
        ]
        return JSONResponse({"items": items[: int(request.query_params["limit"])]})

    async def _tools(self, request: Request) -> Response:
        toolkit, search = request.query_params.get("toolkit_slug"), request.query_params["search"].lower()
        found = [
            each
            for each in self.tools
            if toolkit in (None, each["toolkit"]["slug"]) and search in each["description"].lower()
        ]
        return JSONResponse({"items": found, "next_cursor": None})

    async def _tool(self, request: Request) -> Response:
        found = self._find(request)
        return JSONResponse(found) if found else _error(404, "Tool not found")

    async def _execute(self, request: Request) -> Response:
        found, body = self._find(request), await request.json()
        if found is None:
            return _error(404, "Tool not found")
        if body["user_id"] != USER or set(body) - {"user_id", "arguments", "connected_account_id"}:
            return _error(400, "Not understood")
        missing = [name for name in found["input_parameters"]["required"] if name not in body["arguments"]]
        if missing:
            return JSONResponse(
                {"data": {}, "error": f"missing: {missing[0]}", "successful": False, "log_id": "l1"}
            )
        self.executed.add({"slug": found["slug"], **body})
        return JSONResponse({"data": self.result, "error": None, "successful": True, "log_id": "l2"})

    def _find(self, request: Request) -> dict[str, Any] | None:
        return next((each for each in self.tools if each["slug"] == request.path_params["slug"]), None)


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"message": message, "code": status, "status": status}}, status, headers)
