"""What the proxies of all vendors do alike: who calls, the money, the real key, passing on and back."""

from __future__ import annotations

import asyncio
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from django.db import OperationalError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from services.adapters.models.wire import Answer, BrokenOff, Call, ModelServers, NotSent
from services.domain.errors import SlipwayError, TokenInvalid
from services.domain.llm.attempts import REFUSES_KEY, Candidate, Plan, may_follow, pause
from services.domain.llm.keys import note_refused
from services.domain.llm.rules import Rules
from services.domain.llm.spending import RulesChanged
from services.domain.tasks.models import Task
from services.mcp_gateway.call_log import CALL_LOG
from services.mcp_gateway.callers import authenticate
from services.mcp_gateway.llm.admission import RulesKept
from services.mcp_gateway.llm.forwarding import MAX_CALL_S, ForwardedStream, headers_to_pass, without_key
from services.mcp_gateway.llm.recording import Recording
from services.mcp_gateway.llm.replies import Refusal, busy, rate_limited, refusal_of
from services.mcp_gateway.llm.requests import read_limited
from services.mcp_gateway.llm.reservations import NOTHING, Reservation, Reservations
from services.mcp_gateway.llm.vendor import Dialect, ModelCall, Target, Vendor, no_key
from services.mcp_gateway.llm.watching import ModelWatch, model_watched
from services.mcp_gateway.threads import run_in_thread
from services.mcp_gateway.watch import TOO_MANY, UNKNOWN, flood_wait_s

log = logging.getLogger(__name__)

_STREAM = "text/event-stream"
_MODEL_HEADER = "x-slipway-model"
_INLINE_BYTES = 32_768
_MOST_RENEWALS = 5
_BUSY = "The platform is busy."
_NO_OWN_KEY = "No key of the organisation's own is usable for this model. An admin can check them."


class Failed(Exception):
    """A try that was answered by a failure, or not at all, after which another may be made."""

    def __init__(self, status: int, answer: Answer | None = None, *, is_free: bool = True) -> None:
        super().__init__(status)
        self.status, self.answer = status, answer
        self.is_free = is_free
        """Nothing can have been used. Otherwise nobody knows."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call that costs money: the request, whose it is, what it asks for, and what is noted of it."""

    request: Request
    task: Task
    call: ModelCall
    watch: ModelWatch


