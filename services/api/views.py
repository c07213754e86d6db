"""The views that belong to no resource: alive, ready, metrics, and what answers when no route does."""

from __future__ import annotations

import ipaddress

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.api.http.failures import Internal, answer_error
from services.api.readiness import check_dependencies
from services.domain.errors import MalformedBody, Missing, NotPermitted

_JSON_PATHS = ("/v1", "/hooks")


@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """Say that the process is alive."""
    return JsonResponse({"status": "alive"})


@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """Say whether requests can be served, and how each dependency is.

    Without RabbitMQ or Redis the service is degraded and not away: jobs wait in the outbox, and live streams are
    repaired from PostgreSQL.
    """
    found = check_dependencies()
    return JsonResponse(
        {"status": found.status, "dependencies": found.states}, status=200 if found.can_serve else 503
    )


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Show the process's counters, to this machine only, and not through a proxy."""
    if not _is_local(request):
        raise Http404
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)


@csrf_exempt
def no_such_route(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer for every unknown path below `/v1/` and `/hooks/`."""
    return answer_error(request, Missing("There is no such route."))


def no_such_page(request: HttpRequest) -> HttpResponse:
    """Answer for a page that a library would have and that we do not offer."""
    raise Http404


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404: in the API's form below its paths, else as a page."""
    if request.path.startswith(_JSON_PATHS):
        return no_such_route(request)
    return defaults.page_not_found(request, exception)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400 for what Django itself refuses, such as a foreign Host header."""
    return answer_error(request, MalformedBody("The request is not well formed."))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403."""
    if request.path.startswith(_JSON_PATHS):
        return answer_error(request, NotPermitted("This is not permitted."))
    return defaults.permission_denied(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500 without a word about why: the log has it, under the request's id."""
    if request.path.startswith(_JSON_PATHS):
        return answer_error(request, Internal("Something went wrong on our side."))
    return defaults.server_error(request)


def _is_local(request: HttpRequest) -> bool:
    if any(name in request.headers for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP")):
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
