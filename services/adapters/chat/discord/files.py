"""Files that people send: asked for anew with their message, as their addresses are good for a day only."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx

from services.adapters.chat.discord.config import DiscordConfig
from services.adapters.chat.discord.failures import translate_answer, translate_error
from services.adapters.chat.discord.rest import Rest, snowflake
from services.domain.errors import FileTooLarge, PlatformRefused

# Where Discord keeps them: what a message names is fetched from nowhere else.
_HOSTS = ("cdn.discordapp.com", "media.discordapp.net")
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
TOO_LARGE = "The file is larger than it may be."


def fetch_file(rest: Rest, config: DiscordConfig, ref: str, max_bytes: int) -> bytes:
    """Return a file's bytes. Raises: FileTooLarge, PlatformThrottled, PlatformAway, PlatformRefused."""
    url = _address(rest, config, ref)
    try:
        with httpx.stream("GET", url, timeout=_TIMEOUT, follow_redirects=False) as response:
            if not response.is_success:
                response.read()
                raise translate_answer(response)
            data = bytearray()
            for piece in response.iter_bytes():
                data += piece
                if len(data) > max_bytes:
                    raise FileTooLarge(TOO_LARGE)
    except httpx.HTTPError as error:
        raise translate_error(error) from error
    return bytes(data)


def _address(rest: Rest, config: DiscordConfig, ref: str) -> str:
    channel_id, message_id, attachment_id = (snowflake(part) for part in ref.split("/", 2))
    message = rest.object(config, "GET", f"/channels/{channel_id}/messages/{message_id}")
    for attachment in message.get("attachments") or []:
        url = str(attachment.get("url", ""))
        if attachment.get("id") == attachment_id and _is_trusted(rest, url):
            return url
    raise PlatformRefused("The file is not there any more.")


def _is_trusted(rest: Rest, url: str) -> bool:
    parts = urlsplit(url)
    return (parts.scheme == "https" and parts.hostname in _HOSTS) or rest.is_own(url)
