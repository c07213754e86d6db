"""The command's parts put together."""

from __future__ import annotations

import click

from slipway_cli import asking, explaining, reading, running, signing_in
from slipway_cli.exits import CODES, SaysErrors
from slipway_cli.session import Session
from slipway_client._version import VERSION


@click.group(
    cls=SaysErrors,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=CODES,
)
@click.option("--url", default="", help="The server's address; else SLIPWAY_URL, else the profile's.")
@click.option("--token", default="", help="An API token, sw_…; else SLIPWAY_TOKEN, else the profile's.")
@click.option("--profile", default="", help="Which of the remembered sign-ins; else SLIPWAY_PROFILE.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON, for programs.")
@click.version_option(VERSION, prog_name="slipway")
@click.pass_context
def slipway(ctx: click.Context, url: str, token: str, profile: str, is_json: bool) -> None:
    """Work with the agents of a Slipway server, from a terminal."""
    ctx.obj = Session(url, token, profile, is_json)
    ctx.call_on_close(ctx.obj.close)


for part in (signing_in, running, asking, reading, explaining):
    for command in part.COMMANDS:
        slipway.add_command(command)


def main() -> None:
    """Run the command; what it exits with is said in its help."""
    slipway(prog_name="slipway")
