"""The answers to what agents ask, given on the page of their workspace."""

from __future__ import annotations

import uuid

from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from services.api.dashboard.pages import PageRequest, attempt, page, wants_json
from services.domain.errors import Invalid
from services.domain.questions.actions import answer_question
from services.domain.questions.queries import get_question
from services.domain.tenancy.transaction import tenant_transaction

VIA = "dashboard"


@page
@require_POST
def answer(request: PageRequest, question_id: uuid.UUID) -> HttpResponse:
    """Answer a question by a button or in words; goes back to its workspace."""
    with tenant_transaction(request.actor.org_id):
        workspace_id = get_question(request.actor, question_id).workspace_id
    option, text = _read(request)

    def give() -> object:
        return answer_question(request.actor, question_id, text=text, option=option, via=VIA)

    if wants_json(request):
        give()
        return JsonResponse({}, status=202)
    attempt(request, give, "Answered.")
    return redirect("dashboard:workspace", workspace_id=workspace_id)


def _read(request: PageRequest) -> tuple[int | None, str]:
    chosen = request.POST.get("option", "")
    if not chosen:
        return None, request.POST.get("text", "").replace("\x00", "")[:20_000]
    if not (chosen.isascii() and chosen.isdecimal() and len(chosen) < 4):
        raise Invalid("There is no such option.")
    return int(chosen), ""
