"""The proxy of the OpenAI API, `/llm/openai/…`."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import Response

from services.domain.tasks.models import Task
from services.mcp_gateway.callers import bearer_token
from services.mcp_gateway.llm.openai_requests import parse_chat_call, parse_responses_call
from services.mcp_gateway.llm.openai_usage import OpenaiMeter, read_openai_usage
from services.mcp_gateway.llm.proxy import ModelProxy
from services.mcp_gateway.llm.replies import not_found, openai_response
from services.mcp_gateway.llm.requests import read_limited
from services.mcp_gateway.llm.vendor import Dialect
from services.mcp_gateway.threads import run_in_thread

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
        headers_out=("openai-beta", "content-type", "accept"),
        queries_out=(),
        key_headers=lambda key: {"authorization": f"Bearer {key}"},
        respond=openai_response,
        broken_stream=_BROKEN,
    )

    def token_of(self, request: Request) -> str:
        """Return the token of the Authorization header."""
        return bearer_token(request.headers)

    async def route(self, request: Request, task: Task) -> Response:
        """Answer what is passed on."""
        method, path = request.method, request.path_params["path"]
        if method == "POST" and path in _PAID:
            call = await run_in_thread(_PAID[path], await read_limited(request))
            return await self.pass_paid_call(
                request, task, call.body, call, meter=OpenaiMeter(call.most), read_usage=read_openai_usage
            )
        if (method, path) == ("GET", "v1/models"):
            return await self.whole(await self.send(request, b""))
        raise not_found()
