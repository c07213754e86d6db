"""Registered MCP servers, and the authorizations that people have begun and not finished."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

from services.domain.identity.models import User
from services.domain.oauth_grants.models import AuthorizationModel, GrantedModel


class UpstreamTransport(models.TextChoices):
    """Where a server is: elsewhere, reached by the gateway; or a program that runs in the agent's sandbox."""

    HTTP = "http"
    STDIO = "stdio"


class UpstreamAuth(models.TextChoices):
    """How the gateway shows who it is: not at all, by one fixed header, or by an OAuth access token."""

    NONE = "none"
    HEADER = "header"
    OAUTH = "oauth"


class UpstreamStatus(models.TextChoices):
    """What was found when the server was asked last. `changed`: tools wait for a person's review."""

    UNCHECKED = "unchecked"
    OK = "ok"
    UNREACHABLE = "unreachable"
    UNAUTHORISED = "unauthorised"
    CHANGED = "changed"


class UpstreamServer(GrantedModel):
    """A server, under a name that agents list. With an `owner` only that person's work may use it.

    One elsewhere has a `url`; one for the sandbox `command`, `args`, `env` and `env_secrets` (by variable, the name of
    a secret of the vault), and is never asked from outside: the fields about its tools and state stay empty.

    `tools` is the last listing, `reviewed` by name what a person saw and accepted; None before the first review.
    A tool is served as it was reviewed or not at all. Sealed are `value`, `client_secret` and `grant`.
    """

    owner = models.ForeignKey(User, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    name = models.CharField(max_length=40)
    transport = models.CharField(
        max_length=5, choices=UpstreamTransport.choices, default=UpstreamTransport.HTTP
    )
    url = models.CharField(max_length=500, blank=True)
    command = models.CharField(max_length=300, blank=True)
    args = models.JSONField(default=list, blank=True)
    env = models.JSONField(default=dict, blank=True)
    env_secrets = models.JSONField(default=dict, blank=True)
    auth = models.CharField(max_length=8, choices=UpstreamAuth.choices, default=UpstreamAuth.NONE)
    header_name = models.CharField(max_length=60, default="Authorization")
    client_id = models.CharField(max_length=500, blank=True)
    allowed_tools = ArrayField(models.CharField(max_length=128), null=True, blank=True)
    timeout_s = models.PositiveIntegerField(default=60)

    status = models.CharField(max_length=14, choices=UpstreamStatus.choices, default=UpstreamStatus.UNCHECKED)
    tools = models.JSONField(default=list, blank=True)
    tools_digest = models.CharField(max_length=64, blank=True)
    reviewed = models.JSONField(null=True, blank=True)
    listed_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "upstream_server"
        constraints = [models.UniqueConstraint(fields=["org_id", "name"], name="upstream_server_name_once")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_in_sandbox(self) -> bool:
        """Say whether it runs in the sandbox, where nobody but the agent can reach it."""
        return self.transport == UpstreamTransport.STDIO


class UpstreamAuthorization(AuthorizationModel):
    """An authorization at a server of others."""

    server = models.ForeignKey(UpstreamServer, on_delete=models.CASCADE, related_name="+")

    class Meta:
        db_table = "upstream_authorization"
