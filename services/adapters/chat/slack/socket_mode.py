"""Slack's Socket Mode: the same events as by webhook, in envelopes over a connection of ours.

Source: https://docs.slack.dev/apis/events-api/using-socket-mode
"""

from __future__ import annotations

from typing import Any

from services.adapters.chat.slack import inbound, presses
from services.adapters.chat.slack.client import call
from services.adapters.chat.slack.config import SlackConfig
from services.adapters.chat.sockets import TICK_S, Socket, SocketClosed, open_socket
from services.domain.errors import MalformedBody, PlatformAway, PlatformRefused
from services.domain.ports.chat import Parsed
from services.domain.ports.chat_abilities import Inbox

# An envelope has at most what a webhook call has.
MAX_BYTES = 4 * 1024**2


def open_address(base_url: str, config: SlackConfig) -> str:
    """Return an address to connect to, good once. Raises: PlatformThrottled, PlatformAway, PlatformRefused."""
    token = config.app_token.get_secret_value() if config.app_token is not None else ""
    answer = call(base_url, config, lambda client: client.apps_connections_open(app_token=token))
    return str(answer.get("url", ""))


def listen(base_url: str, config: SlackConfig, inbox: Inbox) -> None:
    """Hear an app's events until told to stop, or Slack wants another connection."""
    with open_socket(open_address(base_url, config), label="Slack", max_bytes=MAX_BYTES) as socket:
        try:
            _hear(socket, config, inbox)
        except SocketClosed as closed:
            raise PlatformAway("Slack closed the connection.", retry_after_s=0.0) from closed


def _hear(socket: Socket, config: SlackConfig, inbox: Inbox) -> None:
    while not inbox.is_stopping():
        try:
            envelope = socket.receive(TICK_S)
        except MalformedBody:
            inbox.keep(Parsed(ignored="unreadable"))
            continue
        if envelope is None:
            # The connection answers pings, or it would have been closed.
            inbox.keep(Parsed())
            continue
        match envelope.get("type"):
            case "hello":
                inbox.keep(Parsed(), {})
            case "disconnect":
                _check_enabled(envelope)
                return
            case kind:
                inbox.keep(_parsed(config, kind, envelope.get("payload")))
        envelope_id = envelope.get("envelope_id")
        if isinstance(envelope_id, str):
            socket.send({"envelope_id": envelope_id})


def _check_enabled(envelope: dict[str, Any]) -> None:
    if envelope.get("reason") == "link_disabled":
        raise PlatformRefused("Socket Mode is switched off in the app's settings.")


def _parsed(config: SlackConfig, kind: object, payload: object) -> Parsed:
    """Read an envelope's payload. One that we cannot read is taken all the same, or it would come again."""
    if not isinstance(payload, dict):
        return Parsed(ignored="unknown_type")
    try:
        match kind:
            case "events_api":
                return inbound.parse_call(config, payload)
            case "interactive":
                return presses.parse_payload(payload)
    except MalformedBody:
        return Parsed(ignored="unreadable")
    return Parsed(ignored="unknown_type")
