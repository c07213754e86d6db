"""Running tasks and following them: live output, answers in the terminal, Ctrl-C."""

from __future__ import annotations

import sys
from typing import Any, Literal

import click

from slipway_cli.answering import answer_event
from slipway_cli.exits import DETACHED
from slipway_cli.session import Session, command_options, limited, session, take
from slipway_cli.showing import TaskView, line_of
from slipway_client import Event, Slipway, TaskRun
from slipway_client.errors import Conflict, NotFound
from slipway_client.types import Agent

OnInterrupt = Literal["cancel", "detach"]
_on_interrupt = click.option(
    "--on-interrupt",
    type=click.Choice(["cancel", "detach"]),
    default="cancel",
    show_default=True,
    help="What Ctrl-C does: cancel the task, or leave it at work. A second Ctrl-C always leaves it.",
)


@click.command()
@click.argument("prompt", nargs=-1, required=True)
@click.option("-a", "--agent", default="", help="By name or id; needed where there is more than one.")
@click.option("-w", "--workspace", default="", help="Go on in this workspace.")
@click.option("--model", default=None)
@click.option("--batch", is_flag=True, help="Keep no workspace.")
@click.option("--max-turns", type=click.IntRange(1), default=None)
@click.option("--max-usd", default=None, help="At most so many dollars for models.")
@click.option("--timeout-s", type=click.IntRange(1), default=None)
@click.option("-d", "--detach", is_flag=True, help="Submit it and do not wait.")
@_on_interrupt
@command_options
@session
def run(
    state: Session,
    prompt: tuple[str, ...],
    agent: str,
    workspace: str,
    model: str | None,
    batch: bool,
    max_turns: int | None,
    max_usd: str | None,
    timeout_s: int | None,
    detach: bool,
    on_interrupt: OnInterrupt,
) -> None:
    """Give an agent work and show what it does, live. PROMPT `-` is read from standard input.

    What the agent says goes to standard output, everything else to standard error. With --json each event is a line,
    and the task is the last one.
    """
    text = sys.stdin.read() if prompt == ("-",) else " ".join(prompt)
    options = {
        "model": model, "max_turns": max_turns, "max_budget_usd": max_usd, "timeout_s": timeout_s,
        "mode": "batch" if batch else None,
    }  # fmt: skip
    order: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if workspace:
        order["workspace_id"] = workspace
    if agent or not workspace:
        order["agent_id"] = find_agent(state.client, agent)["id"]
    running = state.client.start(text, **order)
    if detach:
        if state.is_json:
            state.show_json(running.task)
        else:
            click.echo(running.task["id"])
        return
    _follow(state, running, on_interrupt)


@click.command()
@click.argument("task_id")
@_on_interrupt
@command_options
@session
def follow(state: Session, task_id: str, on_interrupt: OnInterrupt) -> None:
    """Show a task's events from its beginning until it has ended. Ctrl-C as with `run`."""
    _follow(state, state.client.follow(task_id), on_interrupt)


def _follow(state: Session, running: TaskRun, on_interrupt: OnInterrupt) -> None:
    """Show a task to its end. Raises: TaskNotSucceeded. Exits with 130 when it was left at work."""
    may_ask = sys.stdin.isatty() and sys.stderr.isatty() and not state.is_json
    view = TaskView()
    is_cancelling = False
    while True:
        try:
            for event in running:
                if state.is_json:
                    state.show_line(event.raw)
                    continue
                view.show(event)
                if may_ask and event.type in ("question.asked", "approval.requested"):
                    answer_event(state.client, event)
            break
        except (KeyboardInterrupt, click.Abort):
            view.end_line()
            task_id = running.task["id"]
            if is_cancelling or on_interrupt == "detach":
                click.echo(f"slipway: left at work. Come back with: slipway follow {task_id}", err=True)
                raise SystemExit(DETACHED) from None
            is_cancelling = True
            click.echo("slipway: cancelling; Ctrl-C again leaves it at work.", err=True)
            try:
                running.cancel()
            except Conflict:
                click.echo("slipway: it has ended already.", err=True)
    task = running.result(check=False)
    if state.is_json:
        state.show_line(task)
    elif task["result"]:
        view.show_result(task["result"]["text"])
        used = task["result"]["usage"]
        cost = f", ${used['cost_usd']}" if used["cost_microusd"] else ""
        click.echo(f"{task['status']}: task {task['id']}, workspace {task['workspace_id']}{cost}", err=True)
    running.result()


