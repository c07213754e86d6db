"""Registering, changing and removing MCP servers, and what opens them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection
from typing import Annotated, Any

from django.contrib.postgres.fields import ArrayField
from django.db.models import F, Func, Model, Value
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from services.domain.actors import Actor, require
from services.domain.agents.models import Agent
from services.domain.approvals.models import ApprovalStatus
from services.domain.audit.models import AuditAction
from services.domain.audit.recording import Subject, record_audit
from services.domain.errors import Invalid, NameTaken, NotPermitted, QueueFull
from services.domain.events.announcing import announce_change
from services.domain.events.listed import McpServerChanged
from services.domain.identity.models import ApiToken
from services.domain.oauth.models import ConnectedApp
from services.domain.oauth_grants.keeping import open_sealed, seal_into
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.in_sandbox import MAX_ARGS, MAX_COMMAND_CHARS, MAX_VARIABLES, check_program
from services.domain.upstreams.models import UpstreamAuth, UpstreamServer, UpstreamStatus, UpstreamTransport
from services.domain.upstreams.names import NAME, is_reserved, scopes_of_upstream
from services.domain.upstreams.review import accept_tools, lock_own_upstream
from services.domain.upstreams.telling import close_questions
from services.domain.upstreams.tools import withheld_tools
from services.domain.upstreams.urls import MAX_URL_CHARS, check_url
from services.kit.clock import now
from services.kit.environment import environment

MAX_SERVERS = 100
MAX_CREDENTIAL_CHARS = 8_192
_HEADER = re.compile(r"[A-Za-z0-9-]{1,60}")
# The transport's own, and those that say where a request goes.
_TAKEN_HEADERS = frozenset(
    {
        "accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect",
        "forwarded", "host", "keep-alive", "last-event-id", "origin", "proxy-authorization", "proxy-connection", "te",
        "trailer", "transfer-encoding", "upgrade", "via",
    }
)  # fmt: skip
_PRINTABLE = re.compile(r"[\x20-\x7e]+")

ToolName = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00]*$")]


class UpstreamFields(BaseModel):
    """What a person may set on a server. `credential` is the header's value, or the OAuth client's secret.

    A server elsewhere has a `url`; one that runs in the sandbox (`stdio`) a `command`, and none of what is about
    the way to a server. Its calls do not pass the gateway: approval rules and the call log do not see them, the
    workspace's events do.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    url: str = Field(default="", max_length=MAX_URL_CHARS)
    auth: UpstreamAuth = UpstreamAuth.NONE
    header_name: str = Field(default="Authorization", max_length=60)
    client_id: str = Field(default="", max_length=500, pattern=r"^[\x21-\x7e]*$")
    credential: SecretStr | None = Field(default=None, max_length=MAX_CREDENTIAL_CHARS)
    allowed_tools: list[ToolName] | None = Field(default=None, max_length=500)
    timeout_s: int = Field(default=60, ge=1, le=600)
    command: str = Field(
        default="", max_length=MAX_COMMAND_CHARS, description="The program alone: an argv, no shell."
    )
    args: list[str] = Field(default_factory=list, max_length=MAX_ARGS)
    env: dict[str, str] = Field(
        default_factory=dict,
        max_length=MAX_VARIABLES,
        description="Shown to whoever sees the server: no secrets.",
    )
    env_secrets: dict[str, str] = Field(
        default_factory=dict,
        max_length=MAX_VARIABLES,
        description="By variable, the name of a secret of the vault.",
    )

    def checked(self, transport: UpstreamTransport = UpstreamTransport.HTTP) -> dict[str, Any]:
        """Return the row's values. Raises: Invalid."""
        values = self.model_dump(exclude={"credential"})
        if transport == UpstreamTransport.STDIO:
            self._refuse_given(
                "a server in the sandbox has none", "url", "client_id", "credential", "header_name"
            )
            if self.auth != UpstreamAuth.NONE:
                raise Invalid(
                    "These do not go together.", fields={"auth": "a server in the sandbox has none"}
                )
            check_program(self.command, self.args, self.env, self.env_secrets)
            return values
        self._refuse_given("only a server in the sandbox has it", "command", "args", "env", "env_secrets")
        if not self.url:
            raise Invalid("The address is needed.", fields={"url": "a server elsewhere has one"})
        values["url"] = check_url(self.url, environment().internal_hosts())
        name = self.header_name.lower()
        if not _HEADER.fullmatch(name) or name in _TAKEN_HEADERS or name.startswith("mcp-"):
            raise Invalid("This header cannot carry a credential.", fields={"header_name": "not usable"})
        return values

    def _refuse_given(self, reason: str, *names: str) -> None:
        default = UpstreamFields.model_construct()
        given = [name for name in names if getattr(self, name) not in (getattr(default, name), None)]
        if given:
            raise Invalid("These do not go together.", fields=dict.fromkeys(given, reason))


