"""Whether a call comes from Google Chat, and is for this app.

| the app's "authentication audience" | issuer | audience | who |
|---|---|---|---|
| project number | `chat@system.gserviceaccount.com` | the project's number | |
| HTTP endpoint URL | `https://accounts.google.com` | this link's address | `email` is that of Chat |
| the same, of a Workspace add-on | the same | the same | `email` is that of the project's add-ons |

Source: https://developers.google.com/workspace/chat/verify-requests-from-chat
"""

from __future__ import annotations

from dataclasses import dataclass

from services.adapters.chat.bearer import IssuerKeys, check_bearer, read_bearer, read_unverified_issuer
from services.adapters.chat.googlechat.config import GoogleChatConfig
from services.adapters.chat.googlechat.keys import CHAT_ACCOUNT
from services.domain.errors import HookUnverified
from services.domain.ports.chat import HookRequest

_GOOGLE = ("https://accounts.google.com", "accounts.google.com")


@dataclass(frozen=True, slots=True)
class GoogleKeys:
    """The keys of both issuers."""

    chat: IssuerKeys
    google: IssuerKeys


def verify(config: GoogleChatConfig, request: HookRequest, keys: GoogleKeys) -> None:
    """Check the token. Raises: HookUnverified, PlatformAway while the keys cannot be had."""
    token = read_bearer(request)
    if read_unverified_issuer(token) == CHAT_ACCOUNT:
        check_bearer(
            token,
            keys.chat,
            issuers=(CHAT_ACCOUNT,),
            audiences=(config.project_number,),
            received_at=request.received_at,
        )
        return
    if not config.endpoint_url:
        raise HookUnverified("The request is not for the project's number.")
    claims = check_bearer(
        token,
        keys.google,
        issuers=_GOOGLE,
        audiences=(config.endpoint_url,),
        received_at=request.received_at,
    )
    # Anybody at Google may have a token for our address: what counts is whose it is.
    add_on = f"service-{config.project_number}@gcp-sa-gsuiteaddons.iam.gserviceaccount.com"
    if claims.get("email") not in (CHAT_ACCOUNT, add_on) or claims.get("email_verified") is not True:
        raise HookUnverified("The request is not from Google Chat.")
