"""Endpoints: a path, its methods, and all that is the same for each of them.

A method of an `Endpoint` marked with `@operation` takes the actor's call, the path's ids, and if it wants them
`body` and `query`, each annotated with a closed model; what it returns is annotated too. The annotations are read
once: they check what comes in, and the OpenAPI document is made from them, so that the two cannot disagree.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast, get_type_hints

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from pydantic import BaseModel
from rest_framework.request import Request
from rest_framework.views import APIView

from services.api.http.authentication import ORG_PARAMETER
from services.api.http.bodies import NoFields, read_body, read_query
from services.api.http.conditions import IF_MATCH, answer_unless_known, change_if_match, mark_version
from services.api.http.idempotency import IDEMPOTENCY_KEY, answer_once
from services.api.http.rates import count_request, tell_rates
from services.api.http.shapes import Page
from services.domain.actors import Actor
from services.domain.errors import Invalid, MalformedBody, SlipwayError, Unauthenticated
from services.domain.tenancy.transaction import tenant_transaction

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_IGNORED_PARAMETERS = frozenset({ORG_PARAMETER})


class NoQuery(NoFields):
    """The query string of an operation that takes none."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operation: who calls, and the headers that the operation declared."""

    actor: Actor
    headers: Mapping[str, str | None]


