"""Answers that grow in a private chat: Telegram's drafts of messages, which go away unless a message follows.

Source: https://core.telegram.org/bots/api#sendmessagedraft
"""

from __future__ import annotations

import secrets

from telegram import Bot
from telegram.constants import ParseMode
from telegram.error import BadRequest

from services.adapters.chat.telegram.client import call
from services.adapters.chat.telegram.config import TelegramConfig
from services.adapters.chat.telegram.failures import is_markup_refused
from services.adapters.chat.telegram.manifest import MANIFEST
from services.adapters.chat.telegram.outbound import number, post_text
from services.adapters.chat.telegram.render import plain, render
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import ChatKind, Place, Receipt
from services.domain.ports.chat_abilities import StreamLimits

# A draft is shown for thirty seconds. It may be changed several times a second; more than two nobody reads.
LIMITS = StreamLimits(
    min_interval_s=0.5,
    max_age_s=3_600.0,
    max_text=MANIFEST.max_text,
    source="https://core.telegram.org/bots/api#sendmessagedraft",
    keep_alive_s=20.0,
)
_LARGEST_ID = 2**31 - 1


def stream_limits(chat_kind: ChatKind) -> StreamLimits | None:
    """Return the limits; Telegram shows drafts in private chats only."""
    return LIMITS if chat_kind == ChatKind.DIRECT else None


def new_draft(reply_to: str | None) -> str:
    """Make the reference of a draft: its id, of which Telegram hears with the first text, and what it will answer."""
    return f"{secrets.randbelow(_LARGEST_ID) + 1}/{reply_to or ''}"


def show_draft(base_url: str, config: TelegramConfig, place: Place, draft: str, text: str) -> None:
    """Show a text as a draft, with Telegram's button to stop the agent."""
    chat_id, draft_id, thread_id = (
        number(place.chat_id),
        number(draft.partition("/")[0]),
        number(place.thread_id),
    )
    if chat_id is None or draft_id is None:
        raise PlatformRefused("The chat or the draft has no id.")
    part = render(text)[0]

    async def show(bot: Bot, words: str, parse_mode: str | None) -> None:
        await bot.send_message_draft(
            chat_id,
            draft_id,
            words,
            message_thread_id=thread_id,
            parse_mode=parse_mode,
            api_kwargs={"can_stop": True},
        )

    async def show_or_plain(bot: Bot) -> None:
        try:
            await show(bot, part, ParseMode.HTML)
        except BadRequest as error:
            if not is_markup_refused(error):
                raise
            await show(bot, plain(part), None)

    call(base_url, config.bot_token.get_secret_value(), show_or_plain)


def keep_draft(base_url: str, config: TelegramConfig, place: Place, draft: str, part: str) -> Receipt:
    """Send the message that takes the draft's place."""
    return post_text(base_url, config, place, part, reply_to=draft.partition("/")[2] or None)
