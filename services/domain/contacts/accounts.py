"""Whose an account on a platform is: proved by a code that its holder sends to the bot in a direct chat."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import QuerySet

from services.domain.actors import Actor, require
from services.domain.audit.models import AuditAction
from services.domain.audit.recording import Subject, record_audit
from services.domain.chats.models import Chat, InboundMessage, Link
from services.domain.contacts.models import AccountCode, PlatformAccount
from services.domain.errors import LinkMissing, Missing, NotPermitted, RateLimited
from services.domain.identity.models import Membership, User
from services.domain.ports.chat import ChatKind
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.tokens import hash_token

CODE_LIFE = timedelta(minutes=10)
MAX_CODES = 5
# Without letters and digits that are read for one another.
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_CODE_CHARS = 10


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """A code, shown this once."""

    code: str
    expires_at: datetime


def issue_account_code(actor: Actor, link_id: uuid.UUID | None = None) -> IssuedCode:
    """Make a code by which the acting person links an account on one of the organisation's bots, or on any.

    Raises: NotPermitted for who is no person, RateLimited when five are open, LinkMissing.
    """
    require(actor, "chats:write")
    if actor.user_id is None or actor.kind == "agent":
        raise NotPermitted("Accounts belong to people.")
    code = "".join(secrets.choice(_ALPHABET) for _ in range(_CODE_CHARS))
    with tenant_transaction(actor.org_id):
        if link_id is not None and not Link.objects.filter(id=link_id).exists():
            raise LinkMissing("There is no such link.")
        AccountCode.objects.filter(expires_at__lte=now()).delete()
        if AccountCode.objects.filter(user=actor.user_id).count() >= MAX_CODES:
            raise RateLimited("There are enough codes open.", retry_after_s=CODE_LIFE.total_seconds())
        row = AccountCode.objects.create(
            org_id=actor.org_id,
            user_id=actor.user_id,
            link_id=link_id,
            code_hash=hash_token(code),
            expires_at=now() + CODE_LIFE,
        )
    return IssuedCode(code, row.expires_at)


def redeem_code(message: InboundMessage, code: str) -> str:
    """Link the sender of a direct message to whom a code was given; returns what to say. Once, whoever sends it first.

    A code that is shown where others read along is good no more. Inside the tenant's transaction.
    """
    row = AccountCode.objects.select_for_update().filter(code_hash=hash_token(code.strip().upper())).first()
    if message.chat.kind != ChatKind.DIRECT:
        if row is not None:
            row.delete()
        return "Send a code to me in a direct chat. One that others can read is good no more: get a new one."
    is_good = row is not None and row.expires_at > now() and row.link_id in (None, message.link_id)
    if row is None or not is_good or not _is_member(row.user_id):
        return "This code is not valid, or its time is over. Get a new one in the settings."
    user_id = row.user_id
    row.delete()
    values = {"user_id": user_id, "display_name": message.sender_name, "chat": message.chat}
    PlatformAccount.objects.update_or_create(
        link_id=message.link_id,
        platform_user_id=message.sender_id,
        defaults=values,
        create_defaults={**values, "org_id": message.org_id},
    )
    person = User.objects.get(id=user_id)
    record_audit(
        Actor(org_id=message.org_id, kind="user", user_id=user_id),
        AuditAction.PLATFORM_ACCOUNT_LINKED,
        Subject("platform_account", message.sender_id, message.sender_name, user_id),
        link=str(message.link_id),
    )
    return f"This account is linked to {person.email}. `/help` lists what I understand."


def list_accounts(actor: Actor) -> QuerySet[PlatformAccount]:
    """Return the acting person's accounts; to be read in the tenant's transaction."""
    require(actor, "chats:read")
    rows = PlatformAccount.objects.select_related("link").defer("link__sealed_config")
    rows = rows.filter(chat__isnull=False)
    return rows.filter(user=actor.user_id) if actor.user_id else rows.none()


def unlink_account(actor: Actor, account_id: uuid.UUID) -> None:
    """Forget that an account is the acting person's. Raises: Missing."""
    require(actor, "chats:write")
    with tenant_transaction(actor.org_id):
        row = PlatformAccount.objects.filter(id=account_id, user=actor.user_id).first()
        if row is None:
            raise Missing("There is no such account.")
        subject = Subject("platform_account", row.platform_user_id, row.display_name, row.user_id)
        record_audit(actor, AuditAction.PLATFORM_ACCOUNT_UNLINKED, subject, link=str(row.link_id))
        row.delete()


def find_person(link_id: uuid.UUID, platform_user_id: str) -> Actor | None:
    """Return the member behind an account on a platform as an actor, or None for a stranger; in the transaction."""
    account = PlatformAccount.objects.filter(link_id=link_id, platform_user_id=platform_user_id).first()
    member = (
        Membership.objects.select_related("user")
        .filter(user_id=account.user_id, user__is_active=True)
        .first()
        if account is not None
        else None
    )
    if member is None:
        return None
    return Actor(org_id=member.org_id, kind="user", role=member.role, user_id=member.user_id)


def find_own_chat(user_id: uuid.UUID) -> Chat | None:
    """Return the direct chat in which a member is reached: the one linked last. In the tenant's transaction."""
    chats = list_own_chats(user_id)
    return chats[0] if chats else None


def list_own_chats(user_id: uuid.UUID) -> Sequence[Chat]:
    """List a member's linked direct chats, the last linked first. In the tenant's transaction."""
    if not _is_member(user_id):
        return []
    rows = PlatformAccount.objects.select_related("chat__link").filter(user_id=user_id)
    reached = rows.filter(chat__isnull=False).order_by("-id")
    return list({row.chat_id: row.chat for row in reached if row.chat is not None}.values())


def find_reachable_people(user_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of some people who have linked a chat. In the tenant's transaction."""
    reached = PlatformAccount.objects.filter(user__in=user_ids, chat__isnull=False)
    return set(reached.values_list("user_id", flat=True))


def _is_member(user_id: uuid.UUID) -> bool:
    return Membership.objects.filter(user_id=user_id, user__is_active=True).exists()