@click.command()
@click.argument("thing_id")
@click.option("-f", "--follow", "is_following", is_flag=True, help="Go on with what happens.")
@click.option("--after", type=click.IntRange(0), default=None, help="Begin behind this number.")
@command_options
@session
def logs(state: Session, thing_id: str, is_following: bool, after: int | None) -> None:
    """Print the events of a task or of a workspace, by its id."""
    client = state.client
    task_id = None
    try:
        task = client.tasks.get(thing_id)
        workspace_id, task_id = task["workspace_id"], task["id"]
    except NotFound:
        workspace_id = thing_id
    for raw in _stored(client, workspace_id, after or 0):
        after = raw["seq"]
        _log(state, Event.of(raw, raw["stream"]), task_id)
    if is_following:
        try:
            for event in client.stream(f"workspace:{workspace_id}", after=after or 0):
                if event.seq is not None:
                    _log(state, event, task_id)
        except KeyboardInterrupt:
            raise SystemExit(DETACHED) from None


def _stored(client: Slipway, workspace_id: str, after: int) -> Any:
    while True:
        page = client.workspaces.get_events(workspace_id, after=after, limit=200)
        yield from page["items"]
        if page["next"] is None:
            return
        after = int(page["next"])


def _log(state: Session, event: Event, task_id: str | None) -> None:
    if task_id is not None and event.task_id != task_id:
        return
    if state.is_json:
        state.show_line(event.raw)
    else:
        click.echo(line_of(event))


def find_agent(client: Slipway, wanted: str) -> Agent:
    """Return an agent by id, name or short name; without one, the only agent. Raises: click.UsageError."""
    agents = list(client.agents.list())
    if not wanted:
        if len(agents) == 1:
            return agents[0]
        raise click.UsageError(f"Say which agent: --agent {' | '.join(agent['slug'] for agent in agents)}")
    for agent in agents:
        if wanted.lower() in (agent["id"], agent["slug"], agent["name"].lower()):
            return agent
    raise click.UsageError(f"There is no agent {wanted}.")


@click.group()
def tasks() -> None:
    """Tasks: list, get, cancel, follow, send a message."""


@tasks.command("list")
@click.option("--status", default=None)
@click.option("-w", "--workspace", default=None)
@limited
@command_options
@session
def list_tasks(state: Session, status: Any, workspace: str | None, limit: int) -> None:
    """List tasks, newest first."""
    found = state.client.tasks.list(limit=min(limit, 200), status=status, workspace_id=workspace)
    columns = {"ID": "id", "STATUS": "status", "CREATED": "created_at", "PROMPT": "prompt"}
    state.show_rows(take(found, limit), columns, limit=limit)


@tasks.command("get")
@click.argument("task_id")
@command_options
@session
def get_task(state: Session, task_id: str) -> None:
    """Show a task."""
    state.show_object(state.client.tasks.get(task_id))


@tasks.command("cancel")
@click.argument("task_id")
@command_options
@session
def cancel_task(state: Session, task_id: str) -> None:
    """Cancel a task."""
    state.show_object(state.client.tasks.cancel(task_id), ("id", "status", "cancel_requested"))


@tasks.command("send")
@click.argument("task_id")
@click.argument("text", nargs=-1, required=True)
@command_options
@session
def send_message(state: Session, task_id: str, text: tuple[str, ...]) -> None:
    """Say something more to a task at work."""
    state.show_object(state.client.tasks.send_message(task_id, text=" ".join(text)), ("id", "state"))


tasks.add_command(follow)
COMMANDS = (run, follow, logs, tasks)
