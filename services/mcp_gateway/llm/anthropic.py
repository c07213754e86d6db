"""The proxy of the Anthropic API, `/llm/anthropic/…`."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.domain.tasks.models import Task
from services.mcp_gateway.callers import bearer_token
from services.mcp_gateway.llm.proxy import ModelProxy, parsed
from services.mcp_gateway.llm.replies import anthropic_response, not_found
from services.mcp_gateway.llm.requests import parse_count_call, parse_messages_call, read_limited
from services.mcp_gateway.llm.usage import StreamMeter, read_usage
from services.mcp_gateway.llm.vendor import Dialect
from services.mcp_gateway.llm.watching import ModelWatch

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
        vendor="anthropic",
        headers_out=("anthropic-version", "anthropic-beta", "content-type", "accept"),
        queries_out=("beta", "limit", "after_id", "before_id"),
        key_headers=lambda key: {"x-api-key": key},
        respond=anthropic_response,
        broken_stream=_BROKEN,
        failed_stream=b"event: error",
        read_usage=read_usage,
        meter=lambda estimate: StreamMeter(),
    )

    def token_of(self, request: Request) -> str:
        """Return the token, which the vendor's clients send in one of two headers."""
        return request.headers.get("x-api-key") or bearer_token(request.headers)

    async def route(self, request: Request, task: Task, watch: ModelWatch) -> Response:
        """Answer what is passed on."""
        match request.method, request.path_params["path"]:
            case "POST", "v1/messages":
                return await self.pass_paid_call(request, task, watch, parse_messages_call)
            case "POST", "v1/messages/count_tokens":
                body = await read_limited(request)
                call = await parsed(parse_count_call, body)
                # Servers that stand in for the vendor often lack this; the CLI only wants to know roughly.
                counted = await self.pass_free_call(request, task, body, model=call.model)
                return counted or JSONResponse({"input_tokens": call.most.input})
            case "GET", "v1/models":
                return await self.list_models(request, task)
        raise not_found()
