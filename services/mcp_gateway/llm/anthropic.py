"""The proxy of the Anthropic API, `/llm/anthropic/…`."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.domain.tasks.models import Task
from services.mcp_gateway.callers import bearer_token
from services.mcp_gateway.llm.proxy import ModelProxy
from services.mcp_gateway.llm.replies import anthropic_response, not_found
from services.mcp_gateway.llm.requests import parse_messages_call, read_limited
from services.mcp_gateway.llm.usage import StreamMeter, read_usage
from services.mcp_gateway.llm.vendor import Dialect
from services.mcp_gateway.threads import run_in_thread

_BROKEN = (
    b"\n\nevent: error\ndata: "
    + json.dumps(
        {
            "type": "error",
            "error": {"type": "api_error", "message": "upstream_broke: The model's answer broke off."},
        }
    ).encode()
    + b"\n\n"
)


class AnthropicProxy(ModelProxy):
    """Knows which calls of the API are passed on, and what each may cost."""

    dialect = Dialect(
        headers_out=("anthropic-version", "anthropic-beta", "content-type", "accept"),
        queries_out=("beta", "limit", "after_id", "before_id"),
        key_headers=lambda key: {"x-api-key": key},
        respond=anthropic_response,
        broken_stream=_BROKEN,
    )

    def token_of(self, request: Request) -> str:
        """Return the token, which the vendor's clients send in one of two headers."""
        return request.headers.get("x-api-key") or bearer_token(request.headers)

    async def route(self, request: Request, task: Task) -> Response:
        """Answer what is passed on."""
        route = (request.method, request.path_params["path"])
        if route == ("POST", "v1/messages"):
            body = await read_limited(request)
            call = await run_in_thread(parse_messages_call, body)
            return await self.pass_paid_call(
                request, task, body, call, meter=StreamMeter(), read_usage=read_usage
            )
        if route == ("POST", "v1/messages/count_tokens"):
            return await self._count_tokens(request)
        if route == ("GET", "v1/models"):
            return await self.whole(await self.send(request, b""))
        raise not_found()

    async def _count_tokens(self, request: Request) -> Response:
        body = await read_limited(request)
        call = await run_in_thread(parse_messages_call, body, needs_max_tokens=False)
        upstream = await self.send(request, body)
        if upstream.status_code == 404:
            # Servers that stand in for the vendor often lack this; the CLI only wants to know roughly.
            await upstream.aclose()
            return JSONResponse({"input_tokens": call.most.input})
        return await self.whole(upstream)
