"""Showing notifications in people's browsers."""

from __future__ import annotations

import asyncio

from services.adapters.push.client import push
from services.adapters.upstreams.network import Network
from services.domain.errors import Permanent, PushGone, Temporary
from services.domain.outbox.jobs import PushApproval, SendPush
from services.domain.push.approvals import find_approval_push
from services.domain.push.keys import get_vapid_key
from services.domain.push.telling import PushDue, find_push, forget_browser, note_pushed
from services.kit.environment import environment


def send_push(job: SendPush) -> None:
    """Push a notification to one browser. Raises: Temporary."""
    _push(job, find_push(job))


def push_approval(job: PushApproval) -> None:
    """Push to one browser that an approval waits. Raises: Temporary."""
    _push(job, find_approval_push(job))


def _push(job: SendPush | PushApproval, due: PushDue | None) -> None:
    """Push to a browser. One that is gone is forgotten; a service that is away is tried again.

    Raises: Temporary.
    """
    if due is None:
        return
    env = environment()
    try:
        asyncio.run(
            push(
                due.subscription,
                due.payload,
                urgency=due.urgency,
                topic=due.topic,
                key=get_vapid_key(),
                subject=env.push_contact or env.public_url,
                network=Network(internal_hosts=env.internal_hosts()),
            )
        )
    except PushGone:
        forget_browser(job.org_id, job.subscription_id)
    except Temporary as error:
        note_pushed(job.org_id, job.subscription_id, error=error.message)
        raise
    except Permanent as error:
        note_pushed(job.org_id, job.subscription_id, error=error.message)
    else:
        note_pushed(job.org_id, job.subscription_id)
