"""What agents wait for: approvals and questions."""

from __future__ import annotations

import sys
from typing import Any

import click

from slipway_cli import answering
from slipway_cli.session import Session, command_options, limited, plain, session, take


@click.group()
def approvals() -> None:
    """What agents want to be allowed: list, get, allow, deny, or one after the other."""


@approvals.command("list")
@click.option("--status", default="pending", show_default=True, help="`all` for all.")
@limited
@command_options
@session
def list_approvals(state: Session, status: Any, limit: int) -> None:
    """List what waits for somebody's word."""
    found = state.client.approvals.list(limit=min(limit, 200), status=None if status == "all" else status)
    columns = {"ID": "id", "STATUS": "status", "KIND": "kind", "EXPIRES": "expires_at", "WHAT": "title"}
    state.show_rows(take(found, limit), columns, limit=limit)


@approvals.command("get")
@click.argument("approval_id")
@command_options
@session
def get_approval(state: Session, approval_id: str) -> None:
    """Show all of it."""
    state.show_object(state.client.approvals.get(approval_id))


@approvals.command("allow")
@click.argument("approval_id")
@click.option("--always", is_flag=True, help="From now on, and not only this once.")
@click.option("--choice", default="", help="Where there are choices: which.")
@command_options
@session
def allow(state: Session, approval_id: str, always: bool, choice: str) -> None:
    """Say yes."""
    found = state.client.approvals.decide(
        approval_id, decision="allow", scope="always" if always else "once", choice=choice
    )
    state.show_object(found, ("title", "status", "scope"))


@approvals.command("deny")
@click.argument("approval_id")
@command_options
@session
def deny(state: Session, approval_id: str) -> None:
    """Say no."""
    state.show_object(state.client.approvals.decide(approval_id, decision="deny"), ("title", "status"))


@approvals.command("review")
@session
def review(state: Session) -> None:
    """Go through all that is open, one after the other."""
    _need_terminal()
    for approval in list(state.client.approvals.list(status="pending")):
        answering.decide(state.client, approval)


@click.group()
def questions() -> None:
    """What agents ask: list, answer, or one after the other."""


@questions.command("list")
@click.option("--status", default="pending", show_default=True, help="`all` for all.")
@limited
@command_options
@session
def list_questions(state: Session, status: Any, limit: int) -> None:
    """List what agents asked."""
    found = state.client.questions.list(limit=min(limit, 200), status=None if status == "all" else status)
    columns = {
        "ID": "id",
        "STATUS": "status",
        "EXPIRES": "expires_at",
        "QUESTION": "text",
        "OPTIONS": "options",
    }
    state.show_rows(take(found, limit), columns, limit=limit)


@questions.command("answer")
@click.argument("question_id")
@click.argument("text", nargs=-1)
@click.option("--option", type=click.IntRange(1), default=None, help="The number of an option, from 1.")
@command_options
@session
def answer(state: Session, question_id: str, text: tuple[str, ...], option: int | None) -> None:
    """Answer in words, or by an option's number."""
    if bool(text) == (option is not None):
        raise click.UsageError("Give either words or --option.")
    if option is not None:
        found = state.client.questions.answer(question_id, option=option - 1)
    else:
        found = state.client.questions.answer(question_id, text=" ".join(text))
    state.show_object(found, ("text", "status", "answer"))


@questions.command("review")
@session
def review_questions(state: Session) -> None:
    """Go through all that is open, one after the other."""
    _need_terminal()
    for question in list(state.client.questions.list(status="pending")):
        click.echo(plain(question["text"]), err=True)
        answering.answer_question(state.client, question)


def _need_terminal() -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("This asks you things, and there is no terminal.")


COMMANDS = (approvals, questions)