class NewUpstream(UpstreamFields):
    """A server to register. A personal one is used by its owner's work only."""

    name: str = Field(pattern=f"^{NAME}$")
    transport: UpstreamTransport = UpstreamTransport.HTTP
    is_personal: bool = False


def register_upstream(actor: Actor, fields: NewUpstream) -> UpstreamServer:
    """Register a server; nothing is asked of it yet. Raises: Invalid, NameTaken, QueueFull, RoleMissing."""
    require(actor, "mcp_servers:write", role="member" if fields.is_personal else "admin")
    if fields.is_personal and actor.user_id is None:
        raise NotPermitted("Only a person has personal servers.")
    if is_reserved(fields.name):
        raise NameTaken("The name is taken by a server of the platform.", fields={"name": "reserved"})
    values = NewUpstream.checked(fields, fields.transport)
    del values["name"], values["is_personal"]
    with tenant_transaction(actor.org_id):
        if UpstreamServer.objects.filter(name=fields.name).exists():
            raise NameTaken("An MCP server with this name exists.", fields={"name": "taken"})
        if UpstreamServer.objects.count() >= MAX_SERVERS:
            raise QueueFull(f"An organisation has at most {MAX_SERVERS} MCP servers.", limit=MAX_SERVERS)
        server = UpstreamServer(
            org_id=actor.org_id,
            name=fields.name,
            owner_id=actor.user_id if fields.is_personal else None,
            created_by_id=actor.user_id,
            **values,
        )
        _take_credential(server, fields.credential)
        server.save(force_insert=True)
        announce_change(McpServerChanged, server, "created")
        record_audit(actor, AuditAction.MCP_SERVER_REGISTERED, Subject.of("mcp_server", server))
        return server


def update_upstream(actor: Actor, server_id: uuid.UUID, changes: dict[str, Any]) -> UpstreamServer:
    """Change some fields. Another address or way to show who we are loses the credential, unless one comes along.

    Whoever may change the address could otherwise have a credential sent to a server of their own.
    Locks: the server. Raises: UpstreamMissing, Invalid, RoleMissing.
    """
    with tenant_transaction(actor.org_id):
        server = lock_own_upstream(actor, server_id)
        names = set(UpstreamFields.model_fields) - {"credential"}
        current = {name: getattr(server, name) for name in names}
        fields = UpstreamFields.model_validate(current | changes)
        values = fields.checked(UpstreamTransport(server.transport))
        moved = values["url"] != server.url
        if moved or any(values[name] != current[name] for name in ("auth", "header_name", "client_id")):
            seal_into(server, {})
            server.refresh_claim = server.refresh_until = None
            server.status, server.last_error = UpstreamStatus.UNCHECKED, ""
        if moved:
            server.tools, server.tools_digest, server.reviewed, server.listed_at = [], "", None, None
            close_questions(server, ApprovalStatus.EXPIRED)
        for name, value in values.items():
            setattr(server, name, value)
        _take_credential(server, fields.credential)
        _judge_again(server)
        server.updated_at = now()
        server.save()
        announce_change(McpServerChanged, server)
        record_audit(
            actor, AuditAction.MCP_SERVER_CHANGED, Subject.of("mcp_server", server), changed=sorted(changes)
        )
        return server


