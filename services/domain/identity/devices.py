"""Sign-in of a program that has no browser: it shows a short code, a person allows it elsewhere, it gets a token.

Source: RFC 8628. A request lives in Redis for ten minutes and is not missed by anybody when it is lost. Codes are
kept as hashes; whoever reads Redis can sign in as nobody.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import redis

from services.domain.actors import SCOPES, Actor, require
from services.domain.errors import (
    DeviceCodeMissing,
    Invalid,
    NotPermitted,
    OAuthRefused,
    Temporary,
    TokenInvalid,
)
from services.domain.identity.actions import create_token
from services.domain.identity.handover import all_tenants_load_actor, dump_actor
from services.domain.identity.models import ApiToken
from services.kit.redisbus import client
from services.kit.tokens import DEVICE_CODE_PREFIX, hash_token, make_token

DEVICE_LIFE = timedelta(minutes=10)
INTERVAL_S = 5
MAX_NAME_CHARS = 60
# Consonants alone, which spell no words and are told apart. Source: RFC 8628, section 6.1.
_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
_CODE_CHARS = 8
_ASKED, _ALLOWED, _DENIED = "asked", "allowed", "denied"


@dataclass(frozen=True, slots=True)
class DeviceCodes:
    """The secret that the program keeps, and the code that it shows, as `BCDF-GHJK`."""

    device_code: str
    user_code: str


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """What a person is asked: the program's own name for itself, where it asked from, and the scopes it wants."""

    name: str
    address: str
    scopes: tuple[str, ...]


def ask_for_device(name: str, scopes: Sequence[str], *, address: str) -> DeviceCodes:
    """Begin the sign-in of a program; no scopes means all. Raises: OAuthRefused, Temporary."""
    wanted = sorted(set(scopes) or SCOPES)
    if unknown := [scope for scope in wanted if scope not in SCOPES]:
        raise OAuthRefused("invalid_scope", f"There is no scope {unknown[0]}.")
    name = " ".join(name.split())
    if not name or len(name) > MAX_NAME_CHARS:
        raise OAuthRefused("invalid_request", f"A program's name has 1 to {MAX_NAME_CHARS} characters.")
    device_code = make_token(DEVICE_CODE_PREFIX)
    user_code = "".join(secrets.choice(_ALPHABET) for _ in range(_CODE_CHARS))
    key = _key(device_code)
    with _redis(), client().pipeline(transaction=True) as pipe:
        fields = {"state": _ASKED, "name": name, "address": address, "scopes": " ".join(wanted)}
        pipe.hset(key, mapping=cast("Any", fields))
        pipe.expire(key, DEVICE_LIFE)
        pipe.set(_user_key(user_code), key, ex=DEVICE_LIFE)
        pipe.execute()
    return DeviceCodes(device_code, f"{user_code[:4]}-{user_code[4:]}")


def find_device_request(user_code: str) -> DeviceRequest:
    """Return what a program's code stands for. Raises: DeviceCodeMissing, alike for unknown and used; Temporary."""
    with _redis():
        key = client().get(_user_key(user_code))
        found = _fields(cast("bytes", key)) if key else {}
    if found.get("state") != _ASKED:
        raise DeviceCodeMissing("There is no such code, or it is used or too old.")
    return DeviceRequest(found["name"], found["address"], tuple(found["scopes"].split()))


def decide_device_request(actor: Actor, user_code: str, *, scopes: Sequence[str], is_allowed: bool) -> None:
    """Let a program in as this person, in this organisation, with at most the scopes that it asked for; or do not.

    Raises: ScopeMissing, NotPermitted, Invalid, DeviceCodeMissing, Temporary.
    """
    require(actor, "tokens:write")
    if actor.kind != "user":
        raise NotPermitted("A person lets programs in, at the dashboard.")
    asked = find_device_request(user_code)
    if is_allowed and (not scopes or not set(scopes) <= set(asked.scopes)):
        raise Invalid(
            "Choose at least one of the scopes.", fields={"scopes": "at least one of those asked for"}
        )
    with _redis():
        # Taken away first: one code is one decision.
        key = cast("bytes | None", client().getdel(_user_key(user_code)))
        if key is None:
            raise DeviceCodeMissing("There is no such code, or it is used or too old.")
        fields = {
            "state": _ALLOWED if is_allowed else _DENIED,
            "actor": dump_actor(actor),
            "scopes": " ".join(sorted(set(scopes))),
        }
        with client().pipeline(transaction=True) as pipe:
            pipe.hset(key, mapping=cast("Any", fields))
            pipe.expire(key, DEVICE_LIFE)
            pipe.execute()


def all_tenants_redeem_device(device_code: str) -> tuple[ApiToken, str]:
    """Trade a program's secret for a token, once, when its person has allowed it.

    Raises: OAuthRefused with authorization_pending, slow_down, access_denied or expired_token; Temporary.
    Source: RFC 8628, section 3.5.
    """
    key = _key(device_code)
    with _redis():
        found = _fields(key)
        if not found:
            raise OAuthRefused("expired_token", "The code is unknown, used or too old. Begin again.")
        if not _is_in_time(key, found):
            raise OAuthRefused("slow_down", "Ask less often.")
        if found["state"] == _ASKED:
            raise OAuthRefused("authorization_pending", "Nobody has decided yet.")
        # Whoever deletes it has it: of two who ask at once, one.
        if not client().delete(key):
            raise OAuthRefused("expired_token", "The code is used.")
    if found["state"] == _DENIED:
        raise OAuthRefused("access_denied", "The person said no.")
    try:
        # The person as of now: what was taken from them meanwhile, the program does not get.
        actor = all_tenants_load_actor(found["actor"])
        return create_token(actor, name=found["name"], scopes=found["scopes"].split())
    except (TokenInvalid, NotPermitted) as error:
        raise OAuthRefused("access_denied", error.message) from error


def _is_in_time(key: str, found: Mapping[str, str]) -> bool:
    """Say whether the interval is over; whoever is too early waits five seconds longer from then on."""
    interval_s = INTERVAL_S + int(found.get("slower_s", 0))
    # A little less than the interval: two clocks and a network lie between.
    if client().set(f"{key}:polled", 1, nx=True, px=interval_s * 1_000 - 500):
        return True
    client().hincrby(key, "slower_s", INTERVAL_S)
    return False


def _fields(key: str | bytes) -> dict[str, str]:
    found = cast("dict[bytes, bytes]", client().hgetall(key))
    return {name.decode(): value.decode() for name, value in found.items()}


def _key(device_code: str) -> str:
    return f"slipway:device:{hash_token(device_code)}"


def _user_key(user_code: str) -> str:
    letters = "".join(letter for letter in user_code.upper() if letter in _ALPHABET)
    return f"slipway:device-user:{hash_token(letters)}"


@contextlib.contextmanager
def _redis() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise Temporary("Programs cannot be signed in at the moment. Try again.") from error
