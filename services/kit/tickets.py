"""Tickets by which one service lets another through to a sandbox: signed, for one purpose, good for a minute."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.kit.clock import now

TICKET_LIFE = timedelta(seconds=60)
_CONTEXT = b"slipway.sandbox-ticket"


class TicketInvalid(Exception):
    """The ticket is forged, expired or for something else."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who may pass: one organisation, to one of its sandboxes, for one purpose."""

    purpose: str
    sandbox_id: uuid.UUID
    org_id: uuid.UUID


def sign_ticket(secret: str, ticket: Ticket) -> str:
    """Return the ticket's text, good from now on for `TICKET_LIFE`."""
    expires_at = int((now() + TICKET_LIFE).timestamp())
    body = json.dumps([ticket.purpose, str(ticket.sandbox_id), str(ticket.org_id), expires_at]).encode()
    return f"{_encode(body)}.{_encode(_sign(secret, body))}"


def open_ticket(secret: str, text: str, purpose: str) -> Ticket:
    """Return a ticket that is genuine, for this purpose and not expired. Raises: TicketInvalid."""
    encoded_body, _, encoded_signature = text.partition(".")
    try:
        body, signature = _decode(encoded_body), _decode(encoded_signature)
    except (binascii.Error, ValueError) as error:
        raise TicketInvalid("the ticket is not one of ours") from error
    if not hmac.compare_digest(signature, _sign(secret, body)):
        raise TicketInvalid("the ticket is forged")
    for_purpose, sandbox_id, org_id, expires_at = json.loads(body)
    if for_purpose != purpose:
        raise TicketInvalid("the ticket is for something else")
    if datetime.fromtimestamp(expires_at, UTC) < now():
        raise TicketInvalid("the ticket has expired")
    return Ticket(for_purpose, uuid.UUID(sandbox_id), uuid.UUID(org_id))


def _sign(secret: str, body: bytes) -> bytes:
    key = hmac.digest(secret.encode(), _CONTEXT, hashlib.sha256)
    return hmac.digest(key, body, hashlib.sha256)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