class ModelProxy(ABC):
    """Passes on the calls of tasks with the real key, and what comes back without it."""

    dialect: Dialect

    def __init__(
        self, vendor: Vendor, reservations: Reservations, rules: RulesKept, servers: ModelServers
    ) -> None:
        self.vendor = vendor
        self._reservations = reservations
        self._rules = rules
        self._servers = servers

    @abstractmethod
    async def route(self, request: Request, task: Task, watch: ModelWatch) -> Response:
        """Answer what the proxy passes on. Raises: Refusal for everything else."""

    @abstractmethod
    def token_of(self, request: Request) -> str:
        """Return the token that a request carries, or an empty text."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens, in the vendor's shape."""
        request = Request(scope, receive)
        admitted = await self._admit(request)
        if isinstance(admitted, Response):
            await admitted(scope, receive, send)
            return
        with model_watched(admitted, self.dialect.vendor, scope) as watch:
            response = await self._answer(request, admitted, watch)
            watch.result_bytes = len(response.body)
            await response(scope, receive, send)

    async def _admit(self, request: Request) -> Task | Response:
        """Return the task that calls, or the answer to whoever may not."""
        try:
            caller = await authenticate(request.scope, self.token_of(request), "llm")
        except TokenInvalid as error:
            CALL_LOG.turned_away["token"] += 1
            return self.dialect.respond(refusal_of(error))
        except OperationalError:
            log.warning("a caller could not be looked up", exc_info=True)
            return self.dialect.respond(busy(_BUSY))
        wait_s = flood_wait_s(str(caller.task.id))
        return caller.task if wait_s is None else self.dialect.respond(rate_limited(TOO_MANY, wait_s))

    async def _answer(self, request: Request, task: Task, watch: ModelWatch) -> Response:
        try:
            return await self.route(request, task, watch)
        except Refusal as error:
            refusal = error
        except SlipwayError as error:
            refusal = refusal_of(error)
        except OperationalError:
            log.warning("a model call could not be served", exc_info=True)
            refusal = busy(_BUSY)
        except ClientDisconnect:
            watch.code = "cancelled"
            return Response(status_code=499)
        watch.code = refusal.code
        return self.dialect.respond(refusal)

    # --- calls that cost money ---------------------------------------------------------------------------

    async def pass_paid_call(
        self, request: Request, task: Task, watch: ModelWatch, parse: Callable[[bytes], ModelCall]
    ) -> Response:
        """Read, reserve, send, and settle at what the answer says, be it a stream or not.

        Raises: Refusal, SlipwayError, ClientDisconnect.
        """
        watch.asks = UNKNOWN
        body = await read_limited(request)
        watch.request_bytes = len(body)
        call = await parsed(parse, body)
        watch.asks = call.model
        exchange = Exchange(request, task, call, watch)
        rules = await self._rules.find(task.org_id)
        if not rules.allows(call.model, task.agent_id) or not rules.keys_for(self.dialect.vendor):
            # What is kept may be older than what would let the call through.
            rules = await self._rules.newest(task.org_id)
        for _ in range(_MOST_RENEWALS):
            try:
                return await self._try_all(exchange, rules)
            except RulesChanged:
                rules = await self._rules.renew(task.org_id)
        raise busy("The rules for models are changing.")

    async def _try_all(self, exchange: Exchange, rules: Rules) -> Response:
        """Ask one candidate after the other.

        Raises: RulesChanged before the first, Refusal, SlipwayError, ClientDisconnect when the caller has left.
        """
        task, call = exchange.task, exchange.call
        rules.refuse(call.model, task.agent_id)
        plan = Plan.of(rules, rules.models_for(call.model, task.agent_id), self.dialect.vendor)
        if plan.is_empty:
            raise no_key(_NO_OWN_KEY)
        failure: Failed | None = None
        for candidate in plan:
            target = self.vendor.target(candidate.own)
            try:
                reservation = await self._reservations.make(task, candidate.model, call.most, rules, target)
                return await self._try_once(exchange, rules, candidate, target, reservation, plan)
            except RulesChanged:
                if failure is None:
                    raise
                rules = await self._rules.renew(task.org_id)
                delay = 0.0 if _stands(candidate, rules, task) else plan.skip()
            except Failed as failed:
                if failure is not None and failure.answer is not None:
                    failure.answer.close()
                failure = failed
                delay = await self._note_failure(failed, plan, task, target)
            if delay is None:
                break
            await pause(delay)
            if await exchange.request.is_disconnected():
                if failure.answer is not None:
                    failure.answer.close()
                raise ClientDisconnect
        if failure is not None and failure.answer is not None:
            exchange.watch.code = f"vendor_{failure.status}"
            return await self.whole(failure.answer, target)
        raise _unavailable()

    async def _note_failure(self, failed: Failed, plan: Plan, task: Task, target: Target) -> float | None:
        """Take a refused key out of use; returns how long to wait before the next try, None when there is none."""
        if failed.status == REFUSES_KEY and target.llm_key_id is not None:
            await run_in_thread(note_refused, task.org_id, target.llm_key_id)
        return plan.fail(failed.status, failed.answer.headers if failed.answer is not None else {})

    async def _try_once(
        self,
        exchange: Exchange,
        rules: Rules,
        candidate: Candidate,
        target: Target,
        reservation: Reservation,
        plan: Plan,
    ) -> Response:
        """Make one try. What it set aside is settled when it fails. Raises: Failed."""
        call, watch = exchange.call, exchange.watch
        watch.asks = candidate.model
        meter, body = self.dialect.meter(call.most), call.body_for(candidate.model)
        try:
            upstream = await self._begin(exchange, target, body, plan)
        except BaseException as error:
            await reservation.settle(NOTHING if isinstance(error, Failed) and error.is_free else None)
            raise
        is_stream = _is_stream(upstream)
        recording = None
        if rules.log is not None:
            recording = Recording(
                exchange.task,
                reservation.record_id,
                self.dialect.vendor,
                candidate.model,
                upstream.status,
                body,
                rules.log,
            )
        headers = {_MODEL_HEADER: candidate.model} if candidate.model != call.model else {}
        if is_stream:
            return ForwardedStream(
                upstream,
                reservation,
                meter,
                watch,
                headers=headers,
                broken=self.dialect.broken_stream,
                recording=recording,
            )
        return await self._settle_whole(exchange, upstream, target, reservation, headers, recording)

    async def _begin(self, exchange: Exchange, target: Target, body: bytes, plan: Plan) -> Answer:
        """Send a call and return the answer that is to be passed on. Raises: Failed."""
        exchange.watch.attempts += 1
        try:
            upstream = await self.send(exchange.request, target, body)
        except NotSent as error:
            log.warning("the vendor was not reached: %s", error)
            raise Failed(0) from error
        except BrokenOff as error:
            # It may have been worked on.
            log.warning("the vendor did not answer: %s", error)
            raise Failed(0, is_free=False) from error
        if may_follow(upstream.status):
            raise Failed(upstream.status, upstream)
        if _is_stream(upstream) and plan.has_more:
            try:
                first = await upstream.peek()
            except BrokenOff as error:
                raise Failed(0, is_free=False) from error
            if self.dialect.failed_stream in first:
                # The vendor took the call and could not begin. Nothing has been passed on.
                raise Failed(529, upstream)
        return upstream

    async def _settle_whole(
        self,
        exchange: Exchange,
        upstream: Answer,
        target: Target,
        reservation: Reservation,
        headers: dict[str, str],
        recording: Recording | None,
    ) -> Response:
        used = None
        try:
            response = await self.whole(upstream, target)
            used = self.dialect.read_usage(bytes(response.body)) if upstream.is_success else NOTHING
        finally:
            await reservation.settle(used)
        exchange.watch.used = used
        if not upstream.is_success:
            exchange.watch.code = f"vendor_{upstream.status}"
        elif await exchange.request.is_disconnected():
            exchange.watch.code = "cancelled"
        if recording is not None:
            recording.add(bytes(response.body))
            await recording.keep()
        response.headers.update(headers)
        return response

    # --- one exchange with the vendor --------------------------------------------------------------------

    async def pass_free_call(
        self, request: Request, task: Task, body: bytes, *, model: str | None
    ) -> Response | None:
        """Pass on what costs nothing, with the first key; None when the server does not know it.

        Raises: Refusal, ModelNotAllowed.
        """
        rules = await self._rules.newest(task.org_id)
        if model is not None:
            rules.refuse(model, task.agent_id)
        keys = rules.keys_for(self.dialect.vendor)
        if not keys:
            raise no_key(_NO_OWN_KEY)
        target = self.vendor.target(keys[0])
        await target.note_use(task)
        try:
            upstream = await self.send(request, target, body)
        except (NotSent, BrokenOff) as error:
            log.warning("the vendor did not answer: %s", error)
            raise _unavailable() from error
        if upstream.status == 404 and request.method == "POST":
            upstream.close()
            return None
        return await self.whole(upstream, target)

    async def list_models(self, request: Request, task: Task) -> Response:
        """Pass the vendor's list on, without the models that the caller may not ask. Raises: Refusal."""
        listed = await self.pass_free_call(request, task, b"", model=None)
        rules = await self._rules.newest(task.org_id)
        if listed is None:
            raise busy("The model's server has no list.")
        is_open = all(bound == ("*",) for bound in rules.bounds) and task.agent_id not in rules.agents
        if is_open or listed.status_code != 200:
            return listed
        body = json.loads(bytes(listed.body))
        body["data"] = [one for one in body["data"] if rules.allows(str(one["id"]), task.agent_id)]
        return JSONResponse(body)

    async def send(self, request: Request, target: Target, body: bytes) -> Answer:
        """Send a call on and return the head of the answer. Raises: NotSent, BrokenOff."""
        dialect = self.dialect
        headers = {name: request.headers[name] for name in dialect.headers_out if name in request.headers}
        # Bytes are looked at on their way back, so they must not be compressed.
        headers["accept-encoding"] = "identity"
        headers["user-agent"] = "slipway"
        headers.update(dialect.key_headers(target.key.get_secret_value()))
        query = "&".join(
            f"{name}={value}"
            for name, value in request.query_params.items()
            if name in dialect.queries_out
            and value.isascii()
            and value.replace("_", "").replace("-", "").isalnum()
        )
        url = f"{target.base_url}/{request.path_params['path']}" + (f"?{query}" if query else "")
        return await self._servers.send(Call(request.method, url, headers, body, target.is_checked))

    async def whole(self, upstream: Answer, target: Target) -> Response:
        """Read an answer to its end and pass it on. Raises: Refusal."""
        try:
            body = await asyncio.wait_for(upstream.read(), MAX_CALL_S)
        except (BrokenOff, TimeoutError) as error:
            message = "The model's answer broke off."
            raise Refusal(502, "api_error", "upstream_broke", message, may_retry=True) from error
        finally:
            upstream.close()
        if upstream.status == REFUSES_KEY or 300 <= upstream.status < 400:
            # Not the caller's token is wrong but our key or address, and trying again does not help.
            whose = "installation's" if target.llm_key_id is None else "organisation's"
            raise Refusal(
                502, "api_error", "model_key_refused", f"The model's server refused the {whose} key."
            )
        return Response(
            without_key(body, target.key.get_secret_value()),
            upstream.status,
            headers_to_pass(upstream.headers),
        )


async def parsed(parse: Callable[[bytes], ModelCall], body: bytes) -> ModelCall:
    """Parse a body: here when it is small, beside the event loop when it would hold the others up."""
    return parse(body) if len(body) <= _INLINE_BYTES else await run_in_thread(parse, body)


def _stands(candidate: Candidate, rules: Rules, task: Task) -> bool:
    """Say whether a candidate is still one by newer rules."""
    keys = rules.keys_for(candidate.own.vendor) if candidate.own is not None else [None]
    ids = [key.id if key is not None else None for key in keys]
    own_id = candidate.own.id if candidate.own is not None else None
    return own_id in ids and rules.allows(candidate.model, task.agent_id)


def _is_stream(answer: Answer) -> bool:
    return answer.is_success and answer.headers.get("content-type", "").startswith(_STREAM)


def _unavailable() -> Refusal:
    message = "The model's server did not answer."
    return Refusal(502, "api_error", "upstream_unavailable", message, may_retry=True, retry_after_s=1)
