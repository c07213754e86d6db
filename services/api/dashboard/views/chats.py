"""Links to chat platforms, their chats and wirings, and what was delivered."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from services.adapters.chat.registry import find_adapter, list_adapters
from services.api.dashboard.forms.chats import LinkForm, NewChatForm, UnknownSendersForm, WiringForm
from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.api.linking import (
    adapters,
    add_link,
    begin_chat,
    check_link,
    connect_link,
    list_chat_addresses,
    remove_link,
    setup_before,
    setup_steps,
)
from services.domain.agents.models import Agent
from services.domain.agents.queries import list_agents_by_name
from services.domain.chats.actions import retry_delivery
from services.domain.chats.explaining import explain_reason
from services.domain.chats.health import hook_url, list_history
from services.domain.chats.models import Chat, Delivery, DeliveryStatus, InboundMessage, Link
from services.domain.chats.queries import (
    get_chat,
    get_delivery,
    get_link,
    get_wiring,
    list_chats_of_link,
    list_last_decided,
    list_last_deliveries,
    list_links,
    list_wirings,
)
from services.domain.chats.wirings import WiringFields, create_wiring, delete_wiring, update_wiring
from services.domain.contacts.accounts import issue_account_code, list_accounts
from services.domain.contacts.senders import list_last_senders
from services.domain.errors import Limited, Missing, NotPermitted
from services.domain.identity.models import Membership
from services.domain.identity.queries import list_members
from services.domain.media.models import InboundFile
from services.domain.ports.chat_abilities import BeginsChats
from services.domain.rooms.telling import KIND as ROOMS
from services.domain.tenancy.transaction import tenant_transaction

PAGE_SIZE = 50
HISTORY_SHOWN = 10
BECAME = ("task", "steered", "context", "dropped", "held", "refused", "rejected", "no_wiring", "failed")


@page
@require_safe
def links(request: PageRequest) -> HttpResponse:
    """List the links, and the platforms that can be linked."""
    return show(
        request,
        "dashboard/links/list.html",
        lambda: {
            "links": sorted(
                list_links(request.actor).select_related("default_agent").exclude(kind=ROOMS),
                key=lambda row: row.name,
            ),
            "platforms": [a.manifest for a in list_adapters() if not a.manifest.is_own],
        },
    )


@page
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def new_link(request: PageRequest, kind: str) -> HttpResponse:
    """Keep a bot's credentials and try them at the platform; the link's page shows what it said."""
    adapter = find_adapter(kind)
    if adapter is None or adapter.manifest.is_own:
        raise Missing("There is no such platform.")
    form = LinkForm(request.POST or None, adapter=adapter, agents=_agents(request))
    made: list[Link] = []
    if request.method == "POST" and form.submit(
        lambda given: made.append(add_link(request.actor, kind=kind, **given))
    ):
        attempt(request, lambda: connect_link(request.actor, made[0].id), "The bot is linked.")
        return redirect("dashboard:link", link_id=made[0].id)
    return show(
        request,
        "dashboard/links/new.html",
        lambda: {"form": form, "platform": adapter.manifest, "setup": setup_before(kind)},
        status=form.status,
    )


@page
@require_safe
def link(request: PageRequest, link_id: uuid.UUID) -> HttpResponse:
    """Show a link: its state, its hook's address, its chats with their wirings, and who wrote unknown."""
    return show(request, "dashboard/links/link.html", lambda: _link_context(request, link_id))


@page
@require_POST
def connect(request: PageRequest, link_id: uuid.UUID) -> HttpResponse:
    """Try a link's credentials again."""
    attempt(request, lambda: connect_link(request.actor, link_id), "The bot is linked.")
    return redirect("dashboard:link", link_id=link_id)


@page
@require_POST
def pair(request: PageRequest, link_id: uuid.UUID) -> HttpResponse:
    """Make a code that pairs one's own account with this bot; it is shown in the answer, and never again."""
    try:
        issued = issue_account_code(request.actor, link_id)
    except (Limited, NotPermitted) as error:
        messages.error(request, error.message)
        return redirect("dashboard:link", link_id=link_id)
    addresses = list_chat_addresses(request.actor, issued.code, link_id)
    return show(
        request,
        "dashboard/links/link.html",
        lambda: _link_context(request, link_id) | {"issued": issued, "addresses": addresses},
    )


