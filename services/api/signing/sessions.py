"""The sessions of a person: listed with device, address and last use, and ended."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import redis
from allauth.usersessions.models import UserSession
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from services.domain.audit.models import AuditAction
from services.domain.errors import Missing
from services.domain.identity.accounts import all_tenants_record_account
from services.domain.identity.models import User
from services.kit.clock import now
from services.kit.environment import environment
from services.kit.origin import caller_address
from services.kit.redisbus import client

SEEN_EVERY_S = 60
_NAMES = uuid.UUID("b0f6f2a4-63c8-4a0b-8d52-0d3f3b9c7a10")


@dataclass(frozen=True, slots=True)
class OpenSession:
    """One browser in which a person is signed in."""

    id: uuid.UUID
    address: str
    device: str
    created_at: datetime
    last_seen_at: datetime
    is_current: bool


def list_sessions(user: User, current_key: str | None) -> list[OpenSession]:
    """Return a person's live sessions, the one used last first."""
    rows = sorted(_rows(user), key=lambda row: row.last_seen_at, reverse=True)
    return [
        OpenSession(
            _name(row),
            row.ip,
            row.user_agent,
            row.created_at,
            row.last_seen_at,
            row.session_key == current_key,
        )
        for row in rows
    ]


def end_session(user: User, session_id: uuid.UUID) -> None:
    """Sign one browser out at once. Raises: Missing."""
    for row in _rows(user):
        if _name(row) == session_id:
            _end(user, row)
            return
    raise Missing("There is no such session.")


def end_other_sessions(user: User, current_key: str | None) -> int:
    """Sign every browser out but this one; returns how many."""
    others = [row for row in _rows(user) if row.session_key != current_key]
    for row in others:
        _end(user, row)
    return len(others)


class SeenSessions:
    """Notes when and from where a session was used last, at most once a minute each."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        session: Any = getattr(request, "session", None)
        # A request that did not look into its session, as of a program with a token, is not made to.
        if session is not None and session.accessed and session.session_key and "_auth_user_id" in session:
            _note_seen(request, session.session_key)
        return response


def _note_seen(request: HttpRequest, key: str) -> None:
    try:
        if not client().set(f"slipway:seen:{_name_of(key)}", b"", ex=SEEN_EVERY_S, nx=True):
            return
    except redis.RedisError:
        return
    UserSession.objects.filter(session_key=key).update(
        last_seen_at=now(), ip=caller_address(request.META, proxies=environment().proxies)
    )


def _rows(user: User) -> list[UserSession]:
    return list(UserSession.objects.purge_and_list(user))


def _end(user: User, row: UserSession) -> None:
    row.end()
    all_tenants_record_account(
        user, AuditAction.SESSION_REVOKED, session=str(_name(row)), session_device=row.user_agent[:200]
    )


def _name(row: UserSession) -> uuid.UUID:
    return _name_of(row.session_key)


def _name_of(key: str) -> uuid.UUID:
    """Return a session's id, from which its key, which opens the account, cannot be told."""
    return uuid.uuid5(_NAMES, key)
