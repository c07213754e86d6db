"""What every command has: the server as whom one is signed in, and how it prints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from slipway_cli import profiles
from slipway_cli.exits import NOT_SIGNED_IN
from slipway_client import Pages, Slipway

F = TypeVar("F", bound=Callable[..., Any])
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)))
_TONES = {
    "succeeded": "green", "sent": "green", "ok": "green", "allowed": "green", "running": "cyan", "starting": "cyan",
    "waiting": "yellow", "pending": "yellow", "open": "yellow", "queued": "blue", "failed": "red", "expired": "red",
    "denied": "red", "cancelled": "magenta",
}  # fmt: skip


@dataclass
class Session:
    """One run of the command. `is_json` prints what programs read; `client` signs in when it is first asked for."""

    url: str = ""
    token: str = ""
    profile: str = ""
    is_json: bool = False
    _client: Slipway | None = None

    @property
    def client(self) -> Slipway:
        """Return the client. Exits with 5 when nobody is signed in."""
        if self._client is None:
            url, token = self._who()
            self._client = Slipway(url, token)
        return self._client

    def close(self) -> None:
        """Give the connections back."""
        if self._client is not None:
            self._client.close()

    def _who(self) -> tuple[str, str]:
        """Return the address and the token: of a named profile, else of flags and environment, else remembered."""
        given_url = self.url or os.environ.get("SLIPWAY_URL", "")
        given_token = self.token or os.environ.get("SLIPWAY_TOKEN", "")
        if given_url and given_token and not self.profile:
            return given_url, given_token
        kept = profiles.load()
        name = self.profile or os.environ.get("SLIPWAY_PROFILE", "") or kept.current
        found = kept.profiles.get(name)
        if found is None:
            click.echo(
                "slipway: Nobody is signed in. Sign in with: slipway login --url <address>\n"
                "Or give --url and --token, or SLIPWAY_URL and SLIPWAY_TOKEN.",
                err=True,
            )
            raise SystemExit(NOT_SIGNED_IN)
        return self.url or found.url, self.token or found.token

    # --- printing -----------------------------------------------------------------------------------------------
    @property
    def console(self) -> Console:
        """Return where people read. Nothing in it is taken for markup, and numbers keep their colour."""
        return Console(markup=False, highlight=False, emoji=False, soft_wrap=True)

    def show_json(self, value: Any) -> None:
        """Print a value as one JSON document."""
        json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")

    def show_line(self, value: Any) -> None:
        """Print a value as one line of JSON, at once."""
        sys.stdout.write(f"{json.dumps(value, ensure_ascii=False, default=dict)}\n")
        sys.stdout.flush()

    def show_rows(self, rows: Iterable[Any], columns: Mapping[str, str], *, limit: int) -> None:
        """Print at most so many rows: as a table with these columns, by their heading, or all of each as JSON."""
        shown = [row for row, _ in zip(rows, range(limit), strict=False)]
        if self.is_json:
            self.show_json(shown)
            return
        if not shown:
            click.echo("There is none.", err=True)
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in columns:
            table.add_column(heading, overflow="fold", no_wrap=heading == "ID")
        for row in shown:
            table.add_row(*(_cell(row.get(name)) for name in columns.values()))
        # Wide enough for ids where nobody looks, so that they can be cut out again.
        console = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 200)
        console.print(table)

    def show_object(self, found: Any, fields: Sequence[str] = ()) -> None:
        """Print one object: all of it as JSON, else these of its fields, or all that say something."""
        if self.is_json:
            self.show_json(found)
            return
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name in fields or found:
            if found.get(name) not in (None, "", [], {}):
                table.add_row(name.replace("_", " "), _cell(found[name], longest=4_000))
        Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 200).print(table)


def plain(text: str) -> str:
    """Return a text without what could steer a terminal: agents and strangers write what is shown here."""
    return text.translate(_CONTROLS)


def _cell(value: Any, longest: int = 80) -> Text:
    if value is None:
        return Text("–", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False)
    text = str(value)
    if longest < 1_000:
        text = " ".join(text.split())
    text = plain(text)
    short = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return Text(short, style=_TONES.get(text, ""))


def command_options(function: F) -> F:
    """Let a command take `--json` too, so that it may stand at its end."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            ctx.ensure_object(Session).is_json = True

    option = click.option(
        "--json", is_flag=True, expose_value=False, callback=remember, help="Print JSON, for programs."
    )
    return option(function)


def limited(function: F) -> F:
    """Let a list take `--limit`."""
    return click.option(
        "--limit", default=50, show_default=True, type=click.IntRange(1), help="How many at most."
    )(function)


def take(pages: Pages[Any], limit: int) -> Iterable[Any]:
    """Go through a list; no page is larger than what is wanted."""
    return (item for item, _ in zip(pages, range(limit), strict=False))


session = click.make_pass_decorator(Session, ensure=True)
