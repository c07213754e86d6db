"""Programs that people connected to the gateway, and the clients that an organisation gave itself, over REST."""

from __future__ import annotations

import uuid
from typing import Self

from pydantic import Field

from services.api.http.bodies import Closed
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, one_of, page_of
from services.api.http.shapes import Moment, Page, Shape
from services.domain.errors import ConnectedAppMissing, Invalid, OAuthClientMissing, QueueFull, RoleMissing
from services.domain.oauth.clients import RedirectUri, create_client, delete_client, list_clients
from services.domain.oauth.grants import disconnect_app
from services.domain.oauth.models import AuthMethod, ConnectedApp, OAuthClient
from services.domain.oauth.queries import get_connected_app, list_connected_apps


class ConnectedAppShape(Shape):
    """A program that acts for a person at the gateway. What it calls itself is its own word."""

    id: uuid.UUID
    user_id: uuid.UUID
    client_name: str
    client_host: str
    resource: str
    scopes: list[str]
    agent_id: uuid.UUID | None
    created_at: Moment
    last_used_at: Moment | None

    @classmethod
    def of(cls, app: ConnectedApp) -> Self:
        """Show a row."""
        return cls.model_validate(app)


class ClientBody(Closed):
    """A client of the organisation's own. A confidential one gets a secret."""

    name: str = Field(min_length=1, max_length=120)
    redirect_uris: list[RedirectUri] = Field(min_length=1, max_length=10)
    is_confidential: bool = False


class ClientShape(Shape):
    """A client that an admin gave the organisation."""

    id: uuid.UUID
    client_id: str
    name: str
    redirect_uris: list[str]
    auth_method: AuthMethod
    created_at: Moment
    last_used_at: Moment | None

    @classmethod
    def of(cls, client: OAuthClient) -> Self:
        """Show a row."""
        return cls.model_validate(client)


class NewClientShape(ClientShape):
    """A client with its secret, if it has one, which is shown this once."""

    client_secret: str | None

    @classmethod
    def with_secret(cls, client: OAuthClient, secret: str | None) -> Self:
        """Show a row together with the secret's text."""
        return cls(**ClientShape.of(client).model_dump(), client_secret=secret)


class ConnectedApps(Endpoint):
    """Connected programs."""

    tag = "connected apps"

    @operation()
    def get(self, call: Call, query: PageQuery) -> Page[ConnectedAppShape]:
        """List one's own connected programs, or as an admin everybody's."""
        return page_of(list_connected_apps(call.actor), query, ConnectedAppShape.of)


class OneConnectedApp(Endpoint):
    """One connected program."""

    tag = "connected apps"

    @operation(errors=(ConnectedAppMissing,))
    def get(self, call: Call, app_id: uuid.UUID) -> ConnectedAppShape:
        """Show a connected program."""
        return ConnectedAppShape.of(get_connected_app(call.actor, app_id))

    @operation(errors=(ConnectedAppMissing,))
    def delete(self, call: Call, app_id: uuid.UUID) -> None:
        """Disconnect a program; its tokens die at once."""
        disconnect_app(call.actor, app_id)


class Clients(Endpoint):
    """The organisation's own OAuth clients."""

    tag = "connected apps"

    @operation()
    def get(self, call: Call, query: PageQuery) -> Page[ClientShape]:
        """List the clients, newest first."""
        return page_of(list_clients(call.actor), query, ClientShape.of)

    @operation(status=201, errors=(Invalid, QueueFull, RoleMissing))
    def post(self, call: Call, body: ClientBody) -> NewClientShape:
        """Register a client whose id and secret are then entered into the program."""
        return NewClientShape.with_secret(*create_client(call.actor, **body.model_dump()))


class OneClient(Endpoint):
    """One of the organisation's own OAuth clients."""

    tag = "connected apps"

    @operation(errors=(OAuthClientMissing, RoleMissing))
    def get(self, call: Call, oauth_client_id: uuid.UUID) -> ClientShape:
        """Show a client, without its secret."""
        return ClientShape.of(
            one_of(list_clients(call.actor), oauth_client_id, OAuthClientMissing, what="client")
        )

    @operation(errors=(OAuthClientMissing, RoleMissing))
    def delete(self, call: Call, oauth_client_id: uuid.UUID) -> None:
        """Remove a client; whatever people allowed it ends."""
        delete_client(call.actor, oauth_client_id)
