"""Small things that templates show: moments, money, lengths of time, icons, states."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.utils.timesince import timesince, timeuntil

from services.kit.clock import now, rfc3339

register = template.Library()

# What a state looks like: one of the tones of the style sheet.
_TONES = {
    "succeeded": "good", "sent": "good", "active": "good", "connected": "good", "enabled": "good", "allowed": "good",
    "listening": "good", "kept": "good",
    "failed": "bad", "expired": "bad", "error": "bad", "broken": "bad", "denied": "bad",
    "running": "live", "starting": "live", "busy": "live", "sending": "live", "creating": "live",
    "ready": "good", "building": "live",
    "waiting": "warn", "pending": "warn", "paused": "warn",
    "queued": "wait", "idle": "calm", "warm": "calm",
    "ok": "good", "unreachable": "bad", "unauthorised": "bad", "changed": "warn", "unchecked": "wait",
    "refused": "bad",
}  # fmt: skip


@register.inclusion_tag("dashboard/parts/moment.html")
def moment(value: datetime | None, empty: str = "never") -> dict[str, Any]:
    """Show a moment relative to now, its exact time on hover."""
    if value is None:
        return {"value": None, "empty": empty}
    present = now()
    if abs((present - value).total_seconds()) < 60:
        words = "just now" if value <= present else "within a minute"
    elif value < present:
        words = f"{timesince(value, present, depth=1)} ago"
    else:
        words = f"in {timeuntil(value, present, depth=1)}"
    return {"value": value, "words": words, "exact": rfc3339(value)}


@register.inclusion_tag("dashboard/parts/state.html")
def state(value: str, label: str = "") -> dict[str, str]:
    """Show a state as a dot and a word."""
    return {"value": value, "label": label or value, "tone": tone(value)}


@register.filter
def tone(value: str | None) -> str:
    """Return the tone in which a state is shown."""
    return _TONES.get(value or "", "none")


@register.inclusion_tag("dashboard/parts/icon.html")
def icon(name: str) -> dict[str, str]:
    """Show an icon of the sprite; decoration, not read out."""
    return {"name": name}


@register.inclusion_tag("dashboard/parts/field.html")
def field(bound: Any) -> dict[str, Any]:
    """Show a form field: its label, help, input and what is wrong with it."""
    kind = getattr(bound.field.widget, "input_type", "text")
    is_many = getattr(bound.field.widget, "allow_multiple_selected", False) and kind == "checkbox"
    return {"field": bound, "is_checkbox": kind == "checkbox" and not is_many, "is_many": is_many}


@register.filter
def dollars(microusd: object) -> str:
    """Show micro-dollars as dollars, with as many places as it takes; nothing for what is not known."""
    if not isinstance(microusd, int):
        return ""
    amount = microusd / 1_000_000
    return f"${amount:.2f}" if amount >= 1 or amount == 0 else f"${amount:.4f}"


@register.filter
def thousands(value: object) -> str:
    """Show a number with its thousands set off."""
    return f"{value:,}" if isinstance(value, int) else ""


@register.filter
def milliseconds(value: object) -> str:
    """Show a length of time given in milliseconds; nothing for what is not known."""
    if not isinstance(value, int):
        return ""
    if value < 1000:
        return f"{value} ms"
    seconds = value / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod((value + 500) // 1000, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
