"""The one place where an exception becomes an answer: `{"error": {"code", "message", "details", "request_id"}}`."""

from __future__ import annotations

import logging
import math
from typing import Any

import psycopg
from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import DataError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from pydantic import BaseModel, ValidationError
from rest_framework.exceptions import APIException

from services.api.http.bodies import explain
from services.domain.errors import (
    BodyTooLarge,
    Conflict,
    Invalid,
    MalformedBody,
    Missing,
    NotPermitted,
    SlipwayError,
    Temporary,
    Unauthenticated,
)
from services.kit.environment import environment

log = logging.getLogger(__name__)

_DISCARDED_BYTES = 16 * 1024 * 1024


class ErrorDetail(BaseModel):
    """What went wrong: `code` is stable, `message` may be shown to people, `details` depends on the code.

    `doc_url` is a page that says what the code means and what to do about it.
    """

    code: str
    message: str
    details: dict[str, Any]
    request_id: str
    doc_url: str


class ErrorBody(BaseModel):
    """The body of every answer of 4xx and 5xx."""

    error: ErrorDetail


class Internal(SlipwayError):
    """Something of ours is broken. The request id finds it in the log."""

    code = "internal"
    status = 500


def answer_failure(error: Exception, context: dict[str, Any]) -> HttpResponse:
    """Answer DRF's call for an exception that a view raised."""
    request: HttpRequest = context["request"]._request
    return answer_error(request, error)


def answer_error(request: HttpRequest, error: Exception) -> HttpResponse:
    """Answer any exception in the contract's one form."""
    request_id = getattr(request, "request_id", "")
    if isinstance(error, APIException):
        known, status = _from_framework(error), error.status_code
    else:
        known = find_family(error)
        status = known.status
    if isinstance(known, Internal):
        log.error("request %s failed", request_id, exc_info=error)
    if isinstance(error, RequestDataTooBig | BodyTooLarge) or request.method == "PUT":
        _discard_body(request)
    detail = ErrorDetail(
        code=known.code,
        message=known.message,
        details=_shown_details(known),
        request_id=request_id,
        doc_url=f"{environment().public_url.rstrip('/')}/docs/problems/{known.code}",
    )
    response = JsonResponse(ErrorBody(error=detail).model_dump(mode="json"), status=status)
    if status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="slipway"'
    wait = getattr(known, "retry_after_s", None)
    if wait is not None:
        response["Retry-After"] = str(max(1, math.ceil(wait)))
    return response


def find_family(error: Exception) -> SlipwayError:
    """Return the error of ours that says what any exception means to a caller."""
    known: SlipwayError
    if isinstance(error, SlipwayError):
        known = error
    elif isinstance(error, ValidationError):
        known = explain(error)
    elif isinstance(error, RequestDataTooBig):
        known = BodyTooLarge("The body is too large.")
    elif isinstance(error, Http404):
        known = Missing("There is no such thing.")
    elif isinstance(error, PermissionDenied):
        known = NotPermitted("This is not permitted.")
    elif isinstance(error, BadRequest | SuspiciousOperation | UnreadablePostError):
        known = MalformedBody("The request is not well formed.")
    elif isinstance(error, OperationalError | InterfaceError | psycopg.OperationalError):
        log.warning("the database did not serve a request: %s", error)
        known = Temporary("This did not work now. Try again.", retry_after_s=2)
    elif isinstance(error, IntegrityError):
        log.warning("a constraint refused a request: %s", error)
        known = Conflict("Something with these values exists, or changed at the same time.")
    elif isinstance(error, DataError):
        log.warning("the database refused a value: %s", error)
        known = Invalid("A value cannot be stored.")
    else:
        known = Internal("Something went wrong on our side.")
    return known


def _from_framework(error: APIException) -> SlipwayError:
    """Return an error with the code of DRF's own one: `method_not_allowed`, `unsupported_media_type`, …"""
    if error.status_code == 401:
        return Unauthenticated("Sign in, or send `Authorization: Bearer <token>`.")
    known = Invalid(str(error.detail))
    known.code = str(error.default_code)  # type: ignore[misc]  # the framework's errors have no classes of ours
    return known


def _shown_details(error: SlipwayError) -> dict[str, Any]:
    return {name: value for name, value in error.details.items() if value is not None}


def _discard_body(request: HttpRequest) -> None:
    """Read on for a while, so that the caller, who is still sending, gets to see the answer instead of a reset."""
    left = _DISCARDED_BYTES
    try:
        while left > 0 and (chunk := request.read(min(left, 65_536))):
            left -= len(chunk)
    except OSError as error:
        log.info("a caller hung up while sending too large a body: %s", error)
