"""The caller, members, tokens and tickets over REST."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Self

from pydantic import AwareDatetime, Field

from services.api.http.bodies import Closed
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of_list
from services.api.http.shapes import Changes, Moment, Page, Shape
from services.domain.actors import Actor
from services.domain.errors import Invalid, LastOwner, Missing, NotPermitted, RoleMissing, Temporary
from services.domain.identity.members import change_role, remove_member
from services.domain.identity.models import ApiToken, Membership, Organisation, Role, TokenKind, User
from services.domain.identity.people import LANGUAGE, get_person, update_person
from services.domain.identity.queries import (
    get_member,
    get_organisation,
    get_token,
    list_members,
    list_tokens,
)
from services.domain.identity.tickets import TICKET_LIFE, issue_ticket
from services.domain.identity.tokens import create_token, revoke_token, rotate_token
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now


class TokenBody(Closed):
    """A new API token. Without scopes it gets all; without an expiry it lives 90 days.

    Of `signing` kind it is never sent: requests are signed with it (RFC 9421, HMAC-SHA256). With `agent_ids` it reaches
    those agents and their work only, and carries only scopes for that.
    """

    name: str = Field(min_length=1, max_length=80)
    scopes: list[str] | None = Field(default=None, max_length=100)
    expires_at: AwareDatetime | None = None
    kind: TokenKind = TokenKind.BEARER
    agent_ids: list[uuid.UUID] | None = Field(default=None, min_length=1, max_length=100)


class RotationBody(Closed):
    """How long the text before stays good, in seconds: up to a week, a day unless said."""

    grace_s: int = Field(default=86_400, ge=0, le=604_800)


class TokenShape(Shape):
    """An API token without its text."""

    id: uuid.UUID
    user_id: uuid.UUID
    name: str
    kind: TokenKind
    hint: str
    scopes: list[str]
    agent_ids: list[uuid.UUID] | None
    created_at: Moment
    expires_at: Moment
    last_used_at: Moment | None
    rotated_at: Moment | None
    previous_until: Moment | None

    @classmethod
    def of(cls, token: ApiToken) -> Self:
        """Show a row."""
        return cls.model_validate(token)


class NewTokenShape(TokenShape):
    """An API token with its text, which is shown this once."""

    token: str

    @classmethod
    def with_text(cls, token: ApiToken, text: str) -> Self:
        """Show a row together with the token's text."""
        return cls(**TokenShape.of(token).model_dump(), token=text)


class MemberShape(Shape):
    """A person's place in the organisation."""

    user_id: uuid.UUID
    email: str
    display_name: str
    role: Role
    created_at: Moment

    @classmethod
    def of(cls, member: Membership) -> Self:
        """Show a row and its account."""
        return cls(
            user_id=member.user_id,
            email=member.user.email,
            display_name=member.user.display_name,
            role=Role(member.role),
            created_at=member.created_at,
        )


class RoleBody(Closed):
    """A member's role."""

    role: Role


class PersonChanges(Changes):
    """The fields to change. `language` is a tag of BCP 47; agents are told it."""

    display_name: str = Field(default="", max_length=120)
    language: str = Field(default="", max_length=35, pattern=LANGUAGE, examples=["pt-BR"])


class OrganisationShape(Shape):
    """The organisation that the call acts in."""

    id: uuid.UUID
    slug: str
    name: str


class MeShape(Shape):
    """Who calls, in which organisation, and with which scopes (null: all that the role allows)."""

    kind: str
    user_id: uuid.UUID | None
    display_name: str
    language: str
    role: Role
    scopes: list[str] | None
    organisation: OrganisationShape

    @classmethod
    def of(cls, actor: Actor, organisation: Organisation, person: User | None) -> Self:
        """Show an actor."""
        return cls(
            kind=actor.kind,
            user_id=actor.user_id,
            display_name=person.display_name if person else "",
            language=person.language if person else "",
            role=Role(actor.role),
            scopes=None if actor.scopes is None else sorted(actor.scopes),
            organisation=OrganisationShape.model_validate(organisation),
        )


