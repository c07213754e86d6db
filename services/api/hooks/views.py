"""Webhooks: what strangers call. Nothing is believed before it is verified, and nothing they send makes a 500."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.http import HttpResponse, JsonResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from services.api.hooks.receive import receive_update
from services.api.http.bodies import read_raw
from services.api.http.idempotency import IDEMPOTENCY_KEY, read_idempotency_key
from services.api.v1.playbooks import RunShape
from services.domain.playbooks.actions import all_tenants_accept_hook
from services.domain.ports.chat import HookRequest
from services.kit.clock import now

SIGNATURE_HEADER = "Slipway-Signature"


class Hook(APIView):
    """A path that no session and no token authenticates: the request's own signature does."""

    schema = None
    authentication_classes = []
    http_method_names = ["post"]


class PlatformHook(Hook):
    """What a chat platform calls for one link."""

    http_method_names = ["get", "post"]

    def get(self, request: Request, kind: str, link_id: uuid.UUID) -> HttpResponse:
        """Answer a platform that looks whether the address is ours before it sends anything there."""
        return self._take(request, kind, link_id)

    def post(self, request: Request, kind: str, link_id: uuid.UUID) -> HttpResponse:
        """Keep what came in and answer at once."""
        return self._take(request, kind, link_id)

    def _take(self, request: Request, kind: str, link_id: uuid.UUID) -> HttpResponse:
        plain = request._request
        body = read_raw(plain, max_bytes=settings.MAX_HOOK_BODY_BYTES)
        headers = {name.lower(): value for name, value in plain.headers.items()}
        update = HookRequest(plain.method or "", headers, plain.GET.dict(), body, now())
        reply = receive_update(kind, link_id, update)
        return HttpResponse(reply.body, status=reply.status, content_type=reply.content_type)


class PlaybookHook(Hook):
    """What another system calls to fire one playbook."""

    def post(self, request: Request, playbook_id: uuid.UUID) -> HttpResponse:
        """Fire the playbook once for each Idempotency-Key, or without one once for each signature."""
        plain = request._request
        run = all_tenants_accept_hook(
            playbook_id,
            body=read_raw(plain, max_bytes=settings.MAX_HOOK_BODY_BYTES),
            signature=plain.headers.get(SIGNATURE_HEADER, ""),
            key=read_idempotency_key(plain.headers.get(IDEMPOTENCY_KEY)),
        )
        return JsonResponse(RunShape.of(run).model_dump(mode="json"), status=202)
