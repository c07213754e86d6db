"""The header by which a caller makes a retry harmless."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from services.domain.actors import Actor
from services.domain.errors import Invalid
from services.domain.idempotency.keeping import (
    Answered,
    Keyed,
    announce,
    find_answer,
    hash_of,
    keep_answer,
    take_back,
)
from services.domain.tenancy.transaction import tenant_transaction

IDEMPOTENCY_KEY = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
MAX_KEY_CHARS = 150


def read_idempotency_key(value: str | None) -> str | None:
    """Return a usable key, or None when there is none. Raises: Invalid."""
    if value is None:
        return None
    if not value.strip() or len(value) > MAX_KEY_CHARS:
        raise Invalid(
            f"An {IDEMPOTENCY_KEY} has 1 to {MAX_KEY_CHARS} characters.", fields={IDEMPOTENCY_KEY: "length"}
        )
    return value


def answer_once(
    request: HttpRequest, actor: Actor, respond: Callable[[], HttpResponseBase], *, is_waiting: bool
) -> HttpResponseBase:
    """Answer a request that changes something; one that comes again with its key gets the first one's answer.

    Only success is kept: a request that was refused has done nothing, and may be tried again.
    Raises: Invalid, IdempotencyKeyInUse, IdempotencyKeyReused.
    """
    key = read_idempotency_key(request.headers.get(IDEMPOTENCY_KEY))
    if key is None:
        return respond()
    asked = hash_of(str(request.method).encode(), request.get_full_path().encode(), request.body)
    keyed = Keyed(actor, key, asked)
    if is_waiting:
        return _answer_announced(keyed, respond)
    with tenant_transaction(actor.org_id):
        found = find_answer(keyed)
        if found is not None:
            return _again(found)
        response = respond()
        keep_answer(keyed, _read(response))
        return response


def _answer_announced(keyed: Keyed, respond: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    found = announce(keyed)
    if found is not None:
        return _again(found)
    try:
        response = respond()
    except Exception:
        take_back(keyed)
        raise
    with tenant_transaction(keyed.actor.org_id):
        keep_answer(keyed, _read(response))
    return response


def _read(response: HttpResponseBase) -> Answered:
    body = response.content.decode() if isinstance(response, HttpResponse) else ""
    return Answered(response.status_code, body)


def _again(found: Answered) -> HttpResponse:
    response = HttpResponse(found.body.encode(), status=found.status, headers={REPLAYED: "true"})
    if found.body:
        response["Content-Type"] = "application/json"
    else:
        del response["Content-Type"]
    return response
