"""Files of Telegram's messages: which ones there are, and their bytes.

Source: https://core.telegram.org/bots/api#getfile
"""

from __future__ import annotations

import httpx
from telegram import Animation, Audio, Document, Message, PhotoSize, Video, VideoNote, Voice

from services.adapters.chat.downloads import read_at_most
from services.adapters.chat.telegram.client import call
from services.adapters.chat.telegram.config import TelegramConfig
from services.domain.errors import FileTooLarge, PlatformAway, PlatformRefused
from services.domain.ports.chat import InboundFile

_TIMEOUT = httpx.Timeout(20.0, connect=5.0)
_Media = Document | Audio | Voice | Video | VideoNote | Animation | PhotoSize


def files_of(message: Message) -> tuple[InboundFile, ...]:
    """List what came with a message. Pure."""
    found: list[InboundFile] = []
    if message.photo:
        largest = max(message.photo, key=lambda size: size.width * size.height)
        found.append(_file(largest, "photo.jpg", "image/jpeg"))
    elif message.animation is not None:  # which comes with a document of the same bytes
        found.append(_file(message.animation, message.animation.file_name or "animation.mp4"))
    elif message.document is not None:
        found.append(_file(message.document, message.document.file_name or "document"))
    elif message.voice is not None:
        found.append(_file(message.voice, "voice.ogg", "audio/ogg", is_voice=True))
    elif message.audio is not None:
        found.append(_file(message.audio, message.audio.file_name or "audio.mp3"))
    elif message.video is not None:
        found.append(_file(message.video, message.video.file_name or "video.mp4"))
    elif message.video_note is not None:
        found.append(_file(message.video_note, "video.mp4", "video/mp4"))
    return tuple(found)


def fetch_file(base_url: str, config: TelegramConfig, ref: str, max_bytes: int) -> bytes:
    """Ask where a file is, then read it. Raises: FileTooLarge, PlatformAway, PlatformRefused, PlatformThrottled."""
    try:
        path = call(base_url, config.bot_token.get_secret_value(), lambda bot: bot.get_file(ref)).file_path
    except PlatformRefused as error:
        if "file is too big" in str(error.details.get("answer", "")).lower():
            raise FileTooLarge("Telegram lets bots have files of at most 20 MB.") from error
        raise
    if path is None or not path.startswith(f"{base_url.rstrip('/')}/file/"):
        raise PlatformRefused("Telegram says of no place to have the file from.")
    try:
        with (
            httpx.Client(timeout=_TIMEOUT, trust_env=False) as client,
            client.stream("GET", path) as answer,
        ):
            if answer.status_code >= 500:
                raise PlatformAway("Telegram does not give the file now.", retry_after_s=2.0)
            if answer.status_code != 200:
                raise PlatformRefused("Telegram does not give the file.", status=answer.status_code)
            return read_at_most(answer, max_bytes)
    except httpx.HTTPError as error:
        raise PlatformAway("Telegram broke off while it sent the file.", retry_after_s=2.0) from error


def _file(media: _Media, name: str, content_type: str = "", *, is_voice: bool = False) -> InboundFile:
    # The library checks no types.
    said_of: tuple[object, ...] = (media.file_id, name)
    if not all(isinstance(value, str) for value in said_of):
        raise TypeError("a file has no id")
    size = media.file_size
    said = content_type or getattr(media, "mime_type", None) or "application/octet-stream"
    if not isinstance(said, str):
        raise TypeError("a type is not a text")
    is_size = isinstance(size, int) and not isinstance(size, bool)
    return InboundFile(media.file_id, name, said, size if is_size else None, is_voice)