@page
@require_POST
def begin(request: PageRequest, link_id: uuid.UUID) -> HttpResponse:
    """Begin a direct chat with a person."""
    made: list[Chat] = []
    person_id = request.POST.get("person_id", "").strip()[:200]
    if attempt(
        request, lambda: made.append(begin_chat(request.actor, link_id, person_id)), "The chat is there."
    ):
        return redirect("dashboard:chat", chat_id=made[0].id)
    return redirect("dashboard:link", link_id=link_id)


@page
@require_POST
def check(request: PageRequest, link_id: uuid.UUID) -> HttpResponse:
    """Ask the platform now whether a link works; its page shows what came of it."""
    attempt(request, lambda: check_link(request.actor, link_id), "The platform was asked.")
    return redirect("dashboard:link", link_id=link_id)


@page
@require_POST
def delete(request: PageRequest, link_id: uuid.UUID) -> HttpResponse:
    """Unlink a bot."""
    attempt(request, lambda: remove_link(request.actor, link_id), "The bot is unlinked.")
    return redirect("dashboard:links")


@page
@require_safe
def chat(request: PageRequest, chat_id: uuid.UUID) -> HttpResponse:
    """Show a chat: its wirings, and of each message why it was answered or not."""
    return show(request, "dashboard/links/chat.html", lambda: _chat_context(request, chat_id))


@page
@require_http_methods(["GET", "HEAD", "POST"])
def wire(request: PageRequest, chat_id: uuid.UUID) -> HttpResponse:
    """Wire a chat to an agent."""
    with tenant_transaction(request.actor.org_id):
        found = get_chat(request.actor, chat_id)
    form = WiringForm(request.POST or None, agents=_agents(request), members=_members(request))
    if request.method == "POST" and form.submit(
        lambda given: create_wiring(request.actor, WiringFields.model_validate({**given, "chat_id": chat_id}))
    ):
        messages.success(request, "The chat is wired.")
        return redirect("dashboard:chat", chat_id=chat_id)
    return show(
        request, "dashboard/links/wiring.html", lambda: {"form": form, "chat": found}, status=form.status
    )


@page
@require_http_methods(["GET", "HEAD", "POST"])
def wiring(request: PageRequest, wiring_id: uuid.UUID) -> HttpResponse:
    """Change when an agent answers in a chat."""
    with tenant_transaction(request.actor.org_id):
        found = get_wiring(request.actor, wiring_id)
    form = WiringForm(
        request.POST or None,
        initial=WiringForm.initial_of(found),
        agents=(),
        members=_members(request),
        wiring=found,
    )
    if request.method == "POST" and form.submit(lambda given: update_wiring(request.actor, wiring_id, given)):
        messages.success(request, "Saved.")
        return redirect("dashboard:chat", chat_id=found.chat_id)
    return show(
        request,
        "dashboard/links/wiring.html",
        lambda: {"form": form, "chat": found.chat, "wiring": found},
        status=form.status,
    )


@page
@require_POST
def unwire(request: PageRequest, wiring_id: uuid.UUID) -> HttpResponse:
    """Remove a wiring."""
    with tenant_transaction(request.actor.org_id):
        chat_id = get_wiring(request.actor, wiring_id).chat_id
    attempt(request, lambda: delete_wiring(request.actor, wiring_id), "The wiring is removed.")
    return redirect("dashboard:chat", chat_id=chat_id)


@page
@require_safe
def deliveries(request: PageRequest) -> HttpResponse:
    """List the last deliveries with what became of them."""
    return show(request, "dashboard/deliveries.html", lambda: _deliveries(request))


@page
@require_safe
def delivery(request: PageRequest, delivery_id: uuid.UUID) -> HttpResponse:
    """Show a delivery: what was to be sent where, and every attempt."""
    return show(
        request,
        "dashboard/delivery.html",
        lambda: {"delivery": get_delivery(request.actor, delivery_id)},
    )


