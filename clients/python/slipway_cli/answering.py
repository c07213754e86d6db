"""Answering what a task waits for, where it is followed."""

from __future__ import annotations

import click

from slipway_cli.session import plain
from slipway_client import ApiError, Event, Slipway
from slipway_client.errors import Conflict, NotFound
from slipway_client.types import Approval, Question


def answer_event(client: Slipway, event: Event) -> None:
    """Ask the person here what a task asks, and pass it on. What was answered elsewhere meanwhile is left alone."""
    try:
        if event.type == "question.asked":
            question = client.questions.get(str(event.data["question_id"]))
            if question["status"] == "pending":
                answer_question(client, question)
        elif event.type == "approval.requested":
            approval = client.approvals.get(str(event.data["approval_id"]))
            if approval["status"] == "pending":
                decide(client, approval)
    except (Conflict, NotFound) as error:
        click.echo(f"slipway: {error}", err=True)
    except ApiError as error:
        if error.status != 403:
            raise
        click.echo(f"slipway: somebody else has to decide this: {error.message}", err=True)


def answer_question(client: Slipway, question: Question) -> None:
    """Ask for the answer, by the number of an option or in words. An empty one leaves the question open."""
    for number, option in enumerate(question["options"]):
        click.echo(f"  {number + 1}  {plain(option)}", err=True)
    said = click.prompt("Answer (empty: leave it open)", default="", show_default=False, err=True).strip()
    if not said:
        return
    if said.isdecimal() and 1 <= int(said) <= len(question["options"]):
        client.questions.answer(question["id"], option=int(said) - 1)
    else:
        client.questions.answer(question["id"], text=said)


def decide(client: Slipway, approval: Approval) -> None:
    """Ask for a yes or a no. An empty answer leaves it open."""
    click.echo(f"  {plain(approval['title'])}", err=True)
    if approval["choices"]:
        for number, choice in enumerate(approval["choices"]):
            click.echo(f"  {number + 1}  {plain(choice['label'])}", err=True)
        said = click.prompt(
            "Number, or d to deny (empty: leave it open)", default="", show_default=False, err=True
        )
        if said == "d":
            client.approvals.decide(approval["id"], decision="deny")
        elif said.isdecimal() and 1 <= int(said) <= len(approval["choices"]):
            value = approval["choices"][int(said) - 1]["value"]
            client.approvals.decide(approval["id"], decision="allow", choice=value)
        return
    said = click.prompt(
        "Allow? y once, a always, d deny (empty: leave it open)", default="", show_default=False, err=True
    ).strip()
    match said.lower():
        case "y" | "yes":
            client.approvals.decide(approval["id"], decision="allow")
        case "a" | "always":
            client.approvals.decide(approval["id"], decision="allow", scope="always")
        case "d" | "n" | "no" | "deny":
            client.approvals.decide(approval["id"], decision="deny")
