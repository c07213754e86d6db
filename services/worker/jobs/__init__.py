"""What each job does. Every function may be called twice, late, or after a crash at any line of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.domain.chats.reports import note_failure
from services.domain.contacts.between_agents import return_answer
from services.domain.outbox import jobs
from services.domain.playbooks.actions import fire_due_playbook
from services.domain.tasks.messages import submit_left_messages
from services.worker.jobs import (
    archiving,
    cards,
    chats,
    dispatching,
    exporting,
    hooks,
    images,
    inbound_files,
    letters,
    links,
    pool,
    pushing,
    sandboxes,
    webhooks,
)


def _submit_follow_ups(job: jobs.SubmitFollowUps) -> None:
    submit_left_messages(job.org_id, job.task_id)


EXECUTORS: dict[type[jobs.Job], Callable[[Any], None]] = {
    jobs.DispatchTask: dispatching.dispatch_task,
    jobs.StartTask: dispatching.start_task,
    jobs.SettleSandbox: dispatching.settle_sandbox,
    jobs.SubmitFollowUps: _submit_follow_ups,
    jobs.StopSandbox: sandboxes.stop_sandbox,
    jobs.PauseSandbox: sandboxes.pause_sandbox,
    jobs.WakeSandbox: dispatching.wake_sandbox,
    jobs.FillPool: pool.fill_pool,
    jobs.SnapshotVolume: archiving.snapshot_volume,
    jobs.ArchiveVolume: archiving.archive_volume,
    jobs.DrainHost: archiving.drain_host,
    jobs.BuildImage: images.build_image,
    jobs.CompleteHook: hooks.complete_hook,
    jobs.RouteMessage: chats.route,
    jobs.HandleInboundEvent: chats.handle_inbound_event,
    jobs.FetchFile: inbound_files.fetch_file,
    jobs.ForgetObjects: inbound_files.forget_objects,
    jobs.DeliverAnswer: chats.deliver_answer,
    jobs.ReturnAnswer: lambda job: return_answer(job.org_id, job.task_id),
    jobs.SendDelivery: chats.send_batch,
    jobs.WriteReply: chats.reply,
    jobs.NoteFailure: note_failure,
    jobs.ReportDeadDelivery: chats.report_dead,
    jobs.CheckLink: links.check_link,
    jobs.SendPush: pushing.send_push,
    jobs.SendWebhook: webhooks.send_webhook,
    jobs.SendLetter: letters.send_letter,
    jobs.MakeExport: exporting.make_export,
    jobs.PushApproval: pushing.push_approval,
    jobs.ShowQuestion: cards.show_question,
    jobs.ShowApproval: cards.show_approval,
    jobs.ShowApprovalPage: cards.show_approval_page,
    jobs.HandlePress: cards.handle_press,
    jobs.FirePlaybook: lambda job: fire_due_playbook(job.org_id, job.playbook_id, job.due_at),
}
