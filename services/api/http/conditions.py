"""Versions of objects: `ETag` says which one an answer shows, `If-Match` changes that one only, `If-None-Match` asks
for the object only if it is another one by now. Source: RFC 9110, sections 8.8.3 and 13.1."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import parse_etags

from services.domain.actors import Actor
from services.domain.errors import PreconditionFailed, Temporary
from services.domain.tenancy.transaction import ChangedMeanwhile, one_moment, tenant_transaction

ETAG = "ETag"
IF_MATCH = "If-Match"
IF_NONE_MATCH = "If-None-Match"
# In a busy organisation every change meets others at the row of the organisation's stream; a moment later it is free.
_ATTEMPTS = 20
_PAUSE_S = 0.03

Respond = Callable[[], HttpResponseBase]


def mark_version(response: HttpResponseBase) -> HttpResponseBase:
    """Say in an answer which version of the object it shows: a hash of what it says."""
    if isinstance(response, HttpResponse) and response.status_code < 300 and response.content:
        response[ETAG] = f'"{hashlib.sha256(response.content).hexdigest()[:32]}"'
    return response


def answer_unless_known(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Return the answer to a GET with its version, or 304 when the caller has that one already."""
    marked = mark_version(response)
    known = parse_etags(request.headers.get(IF_NONE_MATCH, ""))
    etag = marked.headers.get(ETAG)
    if etag is None or not ("*" in known or etag in {one.removeprefix("W/") for one in known}):
        return marked
    return HttpResponse(status=304, headers={ETAG: etag})


def change_if_match(
    request: HttpRequest, actor: Actor, show: Respond, change: Respond, *, is_waiting: bool
) -> HttpResponseBase:
    """Change an object if it still is the version that the request names; whoever else changes it loses no work.

    The version is looked at and the change made in one transaction that sees one moment, so that a writer between the
    two, here or in another service, makes it begin again. Raises: PreconditionFailed, Temporary.
    """
    wanted = parse_etags(request.headers[IF_MATCH])
    if is_waiting:
        with tenant_transaction(actor.org_id):
            _require(wanted, show)
        return change()
    for _ in range(_ATTEMPTS):
        try:
            with one_moment(actor.org_id):
                _require(wanted, show)
                return change()
        except ChangedMeanwhile:
            time.sleep(random.uniform(0, _PAUSE_S))  # noqa: S311
    raise Temporary("The object is changed by others all the time. Try again.", retry_after_s=1)


def _require(wanted: list[str], show: Respond) -> None:
    now = mark_version(show()).headers[ETAG]
    if "*" not in wanted and now not in wanted:
        raise PreconditionFailed("The object is not the version that If-Match names.", etag=now)
