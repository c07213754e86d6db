"""Microsoft's own emulator of Teams (npm `@microsoft/m365agentsplayground`), without a browser.

It is a development tool under a licence of Microsoft's own, fetched where tests run; nothing of it is kept here.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.fakes import npm_packages
from tests.fakes.serving import Journal
from tests.peers.emulators import free_port

_PROGRAM = Path("@microsoft/m365agentsplayground/cli.js")
_START_WITHIN_S, _END_WITHIN_S = 60, 10
JSON = dict[str, Any]


class Playground:
    """A running emulator: what a person does in it, and what it shows (`shown`)."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.shown = Journal()
        self.config: JSON = httpx.get(f"{url}/_internal/v1/config", timeout=5).json()["config"]
        self.person = self.config["currentUser"]
        self.chat_id = str(self.config["personalChat"]["id"])

    def write(self, text: str) -> None:
        """Write to the bot alone."""
        body = {"from": {"id": self.person["id"]}, "text": text, "textFormat": "plain"}
        self._post(f"conversations/{self.chat_id}/messages", body)

    def press(self, message_id: str, value: JSON) -> None:
        """Submit a card below one of the bot's messages."""
        body = {
            "conversation": {"id": self.chat_id},
            "replyToId": message_id,
            "value": value,
            "from": {"id": self.person["id"]},
        }
        self._post("submit", body)

    def wait_for(self, action: str, *, within_s: float = 30.0, **fields: Any) -> JSON:
        """Wait until something is shown that has these fields, and return its message."""

        def fits(entry: JSON) -> bool:
            message = entry.get("message", {})
            return entry["action"] == action and all(
                message.get(key) == value for key, value in fields.items()
            )

        found: JSON = self.shown.wait_for(1, fits, within_s)[0].get("message", {})
        return found

    def _post(self, path: str, body: JSON) -> None:
        httpx.post(f"{self.url}/_conversation/v1/{path}", json=body, timeout=10).raise_for_status()

    def listen(self, stream: ClientConnection) -> None:
        """Record what is shown until the connection ends."""
        try:
            for message in stream:
                self.shown.add(json.loads(message))
        except ConnectionClosed:
            return


@contextmanager
def playground(endpoint: str, log_file: Path, *, port: int | None = None) -> Iterator[Playground]:
    """Run the emulator for a bot at an endpoint, which must answer already, on this port or on a free one."""
    packages = npm_packages.install("peers")
    port = port or free_port()
    quiet = {"TEAMSAPPTESTER_BROWSER": "none", "M365_AGENTS_PLAYGROUND_LOGFILE": str(log_file)}
    options = ["-e", endpoint, "-c", "msteams", "-p", str(port), "--dt"]
    process = subprocess.Popen(
        [str(packages.node), str(packages.modules / _PROGRAM), *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | quiet,
    )
    try:
        url = f"http://localhost:{port}"
        _wait_for(process, url)
        running = Playground(url)
        with connect(f"ws://localhost:{port}/_ws_conversation/v1/conversations/stream") as stream:
            listener = threading.Thread(target=running.listen, args=(stream,), daemon=True)
            listener.start()
            yield running
            stream.close()
            listener.join(5)
    finally:
        process.terminate()
        process.wait(_END_WITHIN_S)


def _wait_for(process: subprocess.Popen[bytes], url: str) -> None:
    """Wait until the emulator answers, which it does once it has reached the bot."""
    ended = threading.Event()
    for _ in range(_START_WITHIN_S * 5):
        assert process.poll() is None, "the emulator did not start"
        try:
            if httpx.get(f"{url}/_internal/v1/config", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            ended.wait(0.2)
    raise TimeoutError("the emulator does not answer")
