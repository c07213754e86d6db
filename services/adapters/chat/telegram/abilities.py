"""What Telegram can do beyond sending text: editing, deleting, reacting, files, buttons."""

from __future__ import annotations

from collections.abc import Sequence

from telegram import (
    Bot,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    LinkPreviewOptions,
    Message,
    ReactionTypeEmoji,
)
from telegram.constants import ParseMode
from telegram.error import BadRequest

from services.adapters.chat.emoji import NAMES, emoji_named
from services.adapters.chat.telegram.client import call
from services.adapters.chat.telegram.config import TelegramConfig
from services.adapters.chat.telegram.failures import is_markup_refused
from services.adapters.chat.telegram.outbound import number, post_text, reply_parameters
from services.adapters.chat.telegram.render import plain
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import Place, Receipt
from services.domain.ports.chat_abilities import Button, ButtonLimits, OutgoingFile
from services.kit.emoji import bare

# Source: https://core.telegram.org/bots/api#sending-files, #senddocument, #inlinekeyboardbutton
MAX_FILE_BYTES = 50_000_000
# A group takes 20 messages a minute. Source: https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this
EDIT_INTERVAL_S = 3.1
MAX_CAPTION = 1024
BUTTON_LIMITS = ButtonLimits(
    buttons=100,
    label_chars=64,
    value_bytes=64,
    source="https://core.telegram.org/bots/api#inlinekeyboardbutton",
)
MAX_NOTE = 200

# What Telegram says of something that is so already.
_NOT_MODIFIED = "message is not modified"
_GONE = "message to delete not found"
_TOO_OLD = ("query is too old", "query id is invalid")


def edit(base_url: str, config: TelegramConfig, place: Place, message_id: str, part: str) -> None:
    """Replace a message's text; its buttons go away."""
    chat_id, edited = number(place.chat_id), number(message_id)

    async def change(bot: Bot, text: str, parse_mode: str | None) -> None:
        await bot.edit_message_text(
            text,
            chat_id=chat_id,
            message_id=edited,
            parse_mode=parse_mode,
            link_preview_options=LinkPreviewOptions(is_disabled=True),
        )

    async def change_or_plain(bot: Bot) -> None:
        try:
            await change(bot, part, ParseMode.HTML)
        except BadRequest as error:
            if not is_markup_refused(error):
                raise
            await change(bot, plain(part), None)

    _call_unless(base_url, config, change_or_plain, _NOT_MODIFIED)


def delete(base_url: str, config: TelegramConfig, place: Place, message_id: str) -> None:
    """Delete a message. Telegram lets bots delete their own for 48 hours."""
    chat_id, deleted = number(place.chat_id), number(message_id)

    async def remove(bot: Bot) -> None:
        await bot.delete_message(_given(chat_id), _given(deleted))

    _call_unless(base_url, config, remove, _GONE)


def find_emoji(emoji: str) -> str | None:
    """Return the emoji if bots may react with it."""
    found = emoji_named(emoji) or bare(emoji)
    return found if found in NAMES else None


def react(base_url: str, config: TelegramConfig, place: Place, message_id: str, emoji: str) -> None:
    """Set the bot's reaction, which replaces an earlier one of its own."""
    chat_id, reacted = number(place.chat_id), number(message_id)

    async def add(bot: Bot) -> None:
        await bot.set_message_reaction(_given(chat_id), _given(reacted), [ReactionTypeEmoji(emoji)])

    call(base_url, config.bot_token.get_secret_value(), add)


def send_file(
    base_url: str,
    config: TelegramConfig,
    place: Place,
    file: OutgoingFile,
    caption: str,
    *,
    reply_to: str | None = None,
) -> Receipt:
    """Upload a file as a document, so that Telegram neither shrinks nor converts it."""
    chat_id, thread_id, answered = number(place.chat_id), number(place.thread_id), number(reply_to)

    async def post(bot: Bot, words: str, parse_mode: str | None) -> Message:
        return await bot.send_document(
            _given(chat_id),
            file.data,
            filename=file.name,
            caption=words or None,
            parse_mode=parse_mode,
            message_thread_id=thread_id,
            reply_parameters=reply_parameters(answered),
            disable_content_type_detection=True,
        )

    async def post_or_plain(bot: Bot) -> Message:
        try:
            return await post(bot, caption, ParseMode.HTML)
        except BadRequest as error:
            if not is_markup_refused(error):
                raise
        return await post(bot, plain(caption), None)

    sent = call(base_url, config.bot_token.get_secret_value(), post_or_plain)
    return Receipt(message_id=str(sent.message_id))


def send_card(
    base_url: str,
    config: TelegramConfig,
    place: Place,
    part: str,
    buttons: Sequence[Button],
    *,
    reply_to: str | None = None,
) -> Receipt:
    """Send a message with one button on each line below it."""
    rows = [
        [InlineKeyboardButton(button.label, url=button.url)]
        if button.url
        else [InlineKeyboardButton(button.label, callback_data=button.value)]
        for button in buttons
    ]
    return post_text(base_url, config, place, part, reply_to=reply_to, keyboard=InlineKeyboardMarkup(rows))


def answer_press(
    base_url: str, config: TelegramConfig, press_ref: str, text: str, *, is_refusal: bool
) -> None:
    """Show a note for a moment, a refusal as a box that has to be closed."""

    async def answer(bot: Bot) -> None:
        await bot.answer_callback_query(press_ref, text=text[:MAX_NOTE], show_alert=is_refusal)

    _call_unless(base_url, config, answer, *_TOO_OLD)


def _call_unless(base_url: str, config: TelegramConfig, make: object, *answers: str) -> None:
    """Make a call; a refusal that says it is so already is none."""
    try:
        call(base_url, config.bot_token.get_secret_value(), make)  # type: ignore[arg-type]
    except PlatformRefused as error:
        said = str(error.details.get("answer", "")).lower()
        if not any(answer in said for answer in answers):
            raise


def _given(value: int | None) -> int:
    if value is None:
        raise PlatformRefused("The chat or message has no id.")
    return value
