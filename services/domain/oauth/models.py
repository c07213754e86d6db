"""Programs that act for people: the clients, what people allowed them, and the codes and tokens that came of it."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

from services.domain.agents.models import Agent
from services.domain.identity.models import Membership, User
from services.domain.tenancy.models import TenantModel
from services.kit.clock import now
from services.kit.ids import uuid7

MAX_URI_CHARS = 500


class ClientKind(models.TextChoices):
    """How a client became known: by itself, by a document at its own address, or by an organisation's admin."""

    DYNAMIC = "dynamic"
    DOCUMENT = "document"
    GIVEN = "given"


class AuthMethod(models.TextChoices):
    """How a client shows who it is at the token endpoint; a public one does not."""

    NONE = "none"
    POST = "client_secret_post"
    BASIC = "client_secret_basic"


class OAuthClient(models.Model):
    """A program that may ask people. With `org_id` only that organisation's people; only its role sees the row then.

    What a client says of itself is nobody's word but its own. `checked_at` is when a document was last fetched.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    org_id = models.UUIDField(null=True, editable=False)
    created_at = models.DateTimeField(default=now, editable=False)
    kind = models.CharField(max_length=8, choices=ClientKind.choices)
    client_id = models.CharField(max_length=MAX_URI_CHARS, unique=True)
    name = models.CharField(max_length=120)
    redirect_uris = ArrayField(models.CharField(max_length=MAX_URI_CHARS))
    auth_method = models.CharField(max_length=20, choices=AuthMethod.choices, default=AuthMethod.NONE)
    secret_hash = models.CharField(max_length=64, blank=True)
    checked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "oauth_client"

    def __str__(self) -> str:
        return self.name


class ConnectedApp(TenantModel):
    """What one person allowed one client: a resource, scopes, and the agent whose namespace it works in, if any.

    The family of all tokens that descend from one consent. It dies with the membership. `connected_at` is when the
    client came for its first tokens; before that there is only a code.
    """

    membership = models.ForeignKey(Membership, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    client = models.ForeignKey(OAuthClient, on_delete=models.CASCADE, related_name="+")
    client_name = models.CharField(max_length=120)
    client_host = models.CharField(max_length=255)
    resource = models.CharField(max_length=MAX_URI_CHARS)
    scopes = ArrayField(models.CharField(max_length=60))
    agent = models.ForeignKey(Agent, on_delete=models.SET_NULL, null=True, related_name="+")
    connected_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    revoked_because = models.CharField(max_length=20, blank=True)

    class Meta:
        db_table = "connected_app"

    def __str__(self) -> str:
        return self.client_name


class AuthorizationCode(TenantModel):
    """A code, good once and for a minute, for whoever knows the verifier of its challenge."""

    app = models.ForeignKey(ConnectedApp, on_delete=models.CASCADE, related_name="+")
    code_hash = models.CharField(max_length=64, unique=True)
    challenge = models.CharField(max_length=64)
    redirect_uri = models.CharField(max_length=MAX_URI_CHARS)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "authorization_code"


class TokenKind(models.TextChoices):
    ACCESS = "access"
    REFRESH = "refresh"


class AppToken(TenantModel):
    """An access or a refresh token; only its hash is kept. `used_at`: a refresh token was traded for its successor."""

    app = models.ForeignKey(ConnectedApp, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=8, choices=TokenKind.choices)
    token_hash = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "app_token"