def set_credential(actor: Actor, server_id: uuid.UUID, credential: SecretStr) -> UpstreamServer:
    """Replace the header's value, or the OAuth client's secret. Raises: UpstreamMissing, Invalid, RoleMissing."""
    return update_upstream(actor, server_id, {"credential": credential})


def delete_upstream(actor: Actor, server_id: uuid.UUID) -> None:
    """Remove a server, its name from the agents that list it, and its scopes from what people's programs may reach.

    Another server of the same name was allowed to nobody. Locks: the server. Raises: UpstreamMissing.
    """
    with tenant_transaction(actor.org_id):
        server = lock_own_upstream(actor, server_id)
        close_questions(server, ApprovalStatus.EXPIRED)
        _take_from_lists(Agent, "mcp_servers", server.name)
        for scope in scopes_of_upstream(server.name):
            _take_from_lists(ConnectedApp, "scopes", scope)
            _take_from_lists(ApiToken, "scopes", scope)
        announce_change(McpServerChanged, server, "deleted")
        record_audit(actor, AuditAction.MCP_SERVER_REMOVED, Subject.of("mcp_server", server))
        server.delete()


def _take_from_lists(model: type[Model], field: str, word: str) -> None:
    """Take a word out of a list of all of a tenant's rows."""
    column: ArrayField[Any, Any] = model._meta.get_field(field)  # type: ignore[assignment]  # for lists only
    without = Func(F(field), Value(word), function="array_remove", output_field=column)
    model._default_manager.filter(**{f"{field}__contains": [word]}).update(**{field: without})


def approve_tools(
    actor: Actor, server_id: uuid.UUID, digest: str, names: Collection[str] | None = None
) -> UpstreamServer:
    """Accept what waits for a review, or those named; `digest` says which listing was looked at.

    Locks: the server. Emits: McpServerChanged, ApprovalDecided.
    Raises: UpstreamMissing, RoleMissing, ToolsChangedAgain, Invalid.
    """
    with tenant_transaction(actor.org_id):
        server = accept_tools(actor, server_id, digest, names)
        if not withheld_tools(server):
            close_questions(server, ApprovalStatus.ALLOWED, actor.user_id)
        return server


def _take_credential(server: UpstreamServer, credential: SecretStr | None) -> None:
    """Seal a credential into a row: the header's value, or the secret of the OAuth client."""
    if credential is None:
        return
    value = credential.get_secret_value()
    if server.auth == UpstreamAuth.NONE or (server.auth == UpstreamAuth.OAUTH and not server.client_id):
        raise Invalid(
            "There is no use for a credential.", fields={"credential": "for a header or a client_id"}
        )
    if not _PRINTABLE.fullmatch(value) or value != value.strip():
        raise Invalid("The credential is not usable.", fields={"credential": "printable ASCII, in one line"})
    kept = "value" if server.auth == UpstreamAuth.HEADER else "client_secret"
    seal_into(server, open_sealed(server) | {kept: value})
    if server.status == UpstreamStatus.UNAUTHORISED:
        server.status, server.last_error = UpstreamStatus.UNCHECKED, ""


def _judge_again(server: UpstreamServer) -> None:
    """Set the state anew when another allowlist makes tools wait, or lets none wait any more."""
    if server.status in (UpstreamStatus.OK, UpstreamStatus.CHANGED):
        withheld = withheld_tools(server)
        server.status = UpstreamStatus.CHANGED if withheld else UpstreamStatus.OK
        server.last_error = server.last_error if withheld else ""
