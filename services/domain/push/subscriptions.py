"""The browsers that a person wants to be told in: added by the browser itself, removed by the person or by its end."""

from __future__ import annotations

import base64
import binascii
import hashlib
import uuid
from typing import Any
from urllib.parse import urlsplit

from django.db.models import QuerySet
from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.domain.actors import Actor, require
from services.domain.errors import Missing, NotPermitted, QueueFull
from services.domain.push.models import PushSubscription
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.urls import check_url
from services.domain.vault.keyring import seal_json
from services.kit.environment import environment
from services.kit.ids import uuid7

MAX_OF_PERSON = 10
_POINT_BYTES, _AUTH_BYTES = 65, 16


class PushKeys(BaseModel):
    """What a browser makes for a subscription: its public key and its secret, base64url."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    p256dh: str = Field(max_length=100)
    auth: str = Field(max_length=40)

    @field_validator("p256dh")
    @classmethod
    def _is_point(cls, text: str) -> str:
        point = _decoded(text)
        if len(point) != _POINT_BYTES or point[0] != 4:
            raise ValueError("is no public key of a subscription")
        return text

    @field_validator("auth")
    @classmethod
    def _is_secret(cls, text: str) -> str:
        if len(_decoded(text)) != _AUTH_BYTES:
            raise ValueError("has not 16 bytes")
        return text


class NewSubscription(BaseModel):
    """A subscription as browsers write it (`PushSubscription.toJSON()`), with a name by which to know the browser."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    endpoint: str = Field(max_length=500)
    keys: PushKeys
    label: str = Field(default="", max_length=80)

    def revealed(self) -> dict[str, Any]:
        """Return what a push needs, as the library takes it: to be sealed."""
        return {"endpoint": self.endpoint, "keys": self.keys.model_dump()}


def list_subscriptions(actor: Actor) -> QuerySet[PushSubscription]:
    """Return the caller's own browsers, in the tenant's transaction."""
    require(actor, "chats:read")
    return PushSubscription.objects.filter(user=actor.user_id).defer("sealed")


def add_subscription(actor: Actor, new: NewSubscription) -> PushSubscription:
    """Keep a browser; the same one again replaces its keys, whoever used it before.

    Raises: NotPermitted for who is no person, Invalid for an address that we do not post to, QueueFull.
    """
    require(actor, "chats:write")
    if actor.user_id is None or actor.kind == "agent":
        raise NotPermitted("Notifications are for people.")
    endpoint = check_url(new.endpoint, environment().internal_hosts())
    digest = hashlib.sha256(endpoint.encode()).hexdigest()
    with tenant_transaction(actor.org_id):
        PushSubscription.objects.filter(endpoint_hash=digest).delete()
        if PushSubscription.objects.filter(user=actor.user_id).count() >= MAX_OF_PERSON:
            raise QueueFull(f"A person has at most {MAX_OF_PERSON} browsers.", limit=MAX_OF_PERSON)
        row_id = uuid7()
        sealed = seal_json(new.revealed() | {"endpoint": endpoint}, row_id)
        return PushSubscription.objects.create(
            id=row_id,
            org_id=actor.org_id,
            user_id=actor.user_id,
            label=new.label,
            host=(urlsplit(endpoint).hostname or "")[:255],
            endpoint_hash=digest,
            sealed=sealed.blob,
            key_id=sealed.key_id,
        )


def remove_subscription(actor: Actor, subscription_id: uuid.UUID) -> None:
    """Tell a browser nothing any more. Raises: Missing."""
    require(actor, "chats:write")
    with tenant_transaction(actor.org_id):
        deleted, _ = PushSubscription.objects.filter(id=subscription_id, user=actor.user_id).delete()
        if not deleted:
            raise Missing("There is no such browser.")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("is not base64url") from error
