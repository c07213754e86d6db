"""Calls to Slack's Web API: the vendor's client with our timeouts and errors."""

from __future__ import annotations

from collections.abc import Callable

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.web import SlackResponse

from services.adapters.chat.slack.config import SlackConfig
from services.adapters.chat.slack.failures import TRANSPORT_ERRORS, translate

_TIMEOUT_S = 20


def call(base_url: str, config: SlackConfig, make: Callable[[WebClient], SlackResponse]) -> SlackResponse:
    """Make one call. Raises: PlatformThrottled, PlatformAway, PlatformRefused."""
    client = WebClient(
        config.bot_token.get_secret_value(),
        base_url=base_url,
        timeout=_TIMEOUT_S,
        # Deliveries are retried by their queue, which counts; the client's own retries would hide attempts.
        retry_handlers=[],
    )
    # The client puts every address through the proxy of the environment; left to the standard library,
    # exceptions to the proxy are honoured.
    client.proxy = None
    try:
        return make(client)
    except (SlackApiError, *TRANSPORT_ERRORS) as error:
        raise translate(error) from error
