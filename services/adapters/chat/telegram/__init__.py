"""Telegram bots, by webhook and the Bot API."""
