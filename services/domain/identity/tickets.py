"""Tickets: a way into the realtime service for programs that cannot send a header. Good once, for 30 seconds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import cast

import redis

from services.domain.actors import Actor
from services.domain.errors import Temporary, TokenInvalid
from services.domain.identity.handover import all_tenants_load_actor, dump_actor
from services.kit.redisbus import client
from services.kit.tokens import hash_token, make_token

TICKET_PREFIX = "swk_"
TICKET_LIFE = timedelta(seconds=30)


def issue_ticket(actor: Actor) -> str:
    """Make a ticket for the actor and return its text, which is kept nowhere. Raises: Temporary."""
    text = make_token(TICKET_PREFIX)
    with _redis_or_temporary():
        client().set(_key(text), dump_actor(actor), ex=TICKET_LIFE)
    return text


def redeem_ticket(text: str) -> Actor:
    """Turn a ticket into its actor, once. Raises: TokenInvalid, alike for unknown, used and expired; Temporary."""
    if not text.startswith(TICKET_PREFIX):
        raise TokenInvalid("The ticket is unknown, used or expired.")
    with _redis_or_temporary():
        kept = cast("bytes | None", client().getdel(_key(text)))
    if kept is None:
        raise TokenInvalid("The ticket is unknown, used or expired.")
    return all_tenants_load_actor(kept.decode())


def _key(text: str) -> str:
    return f"slipway:ticket:{hash_token(text)}"


@contextlib.contextmanager
def _redis_or_temporary() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise Temporary("Tickets cannot be used at the moment. Try again.") from error
