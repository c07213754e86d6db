"""What the command's exit codes say, and how an error becomes one."""

from __future__ import annotations

import sys
from typing import Any

import click

from slipway_client.errors import ApiError, SlipwayError, TaskNotSucceeded, Unauthenticated

FAILED = 1
"""The server refused, or is away."""
USAGE = 2
"""The command line is wrong. Click's own."""
TASK_NOT_SUCCEEDED = 3
"""The task failed or expired."""
TASK_CANCELLED = 4
NOT_SIGNED_IN = 5
"""Nobody is signed in, or the token is no longer good."""
DETACHED = 130
"""Interrupted while the task goes on."""

CODES = """\b
Exit codes:
  0    done
  1    the server refused, or is away
  2    the command line is wrong
  3    the task failed or expired
  4    the task was cancelled
  5    nobody is signed in, or the token is no longer good
  130  interrupted; the task goes on"""


class SaysErrors(click.Group):
    """A group that ends on errors of the API with a line for people and the exit code for programs."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Exits instead of raising what the client raises."""
        try:
            return super().invoke(ctx)
        except TaskNotSucceeded as error:
            code = TASK_CANCELLED if error.task["status"] == "cancelled" else TASK_NOT_SUCCEEDED
            _say(error, code)
        except Unauthenticated as error:
            _say(f"{error} Sign in with: slipway login", NOT_SIGNED_IN)
        except ApiError as error:
            fields = error.details.get("fields") or {}
            _say("\n".join([str(error), *(f"  {name}: {what}" for name, what in fields.items())]), FAILED)
        except (SlipwayError, OSError) as error:
            _say(error, FAILED)
        return None


def _say(error: object, code: int) -> None:
    sys.stdout.flush()
    click.echo(f"slipway: {error}", err=True)
    raise SystemExit(code)