class TicketShape(Shape):
    """A one-use ticket for the realtime service."""

    ticket: str
    expires_at: Moment


class Me(Endpoint):
    """The caller."""

    tag = "identity"

    @operation()
    def get(self, call: Call) -> MeShape:
        """Show who calls."""
        return _show_me(call.actor)

    @operation(errors=(NotPermitted,))
    def patch(self, call: Call, body: PersonChanges) -> MeShape:
        """Change what the caller says about themselves, in all their organisations."""
        update_person(call.actor, body.model_dump(exclude_unset=True))
        return _show_me(call.actor)


def _show_me(actor: Actor) -> MeShape:
    with tenant_transaction(actor.org_id):
        return MeShape.of(actor, get_organisation(actor.org_id), get_person(actor))


class Members(Endpoint):
    """The organisation's members."""

    tag = "identity"

    @operation()
    def get(self, call: Call, query: PageQuery) -> Page[MemberShape]:
        """List the members, newest first."""
        return page_of_list(list_members(call.actor), query, MemberShape.of)


class OneMember(Endpoint):
    """One member."""

    tag = "identity"

    @operation(errors=(Missing,))
    def get(self, call: Call, user_id: uuid.UUID) -> MemberShape:
        """Show a member."""
        return MemberShape.of(get_member(call.actor, user_id))

    @operation(errors=(Missing, RoleMissing, LastOwner))
    def patch(self, call: Call, user_id: uuid.UUID, body: RoleBody) -> MemberShape:
        """Give a member another role. Only owners make owners, or take it from one."""
        return MemberShape.of(change_role(call.actor, user_id, body.role))

    @operation(errors=(Missing, RoleMissing, LastOwner))
    def delete(self, call: Call, user_id: uuid.UUID) -> None:
        """Remove a member, or leave by removing oneself. Their tokens die at once; the last owner stays."""
        remove_member(call.actor, user_id)


class Tokens(Endpoint):
    """API tokens."""

    tag = "identity"

    @operation()
    def get(self, call: Call, query: PageQuery) -> Page[TokenShape]:
        """List one's own tokens, or as an admin everybody's."""
        return page_of_list(list_tokens(call.actor), query, TokenShape.of)

    @operation(status=201, errors=(Invalid, NotPermitted))
    def post(self, call: Call, body: TokenBody) -> NewTokenShape:
        """Create a token. Its text is shown this once."""
        row, text = create_token(
            call.actor,
            name=body.name,
            scopes=body.scopes,
            expires_at=body.expires_at,
            kind=body.kind,
            agent_ids=body.agent_ids,
        )
        return NewTokenShape.with_text(row, text)


class OneToken(Endpoint):
    """One API token."""

    tag = "identity"

    @operation(errors=(Missing,))
    def get(self, call: Call, token_id: uuid.UUID) -> TokenShape:
        """Show a token, without its text."""
        return TokenShape.of(get_token(call.actor, token_id))

    @operation(errors=(Missing,))
    def delete(self, call: Call, token_id: uuid.UUID) -> None:
        """Revoke a token at once."""
        revoke_token(call.actor, token_id)


class TokenRotate(Endpoint):
    """Rotation."""

    tag = "identity"

    @operation(status=201, errors=(Missing, NotPermitted))
    def post(self, call: Call, token_id: uuid.UUID, body: RotationBody) -> NewTokenShape:
        """Give a token another text, shown this once; the one before stays good for a while."""
        grace = timedelta(seconds=body.grace_s)
        return NewTokenShape.with_text(*rotate_token(call.actor, token_id, grace=grace))


class Tickets(Endpoint):
    """Tickets for the realtime service."""

    tag = "identity"

    @operation(status=201, errors=(Temporary,))
    def post(self, call: Call) -> TicketShape:
        """Make a ticket that opens one connection to the realtime service within the next seconds."""
        return TicketShape(ticket=issue_ticket(call.actor), expires_at=now() + TICKET_LIFE)
