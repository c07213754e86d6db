"""How each party that this service depends on is."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from django.db import DatabaseError, connections
from redis import RedisError

from services.kit.environment import environment
from services.kit.redisbus import client

log = logging.getLogger(__name__)

State = Literal["ok", "down"]

_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_TIMEOUT_S = 1.0
_FAILURES = (OSError, DatabaseError, RedisError)


@dataclass(frozen=True, slots=True)
class Readiness:
    """The state of each dependency. Only without the databases nothing can be served."""

    states: dict[str, State]

    @property
    def can_serve(self) -> bool:
        """Say whether requests can be answered."""
        return self.states["database"] == self.states["sandbox_plane"] == "ok"

    @property
    def status(self) -> str:
        """Say it in a word."""
        if not self.can_serve:
            return "unavailable"
        return "ready" if set(self.states.values()) == {"ok"} else "degraded"


def check_dependencies() -> Readiness:
    """Ask each dependency for a sign of life."""
    checks: dict[str, Callable[[], object]] = {
        "database": lambda: _ask_database("default"),
        "sandbox_plane": lambda: _ask_database("plane"),
        "redis": lambda: client().ping(),
        "broker": _ask_broker,
    }
    return Readiness({name: _state(name, check) for name, check in checks.items()})


def _state(name: str, check: Callable[[], object]) -> State:
    try:
        check()
    except _FAILURES as error:
        log.warning("%s does not answer: %s", name, error)
        return "down"
    return "ok"


def _ask_database(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")


def _ask_broker() -> None:
    """Begin an AMQP handshake: a port that is open is not yet a broker that answers."""
    address = urlsplit(environment().broker_url.get_secret_value())
    with socket.create_connection(
        (address.hostname or "", address.port or 5672), timeout=_TIMEOUT_S
    ) as broker:
        broker.sendall(_PROTOCOL_HEADER)
        if broker.recv(1) != b"\x01":
            raise ConnectionError("the broker did not begin its handshake")
