"""Why a message of a chat was answered, or not."""

from __future__ import annotations

import click

from slipway_cli.session import Session, command_options, plain, session
from slipway_client.types import Decision


@click.command()
@click.argument("message_id")
@command_options
@session
def explain(state: Session, message_id: str) -> None:
    """Say why a message was answered or not. Its id is on the chat's page."""
    found = state.client.decisions.get(message_id)
    if state.is_json:
        state.show_json(found)
        return
    for line in explained(found):
        click.echo(plain(line))


def explained(decision: Decision) -> list[str]:
    """Return a decision as a person reads it, by lines."""
    who = decision["sender_name"] or decision["sender_id"]
    lines = [
        f"{who} at {decision['sent_at']}: {decision['text'] or '(nothing any more)'}",
        f"became  {decision['outcome'] or 'nothing yet: it waits to be routed'}",
    ]
    if writer := decision["writer"]:
        lines.append(f"writer  {writer['standing']}, {writer['becomes']}: {writer['why']}")
    for wiring in decision["wirings"]:
        detail = f" ({wiring['detail']})" if wiring["detail"] else ""
        lines.append(
            f"wiring  {wiring['agent']} [{wiring['engage']}]: {wiring['becomes']}{detail}, {wiring['why']}"
        )
    return lines


COMMANDS = (explain,)
