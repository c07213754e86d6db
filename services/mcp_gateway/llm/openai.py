"""The proxy of the OpenAI API, `/llm/openai/…`."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.domain.tasks.models import Task
from services.mcp_gateway.callers import bearer_token
from services.mcp_gateway.llm.openai_requests import parse_chat_call, parse_count_call, parse_responses_call
from services.mcp_gateway.llm.openai_usage import OpenaiMeter, read_openai_usage
from services.mcp_gateway.llm.proxy import ModelProxy, parsed
from services.mcp_gateway.llm.replies import not_found, openai_response
from services.mcp_gateway.llm.requests import read_limited
from services.mcp_gateway.llm.vendor import Dialect
from services.mcp_gateway.llm.watching import ModelWatch

_PAID = {"v1/responses": parse_responses_call, "v1/chat/completions": parse_chat_call}
_ERROR = {
    "message": "upstream_broke: The model's answer broke off.",
    "type": "server_error",
    "code": "upstream_broke",
}
# One event that clients of both APIs take for an error: `type` is of the one, `error` of the other.
_BROKEN = b"\n\ndata: " + json.dumps({"type": "error", **_ERROR, "error": _ERROR}).encode() + b"\n\n"


class OpenaiProxy(ModelProxy):
    """Knows which calls of the API are passed on, and what each may cost."""

    dialect = Dialect(
        vendor="openai",
        headers_out=("openai-beta", "content-type", "accept"),
        queries_out=(),
        key_headers=lambda key: {"authorization": f"Bearer {key}"},
        respond=openai_response,
        broken_stream=_BROKEN,
        failed_stream=b"event: error",
        read_usage=read_openai_usage,
        meter=OpenaiMeter,
    )

    def token_of(self, request: Request) -> str:
        """Return the token of the Authorization header."""
        return bearer_token(request.headers)

    async def route(self, request: Request, task: Task, watch: ModelWatch) -> Response:
        """Answer what is passed on."""
        match request.method, request.path_params["path"]:
            case "POST", "v1/responses" | "v1/chat/completions" as path:
                return await self.pass_paid_call(request, task, watch, _PAID[path])
            case "POST", "v1/responses/input_tokens":
                body = await read_limited(request)
                call = await parsed(parse_count_call, body)
                counted = await self.pass_free_call(request, task, body, model=call.model)
                return counted or JSONResponse(
                    {"object": "response.input_tokens", "input_tokens": call.most.input}
                )
            case "GET", "v1/models":
                return await self.list_models(request, task)
        raise not_found()
