"""Joining a bot to Slipway: its token is checked and its webhook set."""

from __future__ import annotations

from collections.abc import Sequence

from telegram import Bot, BotCommand, User

from services.adapters.chat.telegram.client import call
from services.adapters.chat.telegram.config import TelegramConfig
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import LinkIdentity
from services.domain.ports.chat_abilities import CommandHint

# Source: https://core.telegram.org/bots/api#botcommand
MAX_DESCRIPTION = 256
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
