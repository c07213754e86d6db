"""What a program has to know before it can ask for anything: where things are and how to sign in."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from services.kit.environment import environment

SERVICE_PATH = "/.well-known/slipway"


@require_safe
def describe_service(request: HttpRequest) -> HttpResponse:
    """Say where the API and the streams are; it names nobody's objects, so anybody may read it."""
    env = environment()
    base = env.public_url.rstrip("/")
    return JsonResponse(
        {
            "api_url": f"{base}/v1",
            "realtime_url": env.realtime_public_url.rstrip("/"),
            "openapi_url": f"{base}/v1/openapi.json",
            "authorization_server": base,
        }
    )
