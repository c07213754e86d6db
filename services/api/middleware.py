"""What every request and answer of this service gets: an id, a measurement, a span if it may change something, and the
headers that keep browsers safe."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from services.api.metrics import count_request
from services.domain.identity.handover import TRACE_HEADER, unsign_traceparent
from services.kit import tracing
from services.kit.environment import environment
from services.kit.origin import Origin, caller_address, current_origin

_TRACED = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_SANE_ID = re.compile(r"^[A-Za-z0-9._-]{8,100}$")

Respond = Callable[[HttpRequest], HttpResponseBase]


class RequestMarks:
    """Gives each request an id, the caller's own if it is sane, repeats it in the answer, and measures."""

    def __init__(self, get_response: Respond) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        given = request.headers.get("X-Request-ID", "")
        request.request_id = given if _SANE_ID.match(given) else str(uuid.uuid4())  # type: ignore[attr-defined]
        origin = Origin(
            caller_address(request.META, proxies=environment().proxies),
            request.headers.get("User-Agent", ""),
            request.request_id,  # type: ignore[attr-defined]
        )
        token = current_origin.set(origin)
        try:
            response = self._get_response(request)
        finally:
            current_origin.reset(token)
        response["X-Request-ID"] = request.request_id  # type: ignore[attr-defined]
        took_s = time.perf_counter() - started
        count_request(request.method or "", _route_of(request), response.status_code, took_s)
        return response


class Traced:
    """Frames a request that may change something as a span: whatever task or job comes of it is part of its trace.

    Its parent is the span that a sibling service has signed. What anybody else names as theirs is only linked to.
    """

    def __init__(self, get_response: Respond) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method not in _TRACED or not tracing.is_on():
            return self._get_response(request)
        parent = unsign_traceparent(request.headers.get(TRACE_HEADER, "")) or None
        claimed = request.headers.get("traceparent", "")
        with tracing.span("http.request", parent=parent, link=claimed, method=request.method):
            response = self._get_response(request)
            tracing.note(route=_route_of(request), status=response.status_code)
            return response


def _route_of(request: HttpRequest) -> str:
    match = request.resolver_match
    return match.route if match is not None else "unmatched"


def _policy(**directives: str) -> str:
    return "; ".join(f"{name.replace('_', '-')} {value}" for name, value in directives.items())


_STRICT = {
    "default_src": "'none'",
    "script_src": "'self'",
    "style_src": "'self'",
    "img_src": "'self' data:",
    "font_src": "'self'",
    "connect_src": " ".join(("'self'", *settings.CSP_CONNECT)),
    "form_action": "'self'",
    "base_uri": "'none'",
    "frame_ancestors": "'none'",
}
PAGES_POLICY = _policy(**_STRICT)


def policy_with_form_target(source: str) -> str:
    """Return the policy of a page whose form's answer may lead to one address elsewhere."""
    return _policy(**{**_STRICT, "form_action": f"'self' {source}"})


# Pages with a button that leads to an identity provider.
ENTRANCE_POLICY = policy_with_form_target(" ".join(settings.CSP_FORM_TARGETS))

# The admin's own scripts evaluate the expressions in its attributes and set styles inline; only operators open it.
ADMIN_POLICY = _policy(
    **{
        **_STRICT,
        "script_src": "'self' 'unsafe-eval'",
        "style_src": "'self' 'unsafe-inline'",
        "connect_src": "'self'",
    }
)


def _policy_of(path: str) -> str:
    if path.startswith("/admin/"):
        return ADMIN_POLICY
    return ENTRANCE_POLICY if path.startswith(("/auth/", "/sign-in", "/settings/security")) else PAGES_POLICY


class SecurityHeaders:
    """Sets the content security policy and its companions, unless the view has set its own."""

    def __init__(self, get_response: Respond) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        policy = _policy_of(request.path)
        response.headers.setdefault("Content-Security-Policy", policy)
        response.headers.setdefault("X-Frame-Options", "DENY")
        response.headers.setdefault(
            "Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=()"
        )
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        if request.path.startswith(("/v1/", "/hooks/")):
            response.headers.setdefault("Cache-Control", "no-store")
        return response
