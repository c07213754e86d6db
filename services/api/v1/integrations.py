"""Accounts elsewhere over REST. What opens them goes in and never comes out."""

from __future__ import annotations

import uuid
from typing import Any, Self

from pydantic import Field

from services.adapters.accounts.kind import AccountKind
from services.adapters.accounts.registry import list_kinds
from services.api.accounts import (
    add_account,
    change_account,
    check_account,
    checked_new,
    connect_account,
    redirect_uri,
    remove_account,
)
from services.api.http.bodies import Closed
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Changes, Moment, Page, Shape
from services.api.v1.accesses import AccessShape
from services.domain.actors import require
from services.domain.errors import (
    AgentMissing,
    ConfigInvalid,
    Conflict,
    IntegrationMissing,
    Invalid,
    NameTaken,
    NotPermitted,
    QueueFull,
)
from services.domain.integrations.actions import MAX_AGENTS
from services.domain.integrations.models import Integration, IntegrationStatus
from services.domain.integrations.queries import get_integration, list_account_accesses, list_integrations
from services.domain.ports.accounts import AccountAuth


class IntegrationBody(Closed):
    """An account to connect: null `agent_ids` for all agents. A personal one is used by its person's work only."""

    kind: str = Field(max_length=40, description="One of those at /v1/integration_kinds.")
    name: str = Field(min_length=1, max_length=80, description="What agents and people call the account.")
    settings: dict[str, Any] = Field(default_factory=dict, description="By the kind's `settings_schema`.")
    credentials: dict[str, Any] | None = Field(
        default=None, description="By the kind's `credentials_schema`."
    )
    agent_ids: list[uuid.UUID] | None = Field(default=None, max_length=MAX_AGENTS)
    is_personal: bool = True


class IntegrationEdit(Changes):
    """The fields to change. Settings that are not named stay; credentials are replaced as a whole."""

    name: str = Field(default="", min_length=1, max_length=80)
    settings: dict[str, Any] = Field(default_factory=dict)
    credentials: dict[str, Any] = Field(default_factory=dict)
    agent_ids: list[uuid.UUID] | None = Field(default=None, max_length=MAX_AGENTS)
    is_enabled: bool = True


class IntegrationShape(Shape):
    """A connected account, without what opens it. With an owner, only that person's work uses it."""

    id: uuid.UUID
    kind: str
    name: str
    identity: str
    owner_id: uuid.UUID | None
    agent_ids: list[uuid.UUID] | None
    is_enabled: bool
    settings: dict[str, Any]
    status: IntegrationStatus
    last_error: str
    checked_at: Moment | None
    last_used_at: Moment | None
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, row: Integration) -> Self:
        """Show a row."""
        return cls.model_validate(row)


class KindShape(Shape):
    """A kind of account: what opens it, what it asks for, and where a person finds that."""

    kind: str
    label: str
    auth: AccountAuth
    help: str
    source: str
    revokes: bool
    redirect_uri: str | None
    settings_schema: dict[str, Any]
    credentials_schema: dict[str, Any]

    @classmethod
    def of(cls, kind: type[AccountKind]) -> Self:
        """Show a kind."""
        manifest = kind.manifest
        return cls(
            kind=manifest.kind,
            label=manifest.label,
            auth=manifest.auth,
            help=manifest.help,
            source=manifest.source,
            revokes=manifest.revokes,
            redirect_uri=redirect_uri() if manifest.auth == AccountAuth.OAUTH else None,
            settings_schema=kind.settings_model.model_json_schema(),
            credentials_schema=kind.credentials_model.model_json_schema(),
        )


class KindsShape(Shape):
    """All kinds of accounts."""

    items: list[KindShape]


class AccountConnectShape(Shape):
    """The page at which the person who asked for it gives the authorization, within ten minutes."""

    authorization_url: str


class Kinds(Endpoint):
    """The kinds of accounts that can be connected."""

    tag = "integrations"

    @operation()
    def get(self, call: Call) -> KindsShape:
        """List the kinds of accounts, and what each asks for."""
        require(call.actor, "integrations:read")
        return KindsShape(items=[KindShape.of(kind) for kind in list_kinds()])


class Integrations(Endpoint):
    """All connected accounts."""

    tag = "integrations"

    @operation()
    def get(self, call: Call, query: PageQuery) -> Page[IntegrationShape]:
        """List the connected accounts, newest first."""
        return page_of(list_integrations(call.actor), query, IntegrationShape.of)

    @operation(
        is_waiting=True,
        status=201,
        errors=(NameTaken, AgentMissing, ConfigInvalid, Invalid, QueueFull, NotPermitted),
    )
    def post(self, call: Call, body: IntegrationBody) -> IntegrationShape:
        """Connect an account and try it; `status` and `last_error` say what came of it."""
        fields = checked_new(**{name: getattr(body, name) for name in IntegrationBody.model_fields})
        return IntegrationShape.of(add_account(call.actor, fields))


class OneIntegration(Endpoint):
    """One connected account."""

    tag = "integrations"

    @operation(errors=(IntegrationMissing,))
    def get(self, call: Call, integration_id: uuid.UUID) -> IntegrationShape:
        """Show an account."""
        return IntegrationShape.of(get_integration(call.actor, integration_id))

    @operation(is_waiting=True, errors=(IntegrationMissing, NameTaken, AgentMissing, ConfigInvalid, Invalid))
    def patch(self, call: Call, integration_id: uuid.UUID, body: IntegrationEdit) -> IntegrationShape:
        """Change an account: its name, the agents that may use it, its settings or credentials, or switch it off."""
        changes = body.model_dump(exclude_unset=True)
        return IntegrationShape.of(change_account(call.actor, integration_id, changes))

    @operation(is_waiting=True, errors=(IntegrationMissing,))
    def delete(self, call: Call, integration_id: uuid.UUID) -> None:
        """Forget an account, and end the access at its provider where that can be asked for."""
        remove_account(call.actor, integration_id)


class IntegrationCheck(Endpoint):
    """Trying one account."""

    tag = "integrations"

    @operation(is_waiting=True, errors=(IntegrationMissing,))
    def post(self, call: Call, integration_id: uuid.UUID) -> IntegrationShape:
        """Ask the provider whose account it is; `status` and `last_error` say what came of it."""
        return IntegrationShape.of(check_account(call.actor, integration_id))


class IntegrationConnect(Endpoint):
    """Authorizing one account by OAuth."""

    tag = "integrations"

    @operation(is_waiting=True, errors=(IntegrationMissing, Conflict, NotPermitted))
    def post(self, call: Call, integration_id: uuid.UUID) -> AccountConnectShape:
        """Begin an authorization; its person has to be signed in to the dashboard when coming back from there."""
        return AccountConnectShape(authorization_url=connect_account(call.actor, integration_id))


class IntegrationAccesses(Endpoint):
    """The uses of one account."""

    tag = "integrations"

    @operation(errors=(IntegrationMissing,))
    def get(self, call: Call, integration_id: uuid.UUID, query: PageQuery) -> Page[AccessShape]:
        """List for whom and when what opens the account was used."""
        return page_of(list_account_accesses(call.actor, integration_id), query, AccessShape.of)
