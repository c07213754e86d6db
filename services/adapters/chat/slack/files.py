"""Files that people share in Slack, read with the app's token from Slack's own hosts only.

Source: https://docs.slack.dev/reference/methods/files.info, https://docs.slack.dev/reference/objects/file-object
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import httpx

from services.adapters.chat.downloads import read_at_most
from services.adapters.chat.slack.client import call
from services.adapters.chat.slack.config import SlackConfig
from services.domain.errors import PlatformAway, PlatformRefused, PlatformThrottled

_TIMEOUT = httpx.Timeout(20.0, connect=5.0)
_HOSTS = ("files.slack.com", "slack-files.com")
_DEFAULT_RETRY_S = 5.0


def fetch_file(base_url: str, config: SlackConfig, ref: str, max_bytes: int) -> bytes:
    """Ask where a file is, then read it. Raises: FileTooLarge, PlatformAway, PlatformRefused, PlatformThrottled."""
    answer = call(base_url, config, lambda client: client.files_info(file=ref))
    file: Any = answer.get("file") or {}
    url = str(file.get("url_private_download") or file.get("url_private") or "")
    if not _is_slacks(base_url, url):
        # The app's token goes with the request, so it goes nowhere else.
        raise PlatformRefused("The file lies outside of Slack, and is not fetched from there.")
    headers = {"authorization": f"Bearer {config.bot_token.get_secret_value()}"}
    try:
        with (
            httpx.Client(timeout=_TIMEOUT, trust_env=False) as client,
            client.stream("GET", url, headers=headers) as reply,
        ):
            _check(reply, str(file.get("mimetype") or ""))
            return read_at_most(reply, max_bytes)
    except httpx.HTTPError as error:
        raise PlatformAway("Slack broke off while it sent the file.", retry_after_s=2.0) from error


def _is_slacks(base_url: str, url: str) -> bool:
    """Say whether an address is one of Slack's, or of the server that stands in for Slack."""
    parts, base = urlsplit(url), urlsplit(base_url)
    if (parts.scheme, parts.netloc) == (base.scheme, base.netloc):
        return True
    return parts.scheme == "https" and parts.netloc in _HOSTS


def _check(reply: httpx.Response, mimetype: str) -> None:
    if reply.status_code == 429:
        told = reply.headers.get("retry-after", "")
        wait_s = float(told) if told.isdecimal() else _DEFAULT_RETRY_S
        raise PlatformThrottled("Slack asks to slow down.", retry_after_s=wait_s)
    if reply.status_code >= 500:
        raise PlatformAway("Slack does not give the file now.", retry_after_s=_DEFAULT_RETRY_S)
    # Whoever may not read files is led to a page to sign in.
    is_page = reply.headers.get("content-type", "").startswith("text/html") and mimetype != "text/html"
    if reply.status_code != 200 or is_page:
        raise PlatformRefused("Slack does not let the app read files: it needs the scope files:read.")
