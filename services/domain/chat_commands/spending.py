"""The command that says what was spent."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from django.db.models import Count, Q, Sum

from services.domain.actors import require
from services.domain.chat_commands.base import Asked, Command, Who
from services.domain.tasks.models import UsageRecord
from services.kit.clock import now

_STRETCHES = (("24 hours", timedelta(days=1)), ("30 days", timedelta(days=30)))


class Usage(Command):
    """Say what was spent."""

    name: ClassVar[str] = "usage"
    help: ClassVar[str] = "Say what you and this chat have spent on models"
    who: ClassVar[Who] = Who.MEMBER

    def run(self, asked: Asked) -> str:
        """Add up the asker's own work, and the work that came from this chat. Raises: ScopeMissing."""
        person = asked.member()
        require(person, "usage:read")
        own = Q(task__user=person.user_id) | Q(user_id=person.user_id)
        lines = ["**You**"]
        lines += [_line(own, name, now() - ago) for name, ago in _STRETCHES]
        lines += ["", "**This chat**"]
        chat_id = asked.message.chat_id
        here = Q(task__deliver_to__chat_id=str(chat_id)) | Q(chat_id=chat_id)
        lines += [_line(here, name, now() - ago) for name, ago in _STRETCHES]
        return "\n".join(lines)


def _line(whose: Q, name: str, since: datetime) -> str:
    used = UsageRecord.objects.filter(whose, created_at__gte=since).aggregate(
        given=Sum("input_tokens"), made=Sum("output_tokens"), cost=Sum("cost_microusd"), calls=Count("id")
    )
    cost = (used["cost"] or 0) / 1_000_000
    tokens = f"{used['given'] or 0:,} tokens in, {used['made'] or 0:,} out"
    return f"- {name}: ${cost:.4f}, {used['calls']:,} model calls, {tokens}"
