"""Telling webhooks."""

from __future__ import annotations

import asyncio

from services.adapters.upstreams.network import Network
from services.adapters.webhooks.client import call_webhook
from services.domain.outbox.jobs import SendWebhook
from services.domain.webhooks.sending import CallResult, apply_webhook, claim_webhook
from services.kit.clock import now
from services.kit.environment import environment


def send_webhook(job: SendWebhook) -> None:
    """Make one attempt at a delivery that is due. What comes of it, and when it is tried again, is on record."""
    due = claim_webhook(job.org_id, job.delivery_id)
    if due is None:
        return
    network = Network(internal_hosts=environment().internal_hosts())
    called = asyncio.run(
        call_webhook(network, due.url, due.secrets, f"msg_{due.delivery_id.hex}", now(), due.body)
    )
    result = CallResult(called.duration_ms, called.status, called.error, called.answer)
    apply_webhook(job.org_id, due, result)
