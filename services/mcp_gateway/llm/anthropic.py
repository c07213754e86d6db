"""The proxy of the Anthropic API, `/llm/anthropic/…`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
from django.db import OperationalError
from pydantic import SecretStr
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from services.domain.errors import SlipwayError
from services.domain.tasks.models import Task
from services.kit.environment import Environment
from services.mcp_gateway.callers import authenticate, bearer_token
from services.mcp_gateway.llm.forwarding import MAX_CALL_S, ForwardedStream, headers_to_pass, without_key
from services.mcp_gateway.llm.replies import Refusal, busy, not_found, refusal_of
from services.mcp_gateway.llm.requests import parse_messages_call, read_limited
from services.mcp_gateway.llm.reservations import NOTHING, Reservation, Reservations
from services.mcp_gateway.llm.usage import read_usage
from services.mcp_gateway.threads import run_in_thread

log = logging.getLogger(__name__)

VENDOR_URL = "https://api.anthropic.com"
PLACEHOLDER_KEY = "sk-none"
_TIMEOUT = httpx.Timeout(600.0, connect=10.0, pool=10.0)
_LIMITS = httpx.Limits(max_connections=2_000, max_keepalive_connections=100)
_PASSED_ON = ("anthropic-version", "anthropic-beta", "content-type", "accept")
_QUERY = ("beta", "limit", "after_id", "before_id")
_STREAM = "text/event-stream"
# The vendor did not get the call, so it cannot have cost anything.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Vendor:
    """Where the model is and what opens it."""

    base_url: str
    key: SecretStr | None

    @classmethod
    def of(cls, env: Environment) -> Vendor:
        """Return what the installation has been given."""
        return cls(env.anthropic_base_url.rstrip("/"), env.anthropic_api_key)

    def key_text(self) -> str:
        """Return the key; a local server needs none, but clients send one. Raises: Refusal."""
        if self.key is not None and self.key.get_secret_value():
            return self.key.get_secret_value()
        if self.base_url == VENDOR_URL:
            raise Refusal(
                503, "api_error", "model_key_missing", "This installation has no key for this model."
            )
        return PLACEHOLDER_KEY


class AnthropicProxy:
    """Passes on the calls of tasks with the real key, and what comes back without it."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._client: httpx.AsyncClient | None = None
        self._reservations = Reservations()

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Hold the connections to the vendor."""
        async with httpx.AsyncClient(timeout=_TIMEOUT, limits=_LIMITS, follow_redirects=False) as client:
            self._client = client
            try:
                yield
            finally:
                self._client = None

    async def answer(self, request: Request) -> Response:
        """Answer one request, whatever happens, in the vendor's shape."""
        try:
            return await self._answer(request)
        except Refusal as refusal:
            return refusal.response()
        except SlipwayError as error:
            return refusal_of(error).response()
        except (OperationalError, httpx.PoolTimeout):
            log.warning("a model call could not be served", exc_info=True)
            return busy("The platform is busy.").response()
        except ClientDisconnect:
            return Response(status_code=499)

    async def _answer(self, request: Request) -> Response:
        caller = await authenticate(request.scope, _token(request), "llm")
        route = (request.method, request.path_params["path"])
        if route == ("POST", "v1/messages"):
            return await self._pass_messages(request, caller.task)
        if route == ("POST", "v1/messages/count_tokens"):
            return await self._count_tokens(request)
        if route == ("GET", "v1/models"):
            return await self._whole(await self._send(request, b""))
        raise not_found()

    async def _pass_messages(self, request: Request, task: Task) -> Response:
        body = await read_limited(request)
        call = await run_in_thread(parse_messages_call, body)
        self._vendor.key_text()
        reservation = await self._reservations.make(task, call)
        try:
            upstream = await self._send(request, body)
        except BaseException as error:
            await reservation.settle(NOTHING if isinstance(error.__cause__, _NOT_SENT) else None)
            raise
        if upstream.is_success and upstream.headers.get("content-type", "").startswith(_STREAM):
            return ForwardedStream(upstream, reservation)
        return await self._settle_whole(upstream, reservation)

    async def _settle_whole(self, upstream: httpx.Response, reservation: Reservation) -> Response:
        used = None
        try:
            response = await self._whole(upstream)
            used = read_usage(bytes(response.body)) if upstream.is_success else NOTHING
        finally:
            await reservation.settle(used)
        return response

    async def _count_tokens(self, request: Request) -> Response:
        body = await read_limited(request)
        call = await run_in_thread(parse_messages_call, body, needs_max_tokens=False)
        upstream = await self._send(request, body)
        if upstream.status_code == 404:
            # Servers that stand in for the vendor often lack this; the CLI only wants to know roughly.
            await upstream.aclose()
            return JSONResponse({"input_tokens": call.most.input})
        return await self._whole(upstream)

    async def _send(self, request: Request, body: bytes) -> httpx.Response:
        """Send a call on and return the head of the answer. Raises: Refusal."""
        if self._client is None:
            raise RuntimeError("the proxy's run() has not been entered")
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        # Bytes are looked at on their way back, so they must not be compressed.
        headers |= {
            "x-api-key": self._vendor.key_text(),
            "accept-encoding": "identity",
            "user-agent": "slipway",
        }
        outgoing = self._client.build_request(
            request.method,
            f"{self._vendor.base_url}/{request.path_params['path']}",
            params={name: request.query_params[name] for name in _QUERY if name in request.query_params},
            headers=headers,
            content=body or None,
        )
        try:
            return await self._client.send(outgoing, stream=True)
        except httpx.HTTPError as error:
            log.warning("the vendor did not answer: %s", type(error).__name__)
            message = "The model's server did not answer."
            raise Refusal(
                502, "api_error", "upstream_unavailable", message, may_retry=True, retry_after_s=1
            ) from error

    async def _whole(self, upstream: httpx.Response) -> Response:
        """Read an answer to its end and pass it on. Raises: Refusal."""
        try:
            body = await asyncio.wait_for(upstream.aread(), MAX_CALL_S)
        except (httpx.HTTPError, TimeoutError) as error:
            message = "The model's answer broke off."
            raise Refusal(502, "api_error", "upstream_broke", message, may_retry=True) from error
        finally:
            await upstream.aclose()
        if upstream.status_code == 401 or upstream.is_redirect:
            # Not the caller's token is wrong but our key or address, and trying again does not help.
            raise Refusal(
                502, "api_error", "model_key_refused", "The model's server refused the installation."
            )
        return Response(
            without_key(body, self._vendor.key_text()), upstream.status_code, headers_to_pass(upstream)
        )


def _token(request: Request) -> str:
    return request.headers.get("x-api-key") or bearer_token(request.headers)
