"""The playbook tools as the model sees them."""

from __future__ import annotations

from services.mcp_gateway.mcp_servers.platform import playbooks
from services.mcp_gateway.mcp_servers.platform.playbook_models import (
    CreateInput,
    Deleted,
    ListedRun,
    OnePlaybook,
    PlaybookInput,
    PlaybookList,
    PlaybookListInput,
    RunInput,
    RunList,
    RunsInput,
    ScheduleInput,
    UpdateInput,
)
from services.mcp_gateway.mcp_servers.tools import Tool

PLAYBOOK_TOOLS = (
    Tool(
        "schedule_task",
        "Have work done later: once at `run_at`, or again and again by `cron`. It is a playbook like any other, and "
        "its answer goes where yours goes. Do not chain reminders: for something regular use one cron.",
        ScheduleInput,
        OnePlaybook,
        playbooks.schedule,
    ),
    Tool(
        "playbook_create",
        "Keep a prompt that a schedule, a webhook or a call of playbook_run fires. The agent may have no more rights "
        "than you, and each run costs at most what you may spend.",
        CreateInput,
        OnePlaybook,
        playbooks.create,
    ),
    Tool(
        "playbook_list",
        "List the playbooks of the person you work for, the newest first.",
        PlaybookListInput,
        PlaybookList,
        playbooks.list_all,
        reads_only=True,
    ),
    Tool(
        "playbook_get",
        "Look at one playbook: its prompt, its schedule, when it runs next.",
        PlaybookInput,
        OnePlaybook,
        playbooks.get,
        reads_only=True,
    ),
    Tool(
        "playbook_update",
        "Change some fields of a playbook; those that are left out stay. A `run_at` takes the place of a schedule, a "
        "`cron` that of a moment.",
        UpdateInput,
        OnePlaybook,
        playbooks.update,
        destroys=True,
    ),
    Tool(
        "playbook_pause",
        "Keep a playbook from running by itself until playbook_resume; playbook_run still fires it.",
        PlaybookInput,
        OnePlaybook,
        playbooks.pause,
    ),
    Tool(
        "playbook_resume",
        "Let a paused playbook run by its schedule again, from its next time on.",
        PlaybookInput,
        OnePlaybook,
        playbooks.resume,
    ),
    Tool(
        "playbook_run",
        "Fire a playbook now, whatever its schedule. Returns at once with the task, for task_wait.",
        RunInput,
        ListedRun,
        playbooks.run,
    ),
    Tool(
        "playbook_runs",
        "List when a playbook ran, the newest first, with the state of each run's task.",
        RunsInput,
        RunList,
        playbooks.list_of_one,
        reads_only=True,
    ),
    Tool(
        "playbook_delete",
        "Delete a playbook, also a scheduled task that is not wanted any more. Runs that are under way go on: "
        "task_cancel stops them.",
        PlaybookInput,
        Deleted,
        playbooks.delete,
        destroys=True,
    ),
)
