"""What the proxies of all vendors do alike: who calls, the money, the real key, passing on and back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable

import httpx
from django.db import OperationalError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from services.domain.errors import SlipwayError
from services.domain.llm.rates import Tokens
from services.domain.tasks.models import Task
from services.mcp_gateway.callers import authenticate
from services.mcp_gateway.llm.forwarding import MAX_CALL_S, ForwardedStream, headers_to_pass, without_key
from services.mcp_gateway.llm.replies import Refusal, busy, refusal_of
from services.mcp_gateway.llm.reservations import NOTHING, Reservation, Reservations
from services.mcp_gateway.llm.vendor import Dialect, Meter, ModelCall, Vendor

log = logging.getLogger(__name__)

_TIMEOUT = httpx.Timeout(600.0, connect=10.0, pool=10.0)
_LIMITS = httpx.Limits(max_connections=2_000, max_keepalive_connections=100)
_STREAM = "text/event-stream"
# The vendor did not get the call, so it cannot have cost anything.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class ModelProxy(ABC):
    """Passes on the calls of tasks with the real key, and what comes back without it."""

    dialect: Dialect

    def __init__(self, vendor: Vendor, reservations: Reservations) -> None:
        self.vendor = vendor
        self._client: httpx.AsyncClient | None = None
        self._reservations = reservations

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Hold the connections to the vendor."""
        async with httpx.AsyncClient(timeout=_TIMEOUT, limits=_LIMITS, follow_redirects=False) as client:
            self._client = client
            try:
                yield
            finally:
                self._client = None

    @abstractmethod
    async def route(self, request: Request, task: Task) -> Response:
        """Answer what the proxy passes on. Raises: Refusal for everything else."""

    @abstractmethod
    def token_of(self, request: Request) -> str:
        """Return the token that a request carries, or an empty text."""

    async def answer(self, request: Request) -> Response:
        """Answer one request, whatever happens, in the vendor's shape."""
        try:
            caller = await authenticate(request.scope, self.token_of(request), "llm")
            return await self.route(request, caller.task)
        except Refusal as refusal:
            return self.dialect.respond(refusal)
        except SlipwayError as error:
            return self.dialect.respond(refusal_of(error))
        except (OperationalError, httpx.PoolTimeout):
            log.warning("a model call could not be served", exc_info=True)
            return self.dialect.respond(busy("The platform is busy."))
        except ClientDisconnect:
            return Response(status_code=499)

    async def pass_paid_call(
        self,
        request: Request,
        task: Task,
        body: bytes,
        call: ModelCall,
        *,
        meter: Meter,
        read_usage: Callable[[bytes], Tokens | None],
    ) -> Response:
        """Reserve, send, and settle at what the answer says, be it a stream or not. Raises: Refusal, BudgetExceeded."""
        self.vendor.key_text()
        reservation = await self._reservations.make(task, call)
        try:
            upstream = await self.send(request, body)
        except BaseException as error:
            await reservation.settle(NOTHING if isinstance(error.__cause__, _NOT_SENT) else None)
            raise
        if upstream.is_success and upstream.headers.get("content-type", "").startswith(_STREAM):
            return ForwardedStream(upstream, reservation, meter, broken=self.dialect.broken_stream)
        return await self._settle_whole(upstream, reservation, read_usage)

    async def _settle_whole(
        self,
        upstream: httpx.Response,
        reservation: Reservation,
        read_usage: Callable[[bytes], Tokens | None],
    ) -> Response:
        used = None
        try:
            response = await self.whole(upstream)
            used = read_usage(bytes(response.body)) if upstream.is_success else NOTHING
        finally:
            await reservation.settle(used)
        return response

    async def send(self, request: Request, body: bytes) -> httpx.Response:
        """Send a call on and return the head of the answer. Raises: Refusal."""
        if self._client is None:
            raise RuntimeError("the proxy's run() has not been entered")
        dialect = self.dialect
        headers = {name: request.headers[name] for name in dialect.headers_out if name in request.headers}
        # Bytes are looked at on their way back, so they must not be compressed.
        headers |= {
            **dialect.key_headers(self.vendor.key_text()),
            "accept-encoding": "identity",
            "user-agent": "slipway",
        }
        query = request.query_params
        outgoing = self._client.build_request(
            request.method,
            f"{self.vendor.base_url}/{request.path_params['path']}",
            params={name: query[name] for name in dialect.queries_out if name in query},
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

    async def whole(self, upstream: httpx.Response) -> Response:
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
            without_key(body, self.vendor.key_text()), upstream.status_code, headers_to_pass(upstream)
        )
