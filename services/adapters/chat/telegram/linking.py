"""Joining a bot to Slipway: its token is checked and its webhook set."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from telegram import Bot, BotCommand, User

from services.adapters.chat.telegram.client import call
from services.adapters.chat.telegram.config import TelegramConfig
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import LinkIdentity
from services.domain.ports.chat_abilities import CommandHint
from services.kit.clock import now

# Source: https://core.telegram.org/bots/api#botcommand
MAX_DESCRIPTION = 256
# An older error is over: Telegram tries again within minutes as long as something waits.
RECENT = timedelta(minutes=30)
ALLOWED_UPDATES = (
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "callback_query",
    "stopped_message_generation",
)


def connect(base_url: str, config: TelegramConfig, hook_url: str) -> LinkIdentity:
    """Ask who the bot is, then have its updates sent to `hook_url` with the secret. May be done again."""

    async def link(bot: Bot) -> User:
        user = await bot.get_me()
        await bot.set_webhook(hook_url, allowed_updates=ALLOWED_UPDATES, secret_token=config.hook_secret)
        return user

    user = call(base_url, config.bot_token.get_secret_value(), link)
    return LinkIdentity(platform_id=str(user.id), display_name=user.username or user.first_name)


def disconnect(base_url: str, config: TelegramConfig) -> None:
    """Remove the webhook. A bot whose token is revoked has none any more, so that a refusal is as good."""
    try:
        call(base_url, config.bot_token.get_secret_value(), lambda bot: bot.delete_webhook())
    except PlatformRefused:
        return


def show_commands(base_url: str, config: TelegramConfig, commands: Sequence[CommandHint]) -> None:
    """Set the list that people see when they type a slash."""
    listed = [BotCommand(hint.name, hint.help[:MAX_DESCRIPTION]) for hint in commands]
    call(base_url, config.bot_token.get_secret_value(), lambda bot: bot.set_my_commands(listed))


def link_to_chat(config: TelegramConfig, code: str) -> str:
    """Return the address at which Telegram opens the chat and sends `/start <code>`.

    Source: https://core.telegram.org/api/links#bot-links (1 to 64 characters A-Z, a-z, 0-9, _ and -).
    """
    return f"https://t.me/{config.bot_name}?start={code}"


def check_health(base_url: str, config: TelegramConfig, hook_url: str) -> str | None:
    """Ask where Telegram sends the bot's updates, and whether it gets rid of them.

    Source: https://core.telegram.org/bots/api#webhookinfo
    """
    info = call(base_url, config.bot_token.get_secret_value(), lambda bot: bot.get_webhook_info())
    if not info.url:
        return "Telegram has no address to send this bot's messages to. Connect the link again."
    if info.url != hook_url:
        return "Telegram sends this bot's messages to another address. Connect the link again."
    failed_at = info.last_error_date
    if failed_at is not None and info.pending_update_count and now() - failed_at < RECENT:
        return f"Telegram does not reach this address: {info.last_error_message}"
    return None
