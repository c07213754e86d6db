"""The caller's browsers for web push, over REST."""

from __future__ import annotations

import uuid

from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, one_of, page_of
from services.api.http.shapes import Moment, Page, Shape
from services.domain.errors import Missing, NotPermitted, QueueFull
from services.domain.push.keys import get_public_key
from services.domain.push.subscriptions import (
    NewSubscription,
    add_subscription,
    list_subscriptions,
    remove_subscription,
)


class SubscriptionShape(Shape):
    """A browser of the caller's. `host` is its push service's; `last_error` why the last one did not go out."""

    id: uuid.UUID
    label: str
    host: str
    last_sent_at: Moment | None
    last_error: str
    created_at: Moment


class PushKeyShape(Shape):
    """What a browser subscribes for: `applicationServerKey`."""

    public_key: str


class Subscriptions(Endpoint):
    """The caller's browsers."""

    tag = "me"

    @operation()
    def get(self, call: Call, query: PageQuery) -> Page[SubscriptionShape]:
        """List the browsers that the caller is told in, newest first."""
        return page_of(list_subscriptions(call.actor), query, SubscriptionShape.model_validate)

    @operation(status=201, errors=(NotPermitted, QueueFull))
    def post(self, call: Call, body: NewSubscription) -> SubscriptionShape:
        """Tell the caller in a browser too. The same one again replaces its keys."""
        return SubscriptionShape.model_validate(add_subscription(call.actor, body))


class PushKeyView(Endpoint):
    """The installation's public key."""

    tag = "me"

    @operation()
    def get(self, call: Call) -> PushKeyShape:
        """Show what a browser has to subscribe for."""
        return PushKeyShape(public_key=get_public_key())


class OneSubscription(Endpoint):
    """One of the caller's browsers."""

    tag = "me"

    @operation(errors=(Missing,))
    def get(self, call: Call, subscription_id: uuid.UUID) -> SubscriptionShape:
        """Show one of the browsers that the caller is told in."""
        row = one_of(list_subscriptions(call.actor), subscription_id, Missing, what="browser")
        return SubscriptionShape.model_validate(row)

    @operation(errors=(Missing,))
    def delete(self, call: Call, subscription_id: uuid.UUID) -> None:
        """Tell this browser nothing any more."""
        remove_subscription(call.actor, subscription_id)
