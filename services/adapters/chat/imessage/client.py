"""Calls to a BlueBubbles server, whose password stands in the address of each."""

from __future__ import annotations

import logging
import re
from typing import Any
from urllib.parse import quote, urlencode

from services.adapters.chat.calls import download, read_json, request
from services.adapters.chat.imessage.config import IMessageConfig
from services.adapters.chat.imessage.failures import LABEL, translate
from services.domain.errors import PlatformRefused

# The server answers when Apple has taken the message, which lasts.
_SEND_S = 60.0
_PASSWORD = re.compile(r"(?<=[?&]password=)[^&\s\"']+")


class _PasswordRedaction(logging.Filter):
    """Hides passwords: they are part of the addresses, and the HTTP library logs each of those."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = _PASSWORD.sub("<password>", record.getMessage()), ()
        return True


logging.getLogger("httpx").addFilter(_PasswordRedaction())


class BlueBubblesClient:
    """The servers of all links; with `base_url`, the operator's own for all of them, wherever it is.

    Raises: PlatformThrottled, PlatformAway, PlatformRefused.
    """

    def __init__(self, base_url: str) -> None:
        self._base = base_url.rstrip("/")

    def call(self, config: IMessageConfig, method: str, path: str, **fields: Any) -> Any:
        """Make one call below `/api/v1/` and return the answer's `data`; `fields` are httpx's."""
        url, is_guarded = self._url(config, path)
        answer = request(LABEL, method, url, answer_s=_SEND_S, is_guarded=is_guarded, **fields)
        if not answer.is_success:
            raise translate(answer)
        return read_json(answer).get("data")

    def download(self, config: IMessageConfig, guid: str, max_bytes: int) -> bytes:
        """Return an attachment's bytes. Raises also: FileTooLarge."""
        url, is_guarded = self._url(config, f"attachment/{quote(guid, safe='')}/download")
        return download(LABEL, url, max_bytes=max_bytes, translate=translate, is_guarded=is_guarded)

    def _url(self, config: IMessageConfig, path: str) -> tuple[str, bool]:
        """Return an address, and whether a tenant named it."""
        base = self._base or config.server_url.rstrip("/")
        if not base:
            raise PlatformRefused("The link has no server's address.")
        query = urlencode({"password": config.password.get_secret_value()})
        return f"{base}/api/v1/{path}?{query}", not self._base
