"""Commands and presses of buttons, by webhook or over the gateway: the same JSON. Pure.

Source: https://docs.discord.com/developers/interactions/receiving-and-responding
"""

from __future__ import annotations

import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from services.adapters.chat.discord.config import DiscordConfig
from services.adapters.chat.discord.wire import (
    GROUP_DIRECT,
    THREADS,
    Channel,
    Lenient,
    Member,
    Snowflake,
    User,
    made_at,
)
from services.adapters.chat.wire import read_object
from services.domain.errors import HookUnverified, MalformedBody
from services.domain.ports.chat import (
    ChatKind,
    HookReply,
    HookRequest,
    InboundMessage,
    InboundPress,
    Parsed,
    Place,
    Sender,
)

COMMAND = "ask"
COMMAND_OPTION = "text"
_PING, _COMMAND, _COMPONENT = 1, 2, 3
_BUTTON = 2
# Answers: a pong, a message, nothing to see yet.
_PONG, _MESSAGE, _DEFERRED = 1, 4, 6
_MAX_AGE_S = 300
_ECHO_CHARS = 1_900


class _Option(Lenient):
    name: str = ""
    value: str | int | float | bool | None = None


class _Data(Lenient):
    name: str = ""
    component_type: int = 0
    custom_id: str = ""
    options: list[_Option] = []


class _Message(Lenient):
    id: Snowflake


class _Interaction(Lenient):
    id: Snowflake
    application_id: Snowflake
    type: int
    token: str = ""
    channel_id: Snowflake | None = None
    channel: Channel | None = None
    guild_id: Snowflake | None = None
    member: Member | None = None
    user: User | None = None
    data: _Data | None = None
    message: _Message | None = None


def verify(config: DiscordConfig, request: HookRequest) -> None:
    """Check the signature over time and raw body, and that it is at most 300 s old. Raises: HookUnverified."""
    if config.public_key is None:
        raise HookUnverified("The link has no public key: its interactions come over the gateway.")
    timestamp = request.headers.get("x-signature-timestamp", "")
    try:
        signature = bytes.fromhex(request.headers.get("x-signature-ed25519", ""))
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(config.public_key))
        key.verify(signature, timestamp.encode() + request.body)
        age_s = request.received_at.timestamp() - int(timestamp)
    except (InvalidSignature, ValueError, OverflowError) as error:
        raise HookUnverified("The request's signature is wrong.") from error
    if abs(age_s) > _MAX_AGE_S:
        raise HookUnverified("The request's time is wrong.")


def parse(config: DiscordConfig, request: HookRequest) -> Parsed:
    """Read one call. Raises: MalformedBody."""
    return read(config, read_object(request.body))


def read(config: DiscordConfig, raw: dict[str, Any]) -> Parsed:
    """Read one interaction; `Parsed.reply` is what acknowledges it. Raises: MalformedBody."""
    if raw.get("type") == _PING:
        return Parsed(reply=_reply({"type": _PONG}), ignored="ping")
    try:
        interaction = _Interaction.model_validate(raw)
    except ValidationError as error:
        raise MalformedBody("The body is not an interaction of Discord's.") from error
    member = interaction.member or Member()
    user = interaction.user or member.user
    if interaction.channel_id is None or user is None:
        return Parsed(ignored="unknown_type")
    if user.id == config.bot_id:
        return Parsed(ignored="own_message")
    sender = user.sender(member.nick)
    data = interaction.data or _Data()
    if interaction.type == _COMMAND and data.name:
        return _read_command(interaction, interaction.channel_id, sender, data, raw)
    if interaction.type == _COMPONENT and data.component_type == _BUTTON and interaction.message is not None:
        return _read_press(interaction, interaction.message.id, sender, data)
    return Parsed(ignored="unknown_type")


def _read_command(
    interaction: _Interaction, channel_id: str, sender: Sender, data: _Data, raw: dict[str, Any]
) -> Parsed:
    option = next((option for option in data.options if option.name == COMMAND_OPTION), None)
    text = option.value.strip() if option is not None and isinstance(option.value, str) else ""
    if data.name != COMMAND:
        # Another of the commands that the bot was given: as if it had been written.
        text = f"/{data.name} {text}".strip()
    if not text:
        return Parsed(ignored="no_text")
    channel = interaction.channel or Channel(id=channel_id)
    is_direct = interaction.guild_id is None
    kind = ChatKind.DIRECT if is_direct and channel.type != GROUP_DIRECT else ChatKind.CHANNEL
    message = InboundMessage(
        dedupe_key=f"interaction:{interaction.id}",
        place=_place(channel_id, channel),
        chat_kind=ChatKind.GROUP if is_direct and channel.type == GROUP_DIRECT else kind,
        chat_title=channel.name or sender.display_name,
        sender=sender,
        text=text,
        is_mention=True,
        message_id=interaction.id,
        sent_at=made_at(interaction.id),
        # The token would let whoever reads it speak in the bot's name for a while.
        raw={name: value for name, value in raw.items() if name != "token"},
    )
    # What was asked is shown to all: Discord shows of a command only who used it.
    echo = {"content": text[:_ECHO_CHARS], "allowed_mentions": {"parse": []}}
    return Parsed(messages=(message,), reply=_reply({"type": _MESSAGE, "data": echo}))


def _read_press(interaction: _Interaction, message_id: str, sender: Sender, data: _Data) -> Parsed:
    channel_id = interaction.channel_id or ""
    press = InboundPress(
        dedupe_key=f"interaction:{interaction.id}",
        place=_place(channel_id, interaction.channel or Channel(id=channel_id)),
        sender=sender,
        message_id=message_id,
        value=data.custom_id,
        press_ref=f"{interaction.application_id}:{interaction.token}",
    )
    return Parsed(presses=(press,), reply=_reply({"type": _DEFERRED}))


def _place(channel_id: str, channel: Channel) -> Place:
    if channel.type in THREADS and channel.parent_id is not None:
        return Place(channel.parent_id, channel_id)
    return Place(channel_id)


def _reply(answer: dict[str, Any]) -> HookReply:
    return HookReply(content_type="application/json", body=json.dumps(answer).encode())
