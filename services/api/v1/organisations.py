"""Organisations and invitations over REST."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import BinaryIO, Self

from pydantic import Field

from services.adapters.storage.registry import storage_of
from services.api.http.bodies import Closed
from services.api.http.operations import Call, Download, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Changes, Moment, Page, Shape
from services.api.v1.identity import OrganisationShape
from services.domain.actors import Actor, require
from services.domain.errors import (
    AlreadyMember,
    Conflict,
    Invalid,
    InvitationMissing,
    Limited,
    Missing,
    NameTaken,
    NotPermitted,
    QueueFull,
    RoleMissing,
)
from services.domain.identity.deletion import cancel_deletion, plan_deletion
from services.domain.identity.exports import get_export, list_exports, order_export
from services.domain.identity.invitations import (
    all_tenants_accept_invitation,
    invite,
    join_address,
    list_invitations,
    revoke_invitation,
)
from services.domain.identity.models import (
    ExportStatus,
    Invitation,
    Organisation,
    OrganisationExport,
    Role,
    User,
)
from services.domain.identity.organisations import (
    all_tenants_check_name,
    all_tenants_open_organisation,
    rename_organisation,
)
from services.domain.identity.people import get_person
from services.domain.identity.queries import all_tenants_organisations_of
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.environment import environment


class MyOrganisationShape(OrganisationShape):
    """An organisation and the caller's role in it."""

    role: Role

    @classmethod
    def of(cls, organisation: Organisation, role: str) -> Self:
        """Show a row and a role."""
        return cls(id=organisation.id, slug=organisation.slug, name=organisation.name, role=Role(role))


class MyOrganisations(Shape):
    """The caller's organisations, by name. A token knows its own only."""

    items: list[MyOrganisationShape]


class NewOrganisation(Closed):
    """A new organisation; the caller becomes its owner."""

    slug: str = Field(max_length=40, examples=["acme"])
    name: str = Field(min_length=1, max_length=120)


class OrganisationChanges(Changes):
    """The fields to change. With another `slug` the old one is free at once."""

    slug: str = Field(default="", max_length=40)
    name: str = Field(default="", max_length=120)


class NameQuery(Closed):
    """The short name that one would like to have."""

    slug: str = Field(default="", max_length=100)


class NameShape(Shape):
    """Whether a short name can be had, why not, and one that could be had instead."""

    slug: str
    is_available: bool
    reason: str
    suggestion: str


class NewInvitation(Closed):
    """An offer of a place. With an `email` it is for that account only; without, for whoever has the link."""

    email: str = Field(default="", max_length=254, examples=["bob@example.com"])
    role: Role = Role.MEMBER


class InvitationShape(Shape):
    """A pending invitation, without its text."""

    id: uuid.UUID
    email: str
    role: Role
    invited_by: uuid.UUID | None
    is_mailed: bool
    created_at: Moment
    expires_at: Moment

    @classmethod
    def of(cls, row: Invitation) -> Self:
        """Show a row."""
        return cls(
            id=row.id,
            email=row.email,
            role=Role(row.role),
            invited_by=row.invited_by_id,
            is_mailed=row.is_mailed,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )


class NewInvitationShape(InvitationShape):
    """A new invitation. Its text and link are shown this once; null when they are on their way by mail."""

    token: str | None
    url: str | None

    @classmethod
    def with_text(cls, row: Invitation, text: str | None) -> Self:
        """Show a row together with its text."""
        shown = InvitationShape.of(row).model_dump()
        return cls(**shown, token=text, url=join_address(text) if text else None)


class Acceptance(Closed):
    """An invitation's text."""

    token: str = Field(min_length=1, max_length=200)


class Organisations(Endpoint):
    """The caller's organisations."""

    tag = "organisations"

    @operation()
    def get(self, call: Call) -> MyOrganisations:
        """List the caller's organisations. Name one with the header `X-Slipway-Org` to act in it."""
        found = all_tenants_organisations_of(_person(call.actor))
        if call.actor.kind != "user":
            found = [entry for entry in found if entry[0].id == call.actor.org_id]
        return MyOrganisations(items=[MyOrganisationShape.of(*entry) for entry in found])

    @operation(status=201, errors=(NotPermitted, Invalid, NameTaken, Limited))
    def post(self, call: Call, body: NewOrganisation) -> MyOrganisationShape:
        """Make an organisation, where this installation lets people do so."""
        require(call.actor, "members:write")
        made = all_tenants_open_organisation(_person(call.actor), slug=body.slug, name=body.name)
        return MyOrganisationShape.of(made, Role.OWNER)