class Upload:
    """A body of bytes, read as it comes: what an operation gets that has a parameter `upload`."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @property
    def size(self) -> int:
        """The size that was announced. Raises: MalformedBody."""
        length = self._request.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > 18:
            raise MalformedBody("Send the bytes with a Content-Length.")
        return int(length)

    def chunks(self, chunk_bytes: int = 128 * 1024) -> Iterator[bytes]:
        """Yield the body in pieces."""
        while chunk := self._request.read(chunk_bytes):
            yield chunk


@dataclass(frozen=True, slots=True)
class Download:
    """Bytes to send as they come: what an operation returns in place of a shape. `close` is called at the end."""

    chunks: Iterator[bytes]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """What an operation takes and gives, as its annotations say. `answer` None means an empty answer."""

    summary: str
    status: int
    errors: tuple[type[SlipwayError], ...]
    headers: tuple[str, ...]
    body: type[BaseModel] | None
    query: type[BaseModel]
    answer: Any
    takes_bytes: bool = False
    is_waiting: bool = False

    @property
    def shows_object(self) -> bool:
        """Say whether the answer is one object: not bytes, nothing, or a page of a list."""
        is_model = isinstance(self.answer, type) and issubclass(self.answer, BaseModel)
        return is_model and not issubclass(self.answer, Page)


def operation(
    *,
    status: int = 200,
    errors: tuple[type[SlipwayError], ...] = (),
    headers: tuple[str, ...] = (),
    is_waiting: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., HttpResponseBase]]:
    """Turn a method of an endpoint into an operation. `errors` and `headers` are what its document names.

    One that `is_waiting` for somebody outside opens its transactions itself: none is held meanwhile.
    """

    def decorate(method: Callable[..., Any]) -> Callable[..., HttpResponseBase]:
        @functools.wraps(method)
        def respond(self: Endpoint, request: Request, **ids: Any) -> HttpResponseBase:
            operated = operation_of(respond)
            plain = request._request
            given: dict[str, Any] = dict(ids)
            query = read_query(plain, operated.query, ignored=_IGNORED_PARAMETERS)
            if not isinstance(query, NoQuery):
                given["query"] = query
            if operated.takes_bytes:
                given["upload"] = Upload(plain)
            elif operated.body is not None:
                given["body"] = read_body(plain, operated.body)
            elif request.method in _WRITES:
                read_body(plain, NoFields)
            actor = cast("Actor", request.auth)
            call = Call(actor, {name: plain.headers.get(name) for name in operated.headers})

            def answer() -> HttpResponseBase:
                with nullcontext() if operated.is_waiting else _reading(plain, call.actor):
                    return _answered(method(self, call, **given), operated.status)

            return self._mannerly(plain, call.actor, operated, ids, answer)

        respond.is_operation = True  # type: ignore[attr-defined]
        respond.declared = (status, errors, headers, is_waiting)  # type: ignore[attr-defined]
        return respond

    return decorate


@functools.cache
def operation_of(respond: Callable[..., HttpResponseBase]) -> Operation:
    """Return what a method marked with `@operation` declares, read from its annotations."""
    status, errors, headers, is_waiting = respond.declared  # type: ignore[attr-defined]
    method = inspect.unwrap(respond)
    hints = get_type_hints(method)
    answer = hints["return"]
    return Operation(
        summary=(inspect.getdoc(method) or "").partition("\n")[0].rstrip("."),
        status=204 if answer is type(None) else status,
        errors=errors,
        headers=headers,
        body=hints.get("body"),
        query=hints.get("query", NoQuery),
        answer=None if answer is type(None) else answer,
        takes_bytes="upload" in hints,
        is_waiting=is_waiting,
    )


class Endpoint(APIView):
    """One path of the API. Its methods are operations; nobody who is not authenticated reaches them."""

    schema = None
    tag: ClassVar[str]
    http_method_names = ["get", "head", "post", "put", "patch", "delete"]

    def perform_authentication(self, request: Request) -> None:
        """Refuse a call of nobody, and put the actor where everything else looks for it."""
        if request.auth is None:
            raise Unauthenticated("Sign in, or send `Authorization: Bearer <token>`.")
        request._request.actor = request.auth  # type: ignore[attr-defined]  # our own attribute
        count_request(request._request, cast("Actor", request.auth))

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Tell the caller, whatever the answer, how many more requests are welcome."""
        tell_rates(getattr(request, "_request", request), response)
        return super().finalize_response(request, response, *args, **kwargs)

    def _mannerly(
        self,
        request: HttpRequest,
        actor: Actor,
        operated: Operation,
        ids: dict[str, Any],
        answer: Callable[[], HttpResponseBase],
    ) -> HttpResponseBase:
        """Answer with what all operations of a method have: versions of objects, or requests that count once."""
        if request.method in ("GET", "HEAD"):
            return answer_unless_known(request, answer()) if operated.shows_object else answer()
        if request.method == "POST":
            if IDEMPOTENCY_KEY in operated.headers or operated.takes_bytes:
                return answer()  # its action sees to that itself
            return answer_once(request, actor, answer, is_waiting=operated.is_waiting)
        if IF_MATCH in request.headers:
            shown = self.version_shown_by()
            if shown is None:
                raise Invalid(
                    f"There is no version to match here: leave {IF_MATCH} out.", fields={IF_MATCH: "not here"}
                )
            show = functools.partial(_show, self, shown, actor, ids)
            answered = change_if_match(request, actor, show, answer, is_waiting=operated.is_waiting)
        else:
            answered = answer()
        return (
            mark_version(answered)
            if operated.answer is not None and self._is_shown_whole(operated)
            else answered
        )

    def _is_shown_whole(self, operated: Operation) -> bool:
        shown = self.version_shown_by()
        return shown is not None and operation_of(shown).answer is operated.answer

    @classmethod
    def version_shown_by(cls) -> Callable[..., HttpResponseBase] | None:
        """Return the GET whose answer is the version of this path's object; None when the path has no object."""
        shown = getattr(cls, "get", None)
        is_one = hasattr(shown, "is_operation") and operation_of(shown).shows_object
        return shown if is_one and operation_of(shown).query is NoQuery else None

    @classmethod
    def operations(cls) -> dict[str, Operation]:
        """Return the operations by HTTP method, in lower case."""
        found = {name: getattr(cls, name, None) for name in cls.http_method_names}
        return {
            name: operation_of(method) for name, method in found.items() if hasattr(method, "is_operation")
        }


def _reading(request: HttpRequest, actor: Actor) -> AbstractContextManager[None]:
    """Open the tenant's transaction for a read, its answer included. A change is the action's own transaction."""
    return nullcontext() if request.method in _WRITES else tenant_transaction(actor.org_id)


def _show(
    endpoint: Endpoint, shown: Callable[..., HttpResponseBase], actor: Actor, ids: dict[str, Any]
) -> HttpResponseBase:
    result = inspect.unwrap(shown)(endpoint, Call(actor, {}), **ids)
    return _answered(result, 200)


def streamed(download: Download) -> StreamingHttpResponse:
    """Return the answer that sends bytes as they come."""
    return StreamingHttpResponse(download.chunks, status=download.status, headers=dict(download.headers))


def _answered(result: BaseModel | Download | None, status: int) -> HttpResponseBase:
    if isinstance(result, Download):
        return streamed(result)
    if result is None:
        return HttpResponse(status=204)
    return HttpResponse(result.model_dump_json().encode(), content_type="application/json", status=status)
