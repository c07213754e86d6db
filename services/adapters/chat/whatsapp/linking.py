"""Joining a number to Slipway: its token is checked, and its own webhook set.

Source: https://developers.facebook.com/docs/whatsapp/embedded-signup/webhooks/override
"""

from __future__ import annotations

from collections.abc import Sequence

from services.adapters.chat.whatsapp.client import ask
from services.adapters.chat.whatsapp.config import WhatsappConfig
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import LinkIdentity
from services.domain.ports.chat_abilities import CommandHint

_MAX_COMMANDS = 30
_MAX_DESCRIPTION = 256
_FIELDS = "id,display_phone_number,verified_name"
_HEALTH_FIELDS = "status,quality_rating,webhook_configuration"
_GOOD_STATUS = ("CONNECTED", "PENDING", None)


def connect(base_url: str, config: WhatsappConfig, hook_url: str) -> LinkIdentity:
    """Ask which number it is, then have its messages sent to `hook_url`, which WhatsApp calls at once to check it."""
    found = ask(base_url, config, "GET", config.phone_number_id, params={"fields": _FIELDS})
    hook = {"override_callback_uri": hook_url, "verify_token": config.hook_token}
    ask(base_url, config, "POST", config.phone_number_id, json={"webhook_configuration": hook})
    name = str(found.get("verified_name") or found.get("display_phone_number", ""))
    return LinkIdentity(platform_id=str(found.get("id", "")), display_name=name)


def show_commands(base_url: str, config: WhatsappConfig, commands: Sequence[CommandHint]) -> None:
    """Set the number's commands.

    Source: https://developers.facebook.com/docs/whatsapp/cloud-api/phone-numbers/conversational-components
    """
    listed = [
        {"command_name": hint.name, "command_description": hint.help[:_MAX_DESCRIPTION]}
        for hint in commands[:_MAX_COMMANDS]
    ]
    ask(
        base_url,
        config,
        "POST",
        f"{config.phone_number_id}/conversational_automation",
        json={"commands": listed},
    )


def disconnect(base_url: str, config: WhatsappConfig) -> None:
    """Take the number's own webhook back. One whose token is revoked sends nothing, so that a refusal is as good."""
    hook = {"override_callback_uri": ""}
    try:
        ask(base_url, config, "POST", config.phone_number_id, json={"webhook_configuration": hook})
    except PlatformRefused:
        return


def check_health(base_url: str, config: WhatsappConfig, hook_url: str) -> str | None:
    """Say what a person has to mend of the number, if anything."""
    try:
        found = ask(base_url, config, "GET", config.phone_number_id, params={"fields": _HEALTH_FIELDS})
    except PlatformRefused as error:
        return error.message
    if found.get("status") not in _GOOD_STATUS:
        return f"WhatsApp says of the number: {found['status']}. See the WhatsApp Manager."
    if found.get("quality_rating") == "RED":
        return "People block or report the number. WhatsApp may soon let it write to fewer of them."
    hooks = found.get("webhook_configuration") or {}
    effective = (
        hooks.get("phone_number") or hooks.get("whatsapp_business_account") or hooks.get("application")
    )
    if effective != hook_url:
        return "The number's messages go to another address. Connect the link again."
    return None