class NameCheckView(Endpoint):
    """Short names."""

    tag = "organisations"

    @operation()
    def get(self, call: Call, query: NameQuery) -> NameShape:
        """Say whether an organisation could have a short name."""
        return NameShape.model_validate(all_tenants_check_name(query.slug))


class OneOrganisation(Endpoint):
    """The organisation that the call acts in."""

    tag = "organisations"

    @operation(errors=(RoleMissing, Invalid, NameTaken))
    def patch(self, call: Call, body: OrganisationChanges) -> OrganisationShape:
        """Rename the organisation. Owners only."""
        changed = rename_organisation(call.actor, body.model_dump(exclude_unset=True))
        return OrganisationShape.model_validate(changed)


class ExportShape(Shape):
    """An export. Once it is `ready`, its bytes are at `content` below it, until it expires."""

    id: uuid.UUID
    status: ExportStatus
    size_bytes: int | None
    created_at: Moment
    finished_at: Moment | None
    expires_at: Moment

    @classmethod
    def of(cls, row: OrganisationExport) -> Self:
        """Show a row."""
        return cls.model_validate(row)


class DeletionShape(Shape):
    """When the organisation is deleted; null: it stays."""

    deletion_due_at: Moment | None


class Deletion(Endpoint):
    """The end of the organisation."""

    tag = "organisations"

    @operation(errors=(RoleMissing,))
    def put(self, call: Call) -> DeletionShape:
        """Have the organisation deleted after the grace. It goes on until then. Owners only."""
        return DeletionShape.model_validate(plan_deletion(call.actor))

    @operation(errors=(RoleMissing,))
    def delete(self, call: Call) -> None:
        """Keep the organisation after all."""
        cancel_deletion(call.actor)


class Exports(Endpoint):
    """Exports."""

    tag = "organisations"

    @operation(errors=(RoleMissing,))
    def get(self, call: Call, query: PageQuery) -> Page[ExportShape]:
        """List the exports that can be fetched, newest first. Owners only."""
        return page_of(list_exports(call.actor), query, ExportShape.of)

    @operation(status=202, errors=(RoleMissing, Conflict))
    def post(self, call: Call) -> ExportShape:
        """Have an archive made of all that the organisation has. What opens something is left out. Owners only."""
        return ExportShape.of(order_export(call.actor))


class ExportContent(Endpoint):
    """An archive."""

    tag = "organisations"

    @operation(errors=(RoleMissing, Missing, Conflict), is_waiting=True)
    def get(self, call: Call, export_id: uuid.UUID) -> Download:
        """Fetch an archive: a zip with a file of JSON lines for each table."""
        with tenant_transaction(call.actor.org_id):
            row = get_export(call.actor, export_id)
        if row.status != ExportStatus.READY:
            raise Conflict("The export is still being made.")
        stream = storage_of(environment()).open(row.key)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f'attachment; filename="slipway-{row.created_at:%Y-%m-%d}.zip"',
            "Content-Length": str(row.size_bytes),
        }
        return Download(_chunks(stream), headers=headers)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while chunk := stream.read(128 * 1024):
            yield chunk


class Invitations(Endpoint):
    """Invitations."""

    tag = "organisations"

    @operation(errors=(RoleMissing,))
    def get(self, call: Call, query: PageQuery) -> Page[InvitationShape]:
        """List the invitations that can still be accepted, newest first."""
        return page_of(list_invitations(call.actor), query, InvitationShape.of)

    @operation(status=201, errors=(RoleMissing, Invalid, AlreadyMember, QueueFull))
    def post(self, call: Call, body: NewInvitation) -> NewInvitationShape:
        """Invite somebody for seven days. An older invitation of the same address ends."""
        return NewInvitationShape.with_text(*invite(call.actor, email=body.email, role=body.role))


class OneInvitation(Endpoint):
    """One invitation."""

    tag = "organisations"

    @operation(errors=(RoleMissing, Missing))
    def delete(self, call: Call, invitation_id: uuid.UUID) -> None:
        """Take an invitation back."""
        revoke_invitation(call.actor, invitation_id)


class InvitationAccept(Endpoint):
    """Accepting."""

    tag = "organisations"

    @operation(errors=(InvitationMissing, AlreadyMember, NotPermitted))
    def post(self, call: Call, body: Acceptance) -> OrganisationShape:
        """Join the organisation that an invitation is of. It is used up then."""
        if call.actor.kind != "user":
            raise NotPermitted("A token belongs to one organisation: sign in to join another.")
        joined = all_tenants_accept_invitation(_person(call.actor), body.token)
        return OrganisationShape.model_validate(joined)


def _person(actor: Actor) -> User:
    person = get_person(actor)
    if person is None:
        raise NotPermitted("Only people have organisations.")
    return person
