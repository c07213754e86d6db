"""Commands about the talk at hand: begin anew, stop, say what goes on."""

from __future__ import annotations

from typing import ClassVar

from services.domain.actors import require
from services.domain.chat_commands.base import Asked, Command
from services.domain.chat_commands.place import Seat, list_seats, list_work, name_agents
from services.domain.chats.claiming_threads import release_place
from services.domain.chats.models import Conversation, SessionMode
from services.domain.chats.stopping import stop_turns
from services.domain.errors import NotPermitted, RoleMissing
from services.domain.tasks.models import Task, TaskStatus
from services.kit.clock import now

NOBODY = "No agent answers here yet. An admin can choose one with `/agent`, or on the dashboard."
_DOING = {
    TaskStatus.QUEUED: "waits for its turn, since {since}",
    TaskStatus.STARTING: "is being started, since {since}",
    TaskStatus.RUNNING: "has been at work for {since}",
    TaskStatus.WAITING: "waits for an answer or an approval, {since} after it was asked for work",
}
_SHOWN_CHARS = 80


class New(Command):
    """Begin a conversation anew."""

    name: ClassVar[str] = "new"
    help: ClassVar[str] = "Begin a new conversation here; what was said before is not looked at"

    def run(self, asked: Asked) -> str:
        """Forget which workspace this place talks in; the workspace itself stays. What was said before is no context.

        Raises: NotPermitted, RoleMissing.
        """
        message = asked.message
        seats = list_seats(message.chat, message.thread_id)
        was_claimed = release_place(message.chat, message.thread_id)
        if not seats:
            return "What was claimed here is let go." if was_claimed else NOBODY
        if not asked.is_direct:
            person = asked.member()
            require(person, "tasks:write")
            if any(seat.wiring.session_mode == SessionMode.AGENT_SHARED for seat in seats):
                _refuse_for_all(person.role)
        for seat in seats:
            Conversation.objects.filter(agent=seat.agent, scope=seat.scope).delete()
        words = f"A new conversation with {name_agents(seats)}. The earlier one is on the dashboard."
        if list_work(message.chat, message.thread_id):
            words += " What is at work still goes on; `/stop` ends it."
        return words


class Stop(Command):
    """Cancel the work at hand."""

    name: ClassVar[str] = "stop"
    help: ClassVar[str] = "Stop what is at work here"

    def run(self, asked: Asked) -> str:
        """Cancel what is at work or waits here, as far as the asker may. Raises: NotPermitted."""
        message = asked.message
        stopped = stop_turns(message.chat, message.thread_id, message.sender_id)
        if stopped.count:
            return "Stopping." if stopped.count == 1 else f"Stopping {stopped.count} pieces of work."
        if stopped.is_refused:
            raise NotPermitted("This is somebody's own work: only they stop it, and admins.")
        return "Nothing is at work here."


class Status(Command):
    """Say what is going on."""

    name: ClassVar[str] = "status"
    help: ClassVar[str] = "Say what is at work here, what waits, and since when"

    def run(self, asked: Asked) -> str:
        """List the agents of this place and what each is doing."""
        message = asked.message
        seats = list_seats(message.chat, message.thread_id)
        work = list_work(message.chat, message.thread_id)
        lines = [_line(task) for task in work]
        idle = [seat for seat in seats if all(task.agent_id != seat.agent.id for task in work)]
        lines += [_idle_line(seat) for seat in idle]
        return "\n".join(lines) or NOBODY


def _line(task: Task) -> str:
    doing = _DOING[TaskStatus(task.status)].format(since=how_long(task))
    if task.cancel_requested_at is not None:
        doing = "is stopping"
    words = " ".join(task.prompt.split())
    shown = words if len(words) <= _SHOWN_CHARS else f"{words[:_SHOWN_CHARS]}…"
    return f"- **{task.agent.name}** {doing}: {shown}"


def _idle_line(seat: Seat) -> str:
    if seat.workspace is None:
        return f"- **{seat.agent.name}** has nothing to do, and no conversation here yet"
    turns = seat.workspace.turn_count
    last = f"{seat.workspace.last_active_at:%Y-%m-%d %H:%M} UTC"
    return f"- **{seat.agent.name}** has nothing to do; {turns} turn{'s' * (turns != 1)} here, the last at {last}"


def how_long(task: Task) -> str:
    """Return how long a task has been at work, or waiting for it, in words."""
    seconds = int((now() - (task.started_at or task.created_at)).total_seconds())
    if seconds < 120:
        return f"{max(seconds, 0)} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _refuse_for_all(role: str) -> None:
    if role not in ("owner", "admin"):
        raise RoleMissing(
            "This conversation is shared by all chats of the agent, so only an admin begins it anew.",
            role="admin",
        )
