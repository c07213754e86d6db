"""Signing in and out: by a code that is allowed in a browser, or with a token that one has."""

from __future__ import annotations

import platform
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import click
from click.shell_completion import get_completion_class

from slipway_cli import profiles
from slipway_cli.profiles import Profile
from slipway_cli.session import Session, command_options, session
from slipway_client import ApiError, ConnectionFailed, Slipway, SlipwayError

CLIENT_ID = "slipway-cli"
_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_SLOWER_S = 5.0


@click.command()
@click.option("--url", default="", help="The server's address.")
@click.option("--profile", default="", help="Under which name to remember it; else the one in use.")
@click.option(
    "--scope", "scopes", multiple=True, help="Ask for this scope only; may be given more than once."
)
@click.option("--with-token", is_flag=True, help="Read a token from standard input instead.")
@click.option("--no-browser", is_flag=True, help="Do not try to open a browser here.")
@session
def login(
    state: Session, url: str, profile: str, scopes: tuple[str, ...], with_token: bool, no_browser: bool
) -> None:
    """Sign in, and remember it."""
    kept = profiles.load()
    name = profile or state.profile or kept.current
    known = kept.profiles.get(name)
    address = (url or state.url or (known.url if known else "")).rstrip("/")
    if urlsplit(address).scheme not in ("http", "https"):
        raise click.UsageError("Say which server: --url https://…")
    if with_token:
        made = {"access_token": sys.stdin.readline().strip()}
    else:
        with Slipway(address, "") as nobody:
            made = _ask_person(nobody, " ".join(scopes), is_quiet=no_browser)
    with Slipway(address, made["access_token"]) as client:
        me = client.me.get()
    kept.profiles[name] = Profile(address, made["access_token"], made.get("token_id", ""))
    kept.current = name
    profiles.save(kept)
    who = me["display_name"] or "Somebody"
    click.echo(
        f"Signed in: {who} ({me['role']}) in {me['organisation']['name']}, as profile {name}.", err=True
    )


def _ask_person(nobody: Slipway, scope: str, *, is_quiet: bool) -> dict[str, Any]:
    """Show a code and wait until a person allows it. Source: RFC 8628. Raises: SlipwayError."""
    send = nobody.transport.send
    found = send("GET", "/.well-known/oauth-authorization-server").json()
    begin_path = urlsplit(found["device_authorization_endpoint"]).path
    token_path = urlsplit(found["token_endpoint"]).path
    form = {"client_id": CLIENT_ID, "client_name": f"slipway on {platform.node() or 'a terminal'}"[:60]}
    asked = send("POST", begin_path, form=form | ({"scope": scope} if scope else {})).json()
    click.echo(
        f"Open {asked['verification_uri']} and type this code:\n\n    {asked['user_code']}\n", err=True
    )
    if not is_quiet and sys.stderr.isatty():
        click.launch(asked["verification_uri_complete"])
    interval_s, give_up_at = float(asked.get("interval", 5)), time.monotonic() + float(asked["expires_in"])
    poll = {"client_id": CLIENT_ID, "grant_type": _GRANT, "device_code": asked["device_code"]}
    while time.monotonic() < give_up_at:
        time.sleep(interval_s)
        try:
            made: dict[str, Any] = send("POST", token_path, form=poll).json()
            return made
        except ConnectionFailed:
            # The person may still be reading; the server comes back.
            continue
        except ApiError as error:
            if error.code == "slow_down":
                interval_s += _SLOWER_S
            elif error.code != "authorization_pending":
                raise
    raise SlipwayError("The code is too old. Begin again.")


@click.command()
@session
def logout(state: Session) -> None:
    """Revoke the token of the profile, and forget it."""
    kept = profiles.load()
    name = state.profile or kept.current
    profile = kept.profiles.pop(name, None)
    if profile is None:
        raise click.UsageError(f"There is no profile {name}.")
    is_revoked = False
    if profile.token_id:
        with Slipway(profile.url, profile.token) as client:
            try:
                client.tokens.delete(profile.token_id)
                is_revoked = True
            except SlipwayError as error:
                click.echo(f"slipway: the token is not revoked: {error}", err=True)
    profiles.save(kept)
    left = "" if is_revoked else " Its token may still be good: revoke it on the dashboard, at API tokens."
    click.echo(f"Forgotten: {name}.{left}", err=True)


@click.command("profiles")
@click.argument("name", required=False)
@command_options
@session
def show_profiles(state: Session, name: str | None) -> None:
    """List the remembered sign-ins, or use the named one from now on."""
    kept = profiles.load()
    if name is not None:
        if name not in kept.profiles:
            raise click.UsageError(f"There is no profile {name}.")
        kept.current = name
        profiles.save(kept)
    rows = [
        {"name": one, "url": found.url, "current": one == kept.current}
        for one, found in kept.profiles.items()
    ]
    state.show_rows(rows, {"PROFILE": "name", "SERVER": "url", "IN USE": "current"}, limit=len(rows) or 1)


@click.command()
@command_options
@session
def whoami(state: Session) -> None:
    """Say as whom one acts."""
    me = state.client.me.get()
    if state.is_json:
        state.show_json(me)
        return
    scopes = "all that the role allows" if me["scopes"] is None else f"{len(me['scopes'])} scopes"
    name = me["display_name"] or me["user_id"]
    click.echo(
        f"{name}, {me['role']} of {me['organisation']['name']} ({me['organisation']['slug']}), {scopes}"
    )


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete this command: eval "$(slipway completion bash)"."""
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError("This shell is not known.")
    root = ctx.find_root().command
    click.echo(made(root, {}, "slipway", "_SLIPWAY_COMPLETE").source())


COMMANDS = (login, logout, show_profiles, whoami, completion)
