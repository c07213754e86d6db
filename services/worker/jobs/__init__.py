"""What each job does. Every function may be called twice, late, or after a crash at any line of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.domain.outbox import jobs
from services.domain.playbooks.actions import fire_due_playbook
from services.worker.jobs import chats, sandboxes

EXECUTORS: dict[type[jobs.Job], Callable[[Any], None]] = {
    jobs.DispatchTask: sandboxes.dispatch_task,
    jobs.SettleSandbox: sandboxes.settle_sandbox,
    jobs.StopSandbox: sandboxes.stop_sandbox,
    jobs.RouteMessage: chats.route,
    jobs.DeliverAnswer: chats.deliver_answer,
    jobs.SendDelivery: chats.send_batch,
    jobs.ShowTyping: chats.show_typing,
    jobs.FirePlaybook: lambda job: fire_due_playbook(job.org_id, job.playbook_id, job.due_at),
}
