"""The settings of a Slipway process, typed, read from the environment, refused when anything is missing."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class OidcProvider(BaseModel):
    """One identity provider by which people sign in.

    `issuer` is its base URL; its document is looked for below it. With `organisation`, a short name, accounts that
    are made by it become members there, as `role`. `trusts_email`: its word on a checked address opens the account
    that has the address already.
    """

    model_config = ConfigDict(extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9-]{1,40}$")
    name: str = Field(min_length=1, max_length=60)
    issuer: str = Field(pattern=r"^https?://\S+$")
    client_id: str
    client_secret: SecretStr
    trusts_email: bool = False
    organisation: str = ""
    role: Literal["admin", "member", "viewer"] = "member"
    sign_in_origin: str = ""
    """The origin of its sign-in page, where that is another than the issuer's."""

    def origins(self) -> list[str]:
        """Return the origins to which its sign-in button leads."""
        parts = urlsplit(self.issuer)
        return [origin for origin in (f"{parts.scheme}://{parts.netloc}", self.sign_in_origin) if origin]


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
    listen_port: int | None = None
    bind_host: str = "127.0.0.1"
    public_url: str
    realtime_public_url: str
    allowed_hosts: str = "127.0.0.1,localhost"

    host_name: str = "local"
    run_dir: Path
    data_dir: Path
    sandbox_driver: Literal["docker", "bubblewrap", "kubernetes", "null"] = "docker"
    sandbox_slots: int = Field(default=8, ge=1, le=10_000)
    warm_min: int = Field(default=1, ge=0, le=1_000)
    warm_max: int = Field(default=4, ge=0, le=1_000)
    agent_image: str = "slipway-agent:latest"
    agent_image_claude: str = "slipway-agent-claude:latest"
    agent_image_codex: str = "slipway-agent-codex:latest"
    agent_image_opencode: str = "slipway-agent-opencode:latest"
    docker_host: str | None = None
    kubernetes_api: str | None = None
    kubernetes_namespace: str = "slipway"
    kubernetes_node: str | None = None
    kubernetes_storage_class: str | None = None
    volume_backend: Literal["auto", "loop", "folder"] = "auto"
    accepted_gaps: str = ""
    gateway_url: str | None = None
    gateway_public_url: str | None = None
    gateway_allowed_origins: str = ""
    image_build_timeout_s: float = Field(default=600.0, ge=1, le=7200)
    max_upload_bytes: int = Field(default=512 * 1024**2, ge=0)
    chat_keep_days: int = Field(default=365, ge=0, le=36_500)
    """For how many days what was said in chats is kept; 0 is for ever. An organisation may have its own."""
    max_inbound_file_bytes: int = Field(default=20 * 1024**2, ge=1, le=100 * 1024**2)
    max_attachment_bytes: int = Field(default=10 * 1024**2, ge=1, le=25 * 1024**2)
    host_beat_s: float = Field(default=5.0, gt=0, le=60)
    host_stale_s: float = Field(default=30.0, gt=0, le=3600)

    storage: Literal["folder", "s3"] = "folder"
    storage_dir: Path | None = None
    s3_endpoint: str | None = None
    s3_region: str = "us-east-1"
    s3_bucket: str = ""
    s3_access_key_id: SecretStr | None = None
    s3_secret_access_key: SecretStr | None = None
    s3_path_style: bool = False
    snapshot_after_s: float = Field(default=60.0, ge=0, le=86_400)

    egress_test_hosts: str = ""

    anthropic_api_key: SecretStr | None = Field(default=None, validation_alias="ANTHROPIC_API_KEY")
    anthropic_base_url: str = Field(
        default="https://api.anthropic.com", validation_alias="ANTHROPIC_BASE_URL"
    )
    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    openai_base_url: str = Field(default="https://api.openai.com", validation_alias="OPENAI_BASE_URL")

    composio_api_base: str = Field(
        default="https://backend.composio.dev", validation_alias="COMPOSIO_API_BASE"
    )
    teller_api_base: str = Field(default="https://api.teller.io", validation_alias="TELLER_API_BASE")
    gmail_api_base: str = Field(default="https://gmail.googleapis.com", validation_alias="GMAIL_API_BASE")
    google_accounts_base: str = Field(
        default="https://accounts.google.com", validation_alias="GOOGLE_ACCOUNTS_BASE"
    )
    google_oauth_base: str = Field(
        default="https://oauth2.googleapis.com", validation_alias="GOOGLE_OAUTH_BASE"
    )
    google_client_id: str = Field(default="", validation_alias="GOOGLE_CLIENT_ID")
    google_client_secret: SecretStr | None = Field(default=None, validation_alias="GOOGLE_CLIENT_SECRET")
    github_api_base: str = Field(default="https://api.github.com", validation_alias="GITHUB_API_BASE")

    @model_validator(mode="after")
    def _no_test_hosts_in_production(self) -> Self:
        if self.egress_test_hosts and self.env == "production":
            raise ValueError(
                "SLIPWAY_EGRESS_TEST_HOSTS opens private addresses to sandboxes; it is for tests only"
            )
        return self

    def egress_known_hosts(self) -> dict[str, str]:
        """Return the hosts of tests, `name=address,…`, that the egress proxy dials wherever they are."""
        entries = (entry.partition("=") for entry in self.egress_test_hosts.split(",") if entry)
        return {name.strip(): address.strip() for name, _, address in entries}

    otlp_endpoint: str | None = Field(
        default=None, validation_alias=AliasChoices("SLIPWAY_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    )
    api_token_per_s: float = Field(default=200.0, gt=0)
    api_token_burst: int = Field(default=4_000, ge=1)
    api_org_per_s: float = Field(default=1_000.0, gt=0)
    api_org_burst: int = Field(default=20_000, ge=1)
    mcp_task_per_s: float = Field(default=40.0, gt=0)
    mcp_task_burst: int = Field(default=400, ge=1)
    mcp_tool_per_s: float = Field(default=20.0, gt=0)
    mcp_tool_burst: int = Field(default=200, ge=1)
    mcp_org_per_s: float = Field(default=400.0, gt=0)
    mcp_org_burst: int = Field(default=4_000, ge=1)
    mcp_flood_per_s: float = Field(default=400.0, gt=0)
    mcp_flood_burst: int = Field(default=2_000, ge=1)
    mcp_hold_wait_s: float = Field(default=50.0, ge=0, le=50)

    sign_up: Literal["open", "invitation"] = "invitation"
    """Who may make an account and organisations: anybody, or only who was invited (operators make organisations)."""
    oidc_providers: list[OidcProvider] = []
    """The identity providers, as a JSON list."""
    smtp_url: SecretStr | None = None
    """`smtp://user:password@host:587` (STARTTLS, unless `?tls=none` is added) or `smtps://…`; empty: no mail."""
    mail_from: str = "Slipway <slipway@localhost>"
    proxies: int = Field(default=0, ge=0, le=10)
    """How many proxies of our own stand in front of the api, each of which adds to `X-Forwarded-For`."""
    audit_days: int = Field(default=400, ge=90, le=36_500)
    deletion_grace_days: int = Field(default=14, ge=0, le=365)

    upstream_internal_hosts: str = ""
    push_contact: str = Field(default="", pattern=r"^(?:|mailto:\S+|https://\S+)$")
    """Whom push services may turn to about this installation; empty is its public address."""

    def internal_hosts(self) -> frozenset[str]:
        """Return the hosts of the operator's own network that registered MCP servers may be at, by http too."""
        names = (name.strip().lower() for name in self.upstream_internal_hosts.split(","))
        return frozenset(filter(None, names))

    def browser_origins(self) -> tuple[str, ...]:
        """Return the origins of web pages that may call the gateway and the token endpoint as MCP clients."""
        return tuple(filter(None, (origin.strip() for origin in self.gateway_allowed_origins.split(","))))

    def platform_endpoints(self) -> dict[str, str]:
        """Return the base URLs that are set, by their settings' names (`SLACK_API_BASE`): platforms know theirs.

        Beside them stand the operator's own hosts, for platforms whose servers tenants name.
        """
        bases = {name: value for name, value in os.environ.items() if name.endswith("_API_BASE") and value}
        return bases | {"UPSTREAM_INTERNAL_HOSTS": self.upstream_internal_hosts}

    def account_endpoints(self) -> dict[str, str]:
        """Return the base URL of each provider of accounts, by the name of its setting."""
        return {
            "GMAIL_API_BASE": self.gmail_api_base,
            "GOOGLE_ACCOUNTS_BASE": self.google_accounts_base,
            "GOOGLE_OAUTH_BASE": self.google_oauth_base,
            "GITHUB_API_BASE": self.github_api_base,
            "TELLER_API_BASE": self.teller_api_base,
            "COMPOSIO_API_BASE": self.composio_api_base,
        }

    def oauth_apps(self) -> dict[str, tuple[str, SecretStr | None]]:
        """Return the installation's OAuth clients, id and secret, by provider; those that are not set are left out."""
        known = {"google": (self.google_client_id, self.google_client_secret)}
        return {provider: client for provider, client in known.items() if client[0]}

    @model_validator(mode="after")
    def _open_sign_up_needs_mail(self) -> Self:
        if self.sign_up == "open" and self.env == "production" and self.smtp_url is None:
            raise ValueError("SLIPWAY_SIGN_UP=open needs SLIPWAY_SMTP_URL, so that addresses can be checked")
        return self


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


def mail_settings(env: Environment) -> dict[str, object]:
    """Return Django's settings for mail. Without a server, mail is refused where it is written, not lost."""
    if env.smtp_url is None:
        return {
            "EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend",
            "DEFAULT_FROM_EMAIL": env.mail_from,
        }
    parts = urlsplit(env.smtp_url.get_secret_value())
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "DEFAULT_FROM_EMAIL": env.mail_from,
        "EMAIL_HOST": parts.hostname or "",
        "EMAIL_PORT": parts.port or (465 if parts.scheme == "smtps" else 587),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_USE_TLS": parts.scheme == "smtp" and "tls=none" not in parts.query,
        "EMAIL_TIMEOUT": 20,
    }
