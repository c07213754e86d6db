"""Who may write to a bot without being a member: the link's rule, and a person's word about each."""

from __future__ import annotations

import uuid

from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from services.api.dashboard.forms.chats import UnknownSendersForm
from services.api.dashboard.pages import PageRequest, attempt, page
from services.api.linking import change_link
from services.domain.chats.queries import get_link
from services.domain.contacts.senders import decide_sender, forget_sender
from services.domain.errors import Invalid
from services.domain.tenancy.transaction import tenant_transaction


@page
@require_POST
def change_policy(request: PageRequest, link_id: uuid.UUID) -> HttpResponse:
    """Say what becomes of people whom nobody here knows."""
    with tenant_transaction(request.actor.org_id):
        get_link(request.actor, link_id)
    form = UnknownSendersForm(request.POST)
    if not form.is_valid():
        raise Invalid("There is no such rule.")
    attempt(request, lambda: change_link(request.actor, link_id, form.values()), "Saved.")
    return redirect("dashboard:link", link_id=link_id)


@page
@require_POST
def allow(request: PageRequest, link_id: uuid.UUID, sender_id: uuid.UUID) -> HttpResponse:
    """Hear a sender from now on, and what waits."""
    attempt(request, lambda: decide_sender(request.actor, link_id, sender_id, "allowed"), "They are let in.")
    return redirect("dashboard:link", link_id=link_id)


@page
@require_POST
def deny(request: PageRequest, link_id: uuid.UUID, sender_id: uuid.UUID) -> HttpResponse:
    """Hear a sender no more."""
    attempt(request, lambda: decide_sender(request.actor, link_id, sender_id, "denied"), "They are refused.")
    return redirect("dashboard:link", link_id=link_id)


@page
@require_POST
def forget(request: PageRequest, link_id: uuid.UUID, sender_id: uuid.UUID) -> HttpResponse:
    """Forget what was said about a sender."""
    attempt(request, lambda: forget_sender(request.actor, link_id, sender_id), "They are forgotten.")
    return redirect("dashboard:link", link_id=link_id)
