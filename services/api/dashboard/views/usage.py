"""What was used, and what it cost: by day as a chart, and by who or what used it as figures."""

from __future__ import annotations

import csv
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from services.api.dashboard.pages import PageRequest, page, show
from services.domain.agents.models import Agent
from services.domain.chats.models import Chat
from services.domain.errors import Invalid
from services.domain.identity.models import User
from services.domain.llm.budgets import list_budgets
from services.domain.metering.queries import NOBODY, GroupBy, Used, get_usage
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace
from services.kit.clock import now

DAYS = (7, 30, 90)
KINDS: dict[GroupBy, str] = {
    "agent": "Agent",
    "member": "Member",
    "chat": "Chat",
    "model": "Model",
    "workspace": "Workspace",
}
_NONE = {"member": "nobody's own work", "chat": "not from a chat", "model": "without a name"}
CHART_HEIGHT, CHART_STEP = 120, 14
MOST_GROUPS = 200


@dataclass(frozen=True, slots=True)
class Bar:
    """One day of the chart, in its own units: `x` and `width` across, `y` and `height` down."""

    day: date
    used: Used
    x: int
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class Line:
    """One group with its name; `share` is its part of the cost in percent, or where nothing cost of the tokens."""

    key: str
    name: str
    used: Used
    share: int
    workspace_id: str = ""


@page
@require_safe
def usage(request: PageRequest) -> HttpResponse:
    """Show a stretch of days, and who or what used it."""
    return show(request, "dashboard/usage.html", lambda: _context(request))


@page
@require_safe
def as_csv(request: PageRequest) -> HttpResponse:
    """Give the figures by group as a file for spreadsheets."""
    days, kind = _asked(request)
    with tenant_transaction(request.actor.org_id):
        lines = _lines(request, kind, days)
    answer = HttpResponse(content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="usage-by-{kind}-{days}-days.csv"'
    writer = csv.writer(answer)
    names = list(Used.__dataclass_fields__)
    writer.writerow([kind, "name", *names])
    for line in lines:
        # A name that begins like a formula must not be one in a spreadsheet.
        shown = f"'{line.name}" if line.name[:1] in "=+-@\t\r" else line.name
        writer.writerow([line.key, shown, *(getattr(line.used, name) for name in names)])
    return answer


def _asked(request: PageRequest) -> tuple[int, GroupBy]:
    days, kind = request.GET.get("days", "30"), request.GET.get("by", "agent")
    if days not in map(str, DAYS) or kind not in get_args(GroupBy) or kind not in KINDS:
        raise Invalid("There is no such view of the usage.")
    return int(days), kind


def _context(request: PageRequest) -> dict[str, Any]:
    days, kind = _asked(request)
    by_day = _report(request, "day", days)
    bars = _bars({date.fromisoformat(key): used for key, used in by_day.groups}, days)
    return {
        "days": days,
        "all_days": DAYS,
        "kind": kind,
        "kind_label": KINDS[kind],
        "kinds": KINDS,
        "total": by_day.total,
        "cpu_hours": round(by_day.total.cpu_ms / 3_600_000, 2),
        "bars": bars,
        "chart_width": len(bars) * CHART_STEP,
        "chart_height": CHART_HEIGHT,
        "highest": max((bar.used.cost_microusd for bar in bars), default=0),
        "lines": _lines(request, kind, days),
        "budgets": list_budgets(request.actor).count(),
    }


def _report(request: PageRequest, kind: GroupBy, days: int) -> Any:
    until = now()
    midnight = datetime.combine(until.astimezone(UTC).date(), datetime.min.time(), UTC)
    since = midnight - timedelta(days=days - 1)
    return get_usage(request.actor, since=since, until=until, group_by=kind, limit=MOST_GROUPS)


def _bars(by_day: Mapping[date, Used], days: int) -> list[Bar]:
    """Return a bar for each day, those without use too, the last one today's."""
    today = now().astimezone(UTC).date()
    dates = [today - timedelta(days=back) for back in range(days - 1, -1, -1)]
    most = max((used.cost_microusd for used in by_day.values()), default=0)
    bars = []
    for number, day in enumerate(dates):
        used = by_day.get(day, Used())
        height = round(used.cost_microusd / most * (CHART_HEIGHT - 4)) if most else 0
        bars.append(Bar(day, used, number * CHART_STEP, CHART_HEIGHT - height, height))
    return bars


def _lines(request: PageRequest, kind: GroupBy, days: int) -> list[Line]:
    report = _report(request, kind, days)
    names = _names(kind, [key for key, _ in report.groups])
    whole = report.total.cost_microusd or _tokens(report.total)
    lines = []
    for key, used in report.groups:
        known = names.get(key, "")
        name = known or (_NONE.get(kind, "deleted") if key == NOBODY else "deleted")
        part = used.cost_microusd if report.total.cost_microusd else _tokens(used)
        share = round(part / whole * 100) if whole else 0
        lines.append(Line(key, name, used, share, key if kind == "workspace" and known else ""))
    return sorted(lines, key=lambda line: (-line.used.cost_microusd, -_tokens(line.used), line.name))


def _tokens(used: Used) -> int:
    return used.input_tokens + used.output_tokens


def _names(kind: GroupBy, keys: list[str]) -> dict[str, str]:
    """Return what the groups are called, by their keys; in the tenant's transaction. What is gone has no name."""
    if kind == "model":
        return {key: key for key in keys}
    ids = [uuid.UUID(key) for key in keys if key != NOBODY]
    match kind:
        case "agent":
            return {str(row.id): row.name for row in Agent.objects.filter(id__in=ids)}
        case "workspace":
            return {str(row.id): row.name or "Untitled" for row in Workspace.objects.filter(id__in=ids)}
        case "chat":
            chats = Chat.objects.select_related("link").defer("link__sealed_config").filter(id__in=ids)
            return {str(row.id): f"{row.title or row.platform_chat_id} ({row.link.name})" for row in chats}
        case _:
            return {str(row.id): row.shown_name for row in User.objects.filter(id__in=ids)}
