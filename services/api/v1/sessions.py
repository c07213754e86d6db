"""The caller's browsers over REST."""

from __future__ import annotations

import uuid

from services.api.http.operations import Call, Endpoint, operation
from services.api.http.shapes import Moment, Shape
from services.api.signing.sessions import end_session, list_sessions
from services.domain.actors import Actor, require
from services.domain.errors import Missing, NotPermitted
from services.domain.identity.models import User
from services.domain.identity.people import get_person


class SessionShape(Shape):
    """A browser in which the caller is signed in. `device` is what it says of itself."""

    id: uuid.UUID
    address: str
    device: str
    created_at: Moment
    last_seen_at: Moment


class SessionsShape(Shape):
    """All of them, the one used last first."""

    items: list[SessionShape]


class Sessions(Endpoint):
    """Sessions."""

    tag = "identity"

    @operation(errors=(NotPermitted,))
    def get(self, call: Call) -> SessionsShape:
        """List the browsers in which the caller is signed in, in all organisations."""
        shown = [
            SessionShape(
                id=row.id,
                address=row.address,
                device=row.device,
                created_at=row.created_at,
                last_seen_at=row.last_seen_at,
            )
            for row in list_sessions(_person(call.actor, "members:read"), None)
        ]
        return SessionsShape(items=shown)


class OneSession(Endpoint):
    """One session."""

    tag = "identity"

    @operation(errors=(NotPermitted, Missing))
    def delete(self, call: Call, session_id: uuid.UUID) -> None:
        """Sign a browser out at once."""
        end_session(_person(call.actor, "members:write"), session_id)


def _person(actor: Actor, scope: str) -> User:
    require(actor, scope)
    person = get_person(actor)
    if person is None:
        raise NotPermitted("Only people have sessions.")
    return person
