"""Sending to Telegram."""

from __future__ import annotations

from telegram import Bot, InlineKeyboardMarkup, LinkPreviewOptions, Message, ReplyParameters
from telegram.constants import ChatAction, ParseMode
from telegram.error import BadRequest

from services.adapters.chat.telegram.client import call
from services.adapters.chat.telegram.config import TelegramConfig
from services.adapters.chat.telegram.failures import is_markup_refused
from services.adapters.chat.telegram.render import plain
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import Place, Receipt


def send(
    base_url: str, config: TelegramConfig, place: Place, part: str, *, reply_to: str | None = None
) -> Receipt:
    """Send one part as HTML; if Telegram cannot read it, send its text."""
    return post_text(base_url, config, place, part, reply_to=reply_to)


def post_text(
    base_url: str,
    config: TelegramConfig,
    place: Place,
    part: str,
    *,
    reply_to: str | None,
    keyboard: InlineKeyboardMarkup | None = None,
) -> Receipt:
    """Send one part, with a keyboard below it if there is one."""
    chat_id, thread_id, answered = number(place.chat_id), number(place.thread_id), number(reply_to)
    if chat_id is None:
        raise PlatformRefused("The chat has no id.")

    async def post(bot: Bot, text: str, parse_mode: str | None) -> Message:
        return await bot.send_message(
            chat_id,
            text,
            parse_mode=parse_mode,
            message_thread_id=thread_id,
            reply_parameters=reply_parameters(answered),
            reply_markup=keyboard,
            link_preview_options=LinkPreviewOptions(is_disabled=True),
        )

    async def post_or_plain(bot: Bot) -> Message:
        try:
            return await post(bot, part, ParseMode.HTML)
        except BadRequest as error:
            if not is_markup_refused(error):
                raise
        return await post(bot, plain(part), None)

    sent = call(base_url, config.bot_token.get_secret_value(), post_or_plain)
    return Receipt(message_id=str(sent.message_id))


def show_typing(base_url: str, config: TelegramConfig, place: Place) -> None:
    """Show "typing" for five seconds, in the topic if there is one."""
    chat_id, thread_id = number(place.chat_id), number(place.thread_id)
    if chat_id is None:
        raise PlatformRefused("The chat has no id.")
    call(
        base_url,
        config.bot_token.get_secret_value(),
        lambda bot: bot.send_chat_action(chat_id, ChatAction.TYPING, message_thread_id=thread_id),
    )


def number(value: str | None) -> int | None:
    """Return one of Telegram's ids as the number that it is. Raises: PlatformRefused."""
    if value is None:
        return None
    try:
        return int(value)
    except ValueError as error:
        raise PlatformRefused("Telegram's ids are whole numbers.") from error


def reply_parameters(message_id: int | None) -> ReplyParameters | None:
    """Say what is answered; the answer is sent also when that was deleted meanwhile."""
    if message_id is None:
        return None
    return ReplyParameters(message_id=message_id, allow_sending_without_reply=True)