@page
@require_POST
def retry(request: PageRequest, delivery_id: uuid.UUID) -> HttpResponse:
    """Send a failed delivery again."""
    attempt(request, lambda: retry_delivery(request.actor, delivery_id), "It is being sent again.")
    return redirect("dashboard:deliveries")


def _agents(request: PageRequest) -> list[Agent]:
    with tenant_transaction(request.actor.org_id):
        return list_agents_by_name(request.actor)


def _members(request: PageRequest) -> list[Membership]:
    with tenant_transaction(request.actor.org_id):
        return list(list_members(request.actor))


@dataclass(frozen=True, slots=True)
class ShownVerdict:
    """What one wiring made of a message, in words."""

    agent: str
    becomes: str
    why: str
    detail: str


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """A message with what became of it, and why."""

    message: InboundMessage
    became: str
    writer: str
    verdicts: list[ShownVerdict]
    files: list[InboundFile]


def _chat_context(request: PageRequest, chat_id: uuid.UUID) -> dict[str, Any]:
    became = request.GET.get("became", "")
    became = became if became in BECAME else ""
    before = _uuid(request.GET.get("before", ""))
    rows = list_last_decided(request.actor, chat_id, became=became, before=before, limit=PAGE_SIZE + 1)
    shown = rows[:PAGE_SIZE]
    return {
        "chat": get_chat(request.actor, chat_id),
        "wirings": list(list_wirings(request.actor).filter(chat_id=chat_id).order_by("-priority", "id")),
        "messages_in": _shown_messages(shown),
        "became": became,
        "all_became": BECAME,
        "older": shown[-1].id if len(rows) > PAGE_SIZE else None,
    }


def _shown_messages(messages_in: Sequence[InboundMessage]) -> list[ShownMessage]:
    files: dict[uuid.UUID, list[InboundFile]] = {}
    for file in InboundFile.objects.filter(message__in=messages_in).order_by("message_id", "number"):
        files.setdefault(file.message_id, []).append(file)
    return [_shown_message(message, files.get(message.id, [])) for message in messages_in]


def _shown_message(message: InboundMessage, files: list[InboundFile]) -> ShownMessage:
    decision = getattr(message, "decision", None)
    became = message.outcome.partition(":")[0].partition(" ")[0] if message.routed_at else "pending"
    entries = decision.wirings if decision is not None else []
    return ShownMessage(
        message,
        became,
        explain_reason(decision.reason) if decision is not None and decision.ruling else "",
        [
            ShownVerdict(one["agent"], one["becomes"], explain_reason(one["reason"]), one["detail"])
            for one in entries
        ],
        files,
    )


def _link_context(request: PageRequest, link_id: uuid.UUID) -> dict[str, Any]:
    found = get_link(request.actor, link_id)
    adapter = adapters()[found.kind]
    return {
        "link": found,
        "platform": adapter.manifest,
        "hook_url": hook_url(found),
        "setup": setup_steps(found),
        "chat_form": NewChatForm(hint=adapter.person_hint) if isinstance(adapter, BeginsChats) else None,
        "chats": list_chats_of_link(request.actor, link_id),
        "listener": getattr(found, "listener", None),
        "history": list(list_history(request.actor, link_id).order_by("-id")[:HISTORY_SHOWN]),
        "is_paired": list_accounts(request.actor).filter(link_id=link_id).exists(),
        "senders": list_last_senders(request.actor, link_id),
        "senders_form": UnknownSendersForm(initial={"unknown_senders": found.unknown_senders}),
    }


def _deliveries(request: PageRequest) -> dict[str, Any]:
    status = request.GET.get("status", "")
    status = status if status in DeliveryStatus.values else ""
    rows: list[Delivery] = list_last_deliveries(
        request.actor, status=status, before=_uuid(request.GET.get("before", "")), limit=PAGE_SIZE + 1
    )
    shown = rows[:PAGE_SIZE]
    return {
        "deliveries": shown,
        "status": status,
        "statuses": DeliveryStatus.values,
        "older": shown[-1].id if len(rows) > PAGE_SIZE else None,
    }


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
