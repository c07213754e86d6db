"""What a GitHub link needs."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from services.adapters.chat.config import ChatConfig, secret_like
from services.adapters.github_app import APP_ID, MAX_KEY_CHARS, checked_key


class GithubConfig(ChatConfig):
    """An app of GitHub, one installation of it, and what beside a mention speaks to the agent."""

    app_id: str = Field(pattern=APP_ID, title="App", description="The GitHub App's client ID, or its number.")
    installation_id: int = Field(
        ge=1,
        le=10**15,
        title="Installation",
        description="The number at the end of the installation's address.",
    )
    private_key: Annotated[SecretStr, AfterValidator(checked_key)] = Field(
        max_length=MAX_KEY_CHARS,
        title="Private key",
        description="The PEM file that GitHub gave for the app.",
        json_schema_extra={"is_long": True},
    )
    webhook_secret: Annotated[SecretStr, secret_like(r"[\x21-\x7e]{8,256}")] = Field(
        title="Webhook secret", description="As in the app's settings, where you invent it."
    )
    label: str = Field(
        default="",
        max_length=50,
        title="Label",
        description="An issue or pull request that gets this label is given to the agent, too.",
    )
    assignee: str = Field(
        default="",
        max_length=60,
        title="Assignee",
        description="One that is assigned to this user is given to the agent, too.",
    )
