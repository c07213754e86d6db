"""`slipway`: asks a Slipway server by REST, from a terminal.

    slipway explain <message id>      why a message of a chat was answered or not

The server and the token come from flags, else from SLIPWAY_URL and SLIPWAY_TOKEN.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import httpx

TIMEOUT_S = 30.0


class CommandFailed(Exception):
    """What stands in the way, in words for whoever typed the command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 when the server refuses or is away, 2 for a wrong command."""
    given = _parser().parse_args(argv)
    try:
        found = fetch(given.url, given.token, f"/v1/decisions/{given.message_id}")
    except CommandFailed as error:
        sys.stderr.write(f"slipway: {error}\n")
        return 1
    sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) if given.json else explain(found))
    sys.stdout.write("\n")
    return 0


def fetch(url: str, token: str, path: str) -> Any:
    """Return what the server answers to a GET. Raises: CommandFailed."""
    if not url or not token:
        raise CommandFailed(
            "Say which server and who you are: --url and --token, or SLIPWAY_URL and SLIPWAY_TOKEN."
        )
    try:
        answer = httpx.get(
            url.rstrip("/") + path, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S
        )
        body = answer.json()
    except httpx.HTTPError as error:
        raise CommandFailed(f"The server does not answer: {error}") from error
    except ValueError as error:
        raise CommandFailed(
            f"This is no Slipway server: it answered {answer.status_code} without JSON."
        ) from error
    if answer.is_success:
        return body
    raise CommandFailed(f"{body['error']['message']} ({body['error']['code']})")


def explain(decision: dict[str, Any]) -> str:
    """Return a decision as a person reads it."""
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
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="slipway", description="Asks a Slipway server, from a terminal.")
    parser.add_argument("--url", default=os.environ.get("SLIPWAY_URL", ""), help="the server's address")
    parser.add_argument("--token", default=os.environ.get("SLIPWAY_TOKEN", ""), help="an API token, sw_…")
    commands = parser.add_subparsers(dest="command", required=True)
    explaining = commands.add_parser("explain", help="say why a message was answered or not")
    explaining.add_argument("message_id", help="its id, as the chat's page shows it")
    explaining.add_argument("--json", action="store_true", help="print the decision as the server gives it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
