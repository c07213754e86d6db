"""Becomes one MCP server of a turn: `python3 -I -S stdio_server.py <file>`, as a CLI starts it. Imports none of ours.

The file says the program, its whole environment, and which tools exist. Without a list of tools the program takes the
place of this process. With one this process stays between: it takes other tools out of listings and answers calls of
them. That narrows what a model is offered; it keeps nothing from an agent that can start programs itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NOT_FOUND = 127  # as a shell has it
_INVALID_PARAMS = -32602  # what the protocol says for an unknown tool
_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Relay:
    """Stands between a client, on standard input and output, and a server."""

    def __init__(self, server: subprocess.Popen[bytes], allowed: frozenset[str]) -> None:
        if server.stdin is None or server.stdout is None:
            raise ValueError("the server has been started without pipes")
        self._server, self._allowed = server, allowed
        self._to_server, self._from_server = server.stdin, server.stdout
        self._writing = threading.Lock()

    def run(self) -> int:
        """Relay until the server has ended; return how."""
        threading.Thread(target=self._take_from_client, daemon=True).start()
        for line in self._from_server:
            self._answer(self._narrowed(line))
        return self._server.wait()

    def _take_from_client(self) -> None:
        try:
            for line in sys.stdin.buffer:
                passed = self._admitted(line)
                if passed:
                    self._to_server.write(passed)
                    self._to_server.flush()
            self._to_server.close()
        except OSError:
            return  # it has ended, which `run` sees

    def _admitted(self, line: bytes) -> bytes:
        """Return what of a client's line the server gets, and answer the rest."""
        message = _parse(line)
        messages = message if isinstance(message, list) else [message]
        refused = [each for each in messages if self._is_foreign_call(each)]
        for call in refused:
            if "id" in call:
                error = {"code": _INVALID_PARAMS, "message": f"Unknown tool: {call['params'].get('name')}"}
                self._answer(_line({"jsonrpc": "2.0", "id": call["id"], "error": error}))
        if not refused:
            return line
        left = [each for each in messages if each not in refused]
        return _line(left) if left else b""

    def _is_foreign_call(self, message: Any) -> bool:
        if not isinstance(message, dict) or message.get("method") != "tools/call":
            return False
        params = message.get("params")
        return isinstance(params, dict) and params.get("name") not in self._allowed

    def _narrowed(self, line: bytes) -> bytes:
        """Return a server's line without the tools that do not exist."""
        message = _parse(line)
        changed = False
        for each in message if isinstance(message, list) else [message]:
            result = each.get("result") if isinstance(each, dict) else None
            tools = result.get("tools") if isinstance(result, dict) else None
            if isinstance(result, dict) and isinstance(tools, list):
                result["tools"] = [tool for tool in tools if _name_of(tool) in self._allowed]
                changed = True
        return _line(message) if changed else line

    def _answer(self, line: bytes) -> None:
        with self._writing:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _line(message: Any) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _name_of(tool: Any) -> str:
    name = tool.get("name") if isinstance(tool, dict) else None
    return name if isinstance(name, str) else ""


def _relay(command: list[str], env: Mapping[str, str], allowed: frozenset[str]) -> int:
    server = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for number in _STOP:
        signal.signal(number, lambda *_: server.terminate())
    try:
        return Relay(server, allowed).run()
    except BrokenPipeError:  # nobody listens any more
        server.kill()
        return server.wait()


def main() -> None:
    """Become the server that the file names, or relay it. Ends with 127 when there is no such program."""
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    command, env, allowed = given["command"], given["env"], given["allowed_tools"]
    try:
        if allowed is None:
            os.execvpe(command[0], command, env)  # noqa: S606 (an argv)
        sys.exit(_relay(command, env, frozenset(allowed)))
    except OSError as exc:
        print(f"{command[0]}: {exc.strerror}", file=sys.stderr)
        sys.exit(_NOT_FOUND)


if __name__ == "__main__":
    main()
