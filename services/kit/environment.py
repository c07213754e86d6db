"""The settings of a Slipway process, typed, read from the environment, refused when anything is missing."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Environment(BaseSettings):
    """Every setting that more than one service reads. No secret has a default."""

    model_config = SettingsConfigDict(env_prefix="SLIPWAY_", extra="ignore", populate_by_name=True)

    env: Literal["development", "test", "production"] = "production"
    installation: str = Field(pattern=r"^[a-z0-9]{1,16}$")
    secret_key: SecretStr
    vault_keys: SecretStr

    database_url: SecretStr
    operator_database_url: SecretStr
    plane_database_url: SecretStr
    relay_database_url: SecretStr
    owner_database_url: SecretStr | None = None
    plane_owner_database_url: SecretStr | None = None
    admin_database_url: SecretStr | None = None
    redis_url: SecretStr
    broker_url: SecretStr

    api_port: int = 8000
    realtime_port: int = 8001
    gateway_port: int = 8002
    bind_host: str = "127.0.0.1"
    public_url: str
    realtime_public_url: str
    allowed_hosts: str = "127.0.0.1,localhost"

    host_name: str = "local"
    run_dir: Path
    data_dir: Path
    sandbox_driver: Literal["docker", "bubblewrap", "null"] = "docker"
    sandbox_slots: int = Field(default=8, ge=1, le=10_000)
    agent_image: str = "slipway-agent:latest"
    agent_image_claude: str = "slipway-agent-claude:latest"
    docker_host: str | None = None

    anthropic_api_key: SecretStr | None = Field(default=None, validation_alias="ANTHROPIC_API_KEY")
    anthropic_base_url: str = Field(
        default="https://api.anthropic.com", validation_alias="ANTHROPIC_BASE_URL"
    )
    telegram_api_base: str = Field(default="https://api.telegram.org", validation_alias="TELEGRAM_API_BASE")
    slack_api_base: str = Field(default="https://slack.com/api/", validation_alias="SLACK_API_BASE")

    def platform_endpoints(self) -> dict[str, str]:
        """Return the base URL of each chat platform, by the name of its setting."""
        return {"TELEGRAM_API_BASE": self.telegram_api_base, "SLACK_API_BASE": self.slack_api_base}


@functools.cache
def environment() -> Environment:
    """Return this process's settings, read once."""
    return Environment()


def postgres_parts(url: SecretStr) -> dict[str, str]:
    """Split `postgresql://user:password@host:port/name` into Django's five connection settings."""
    parts = urlsplit(url.get_secret_value())
    return {
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or 5432),
    }
