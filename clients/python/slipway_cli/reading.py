"""Looking at what there is: agents, workspaces, playbooks, links, chats, usage; and the few things done to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from slipway_cli.running import find_agent
from slipway_cli.session import Session, command_options, limited, session, take
from slipway_client import Slipway

AGENTS = {"ID": "id", "NAME": "name", "PROVIDER": "provider", "MODEL": "model", "SHARED": "is_shared"}
WORKSPACES = {
    "ID": "id",
    "SANDBOX": "sandbox_state",
    "TURNS": "turn_count",
    "ACTIVE": "last_active_at",
    "NAME": "name",
}
PLAYBOOKS = {"ID": "id", "ENABLED": "is_enabled", "CRON": "cron", "NEXT": "next_run_at", "NAME": "name"}
LINKS = {"ID": "id", "KIND": "kind", "STATUS": "status", "NAME": "name", "ERROR": "last_error"}
CHATS = {"ID": "id", "KIND": "kind", "LINK": "link_id", "TITLE": "title"}


def _resource(name: str, said: str, columns: Mapping[str, str]) -> click.Group:
    """Return a group with `list` and `get`."""

    @click.group(name, help=said)
    def group() -> None:
        pass

    @group.command("list")
    @limited
    @command_options
    @session
    def list_all(state: Session, limit: int) -> None:
        """List them, newest first."""
        pages = getattr(state.client, name).list(limit=min(limit, 200))
        state.show_rows(take(pages, limit), columns, limit=limit)

    @group.command("get")
    @click.argument("thing_id", metavar="ID")
    @command_options
    @session
    def get(state: Session, thing_id: str) -> None:
        """Show one."""
        state.show_object(_one(state.client, name, thing_id))

    return group


def _one(client: Slipway, name: str, thing_id: str) -> Any:
    return find_agent(client, thing_id) if name == "agents" else getattr(client, name).get(thing_id)


def _action(group: click.Group, name: str, verb: str, said: str) -> None:
    """Add a command that does one thing to one object and shows it."""

    @group.command(verb, help=said)
    @click.argument("thing_id", metavar="ID")
    @command_options
    @session
    def act(state: Session, thing_id: str) -> None:
        state.show_object(getattr(getattr(state.client, name), verb)(thing_id))


agents = _resource("agents", "Agents: list, get by name or id.", AGENTS)
workspaces = _resource("workspaces", "Workspaces: list, get, pause, resume, archive, restore.", WORKSPACES)
playbooks = _resource("playbooks", "Playbooks: list, get, run, runs.", PLAYBOOKS)
links = _resource("links", "Links to chat platforms: list, get, check.", LINKS)
chats = _resource("chats", "Chats: list, get, decisions.", CHATS)

for verb, said in (
    ("pause", "Freeze its sandbox."),
    ("resume", "Wake its sandbox."),
    ("archive", "Close it to new work."),
    ("restore", "Open it again."),
):
    _action(workspaces, "workspaces", verb, said)
_action(links, "links", "check", "Ask the platform now whether it works.")


@playbooks.command("run")
@click.argument("playbook_id", metavar="ID")
@command_options
@session
def run_playbook(state: Session, playbook_id: str) -> None:
    """Run it now."""
    state.show_object(state.client.playbooks.run(playbook_id))


@playbooks.command("runs")
@click.argument("playbook_id", metavar="ID")
@limited
@command_options
@session
def list_runs(state: Session, playbook_id: str, limit: int) -> None:
    """List its runs, newest first."""
    columns = {"ID": "id", "TASK": "task_id", "TRIGGER": "trigger", "AT": "created_at", "ERROR": "error"}
    pages = state.client.playbooks.list_runs(playbook_id, limit=min(limit, 200))
    state.show_rows(take(pages, limit), columns, limit=limit)


@chats.command("decisions")
@click.argument("chat_id", metavar="ID")
@limited
@command_options
@session
def list_decisions(state: Session, chat_id: str, limit: int) -> None:
    """List its messages and what became of them; `slipway explain` says why."""
    columns = {"MESSAGE": "id", "FROM": "sender_name", "BECAME": "outcome", "TEXT": "text"}
    pages = state.client.chats.list_decisions(chat_id, limit=min(limit, 200))
    state.show_rows(take(pages, limit), columns, limit=limit)


@click.command()
@click.option("--from", "since", default=None, metavar="DATE", help="From this day on, such as 2026-01-31.")
@click.option("--to", "until", default=None, metavar="DATE")
@click.option("--by", default=None, help="agent, chat, model, day, …")
@command_options
@session
def usage(state: Session, since: str | None, until: str | None, by: Any) -> None:
    """Show what was used: tokens, money, machine time."""
    found = state.client.usage.get(from_=_moment(since), to=_moment(until), group_by=by)
    if state.is_json:
        state.show_json(found)
        return
    rows = [
        {"key": "total", **found["total"]},
        *({"key": item["key"], **item["used"]} for item in found["items"]),
    ]
    columns = {
        "": "key", "INPUT": "input_tokens", "OUTPUT": "output_tokens", "USD": "cost_usd", "CPU MS": "cpu_ms",
    }  # fmt: skip
    state.show_rows(rows, columns, limit=len(rows))


def _moment(day: str | None) -> str | None:
    return f"{day}T00:00:00Z" if day is not None and "T" not in day else day


COMMANDS = (agents, workspaces, playbooks, links, chats, usage)
