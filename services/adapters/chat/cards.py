"""A text with choices below it as a platform shows it: as buttons, or numbered where it has none or not enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.domain.ports.chat import ChatAdapter
from services.domain.ports.chat_abilities import Button, HasButtons

# Above the buttons, where the text itself is too long to have them.
CHOOSE = "Please choose:"


@dataclass(frozen=True, slots=True)
class RenderedCard:
    """The rendered parts, of which the last one carries the buttons, if there are any."""

    parts: list[str]
    buttons: list[Button] = field(default_factory=list)


def render_card(
    adapter: ChatAdapter, text: str, buttons: Sequence[Button], *, hint: str = ""
) -> RenderedCard:
    """Render a card. `hint` says how to answer in words, and is shown where there are no buttons to press.

    A label that is longer than a button can be is cut on it and shown in full in the text.
    """
    takes_all = isinstance(adapter, HasButtons) and all(
        len(button.value.encode()) <= adapter.button_limits.value_bytes for button in buttons
    )
    if not buttons or not isinstance(adapter, HasButtons) or not takes_all:
        return RenderedCard(adapter.render(_joined(text, _listed(buttons), _emphasised(hint))))
    limits = adapter.button_limits
    if len(buttons) > limits.buttons:
        return RenderedCard(adapter.render(_joined(text, _listed(buttons), _emphasised(hint))))
    is_cut = any(len(button.label) > limits.label_chars for button in buttons)
    shown = [
        Button(
            _cut(f"{number}. {button.label}" if is_cut else button.label, limits.label_chars),
            button.value,
            button.url,
        )
        for number, button in enumerate(buttons, 1)
    ]
    parts = adapter.render(_joined(text, _listed(buttons) if is_cut else ""))
    if limits.max_text is not None and len(parts[-1]) > limits.max_text:
        parts += adapter.render(CHOOSE)
    return RenderedCard(parts, shown)


def _listed(buttons: Sequence[Button]) -> str:
    return "\n".join(
        f"{number}. {button.label}{f' ({button.url})' if button.url else ''}"
        for number, button in enumerate(buttons, 1)
    )


def _emphasised(hint: str) -> str:
    return f"*{hint}*" if hint else ""


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _cut(label: str, chars: int) -> str:
    return label if len(label) <= chars else label[: chars - 1] + "…"
