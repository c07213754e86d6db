"""What a Teams link needs."""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import Field, SecretStr

from services.adapters.chat.config import ChatConfig, secret_like

_GUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
MULTI_TENANT = "botframework.com"


class TeamsConfig(ChatConfig):
    """The registration of an Azure Bot: its app, a client secret of that, and the tenant that the app is of.

    An app of several tenants, of the kind that cannot be made any more, gets its tokens from `botframework.com`.
    """

    app_id: str = Field(title="Application (client) ID", pattern=f"^{_GUID}$")
    client_secret: Annotated[SecretStr, secret_like(r"[\x21-\x7e]{1,256}")] = Field(title="Client secret")
    tenant_id: str = Field(
        default=MULTI_TENANT,
        title="Directory (tenant) ID",
        pattern=rf"^(?:{_GUID}|{MULTI_TENANT.replace('.', '[.]')})$",
    )

    @property
    def own_id(self) -> str:
        """The bot's id in conversations."""
        return f"28:{self.app_id}"

    @property
    def token_key(self) -> str:
        """Under what the access token of these credentials is kept."""
        whole = f"{self.app_id}:{self.tenant_id}:{self.client_secret.get_secret_value()}"
        return hashlib.sha256(whole.encode()).hexdigest()
