"""How a model mends a call that failed: a hint for every error, by its class or its family."""

from __future__ import annotations

from services.domain import errors
from services.domain.errors import Limited, SlipwayError, Temporary

_HINTS: dict[type[SlipwayError], str] = {
    errors.AgentMissing: "agent_list shows those that you may use.",
    errors.AgentArchived: "Take another one: agent_list shows those in use.",
    errors.WorkspaceMissing: "workspace_list shows those that you may see.",
    errors.WorkspaceArchived: "Leave workspace_id out to begin a new one.",
    errors.TaskMissing: "task_list shows those that you may see.",
    errors.TaskFinished: "task_get shows how it ended.",
    errors.PlaybookMissing: "playbook_list shows those that you may see.",
    errors.ChatMissing: "list_destinations shows where you may send to.",
    errors.FileExists: "Choose another path.",
    errors.NameTaken: "Choose another name.",
    errors.StillInUse: "Wait until the work there has ended, or cancel it with task_cancel.",
    errors.CursorInvalid: "Leave the cursor out to begin at the first page.",
    errors.ScheduleInvalid: "A cron has five fields, such as `30 7 * * 1-5`, a zone a name such as Europe/Berlin.",
    errors.NobodyToNotify: "Put what you have to say into your answer.",
    errors.BudgetExceeded: "Finish with what you have; only a person can raise the budget.",
    errors.AccountRefused: "If the reason says how, correct the call; else say in your answer what went wrong.",
    errors.Missing: "Check the id or the name: the tools that list show what there is.",
    errors.Conflict: "Look at the thing again before you go on; the same call would fail again.",
    errors.NotPermitted: "Only a person can allow this: say in your answer what you need.",
    errors.Unauthenticated: "Only a person can mend this: say so in your answer.",
    errors.Invalid: "Correct the arguments and call again.",
    errors.Permanent: "Trying again does not help: say in your answer what went wrong.",
    errors.SlipwayError: "Say in your answer what went wrong.",
}
SAY_IT_THEMSELVES = (
    errors.FileChanged,
    errors.MemoryMissing,
    errors.MemoryChanged,
    errors.MemoryFull,
    errors.NotGranted,
    errors.LoopStopped,
    errors.AccountNotConnected,
    errors.AccountMissing,
    errors.AccountAmbiguous,
    errors.AccountNotGranted,
    errors.AccountUnauthorised,
    errors.AccountThrottled,
)


def hint_for(error: SlipwayError) -> str:
    """Return what the caller can do about an error; empty where its message says so already."""
    if isinstance(error, SAY_IT_THEMSELVES):
        return ""
    if isinstance(error, Limited | Temporary) and error.retry_after_s is not None:
        return f"Try again in {max(1, round(error.retry_after_s))} s."
    if isinstance(error, Limited) and type(error) not in _HINTS:
        return "Trying again does not help: finish with what you have, and say so in your answer."
    return next(_HINTS[cls] for cls in type(error).__mro__ if cls in _HINTS)
