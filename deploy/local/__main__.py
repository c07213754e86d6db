"""`python -m deploy.local up|down|demo|status|logs|images`: the commands behind the Makefile."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy.local import demo, images, servers, settings_env
from deploy.local.console import Console
from deploy.local.envfile import render, write_private
from deploy.local.failures import NotReady, StartFailed
from deploy.local.layout import Layout, shown
from deploy.local.stack import Stack


def _stack(chosen: argparse.Namespace, console: Console) -> Stack:
    return Stack(chosen.dir, environ=os.environ, driver=chosen.driver, console=console)


def _up(chosen: argparse.Namespace, console: Console) -> int:
    started = time.monotonic()
    stack = _stack(chosen, console)
    console.heading("Starting Slipway")
    described = stack.up()
    console.say(f"  ready after {time.monotonic() - started:.1f} s")
    if chosen.command == "up":
        demo.show_doors(console, described, shown(stack.layout.logs))
    return 0


def _demo(chosen: argparse.Namespace, console: Console) -> int:
    _up(chosen, console)
    stack = _stack(chosen, console)
    has_claude = bool(stack.env.get("ANTHROPIC_API_KEY"))
    is_well = demo.run_demo(console, stack.stack_json, has_claude=has_claude)
    demo.show_doors(console, stack.stack_json, shown(stack.layout.logs))
    return 0 if is_well else 1


def _down(chosen: argparse.Namespace, console: Console) -> int:
    console.heading("Stopping Slipway")
    _stack(chosen, console).down()
    console.say("  stopped; data and settings are kept")
    return 0


def _status(chosen: argparse.Namespace, console: Console) -> int:
    stack = _stack(chosen, console)
    states = stack.supervisor.states() if stack.installation else {}
    if not states:
        console.say("not running; start it with `make up`")
        return 3
    for name, state in sorted(states.items()):
        alive_s = time.time() - state.started if state.pid else 0
        console.say(f"  {name:<10} {state.state.lower():<9} pid {state.pid or '-':<8} {alive_s:8.0f} s")
    return 0 if all(state.is_running for state in states.values()) else 1


def _logs(chosen: argparse.Namespace, console: Console) -> int:
    layout = Layout.at(chosen.dir)
    names = [chosen.program] if chosen.program else sorted(path.stem for path in layout.logs.glob("*.log"))
    for name in names:
        console.say(servers.last_words(layout, name, lines=chosen.lines))
    return 0


def _images(chosen: argparse.Namespace, console: Console) -> int:
    layout = Layout.at(chosen.dir)
    layout.make_folders()
    kept = settings_env.keep(layout, os.environ)
    wanted = chosen.driver or kept.get("SLIPWAY_SANDBOX_DRIVER")
    sandboxing = images.choose_sandboxing(layout, wanted, os.environ, console)
    if chosen.write:
        write_private(Path(chosen.write), render(sandboxing.settings()))
    return 0


_COMMANDS: dict[str, Callable[[argparse.Namespace, Console], int]] = {
    "up": _up,
    "down": _down,
    "demo": _demo,
    "status": _status,
    "logs": _logs,
    "images": _images,
}


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="deploy.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in _COMMANDS:
        command = commands.add_parser(name)
        command.add_argument("--dir", default=".local", help="the stack's folder (default: .local)")
        command.add_argument("--driver", choices=("docker", "bubblewrap", "null"), default=None)
        if name == "logs":
            command.add_argument("program", nargs="?")
            command.add_argument("--lines", type=int, default=20)
        if name == "images":
            command.add_argument("--write", help="write the settings that name the images to this file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run one command; a failure is told in one sentence, with the end of the log that explains it."""
    chosen = _parse(arguments)
    console = Console()
    try:
        return _COMMANDS[chosen.command](chosen, console)
    except KeyboardInterrupt:
        console.say("\ninterrupted; `make up` goes on from here, `make down` stops what runs")
        return 130
    except (StartFailed, OSError, ValueError) as error:
        console.say(f"\n{console.paint('FAILED', '31')}  {error}")
        if isinstance(error, NotReady):
            console.say(servers.last_words(Layout.at(chosen.dir), error.program))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
