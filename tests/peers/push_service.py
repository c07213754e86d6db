"""A push service that others wrote (npm `web-push-testing`): it plays the browsers too, and decrypts what they get."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.fakes import npm_packages
from tests.peers.emulators import free_port

_WITHIN_S = 10.0


class PushService:
    """The service at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def subscribe(self, public_key: str) -> dict[str, Any]:
        """Let a browser subscribe for a key of ours; returns what it made, with the hash by which it is asked."""
        body = {"userVisibleOnly": "true", "applicationServerKey": public_key}
        answer = httpx.post(f"{self.url}/subscribe", json=body)
        assert answer.status_code == 200, answer.text
        given: dict[str, Any] = answer.json()["data"]
        return given

    def messages(self, client_hash: str) -> list[str]:
        """Return what a browser was shown, decrypted."""
        answer = httpx.post(f"{self.url}/get-notifications", json={"clientHash": client_hash})
        assert answer.status_code == 200, answer.text
        found: list[str] = answer.json()["data"]["messages"]
        return found

    def expire(self, client_hash: str) -> None:
        """Let a browser be gone."""
        assert httpx.post(f"{self.url}/expire-subscription/{client_hash}").status_code == 200

    def is_up(self) -> bool:
        """Say whether it answers."""
        try:
            return httpx.post(f"{self.url}/status", timeout=1).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def push_service() -> Iterator[PushService]:
    """Run the service."""
    packages = npm_packages.install("peers")
    port = free_port()
    program = packages.modules / "web-push-testing" / "src" / "bin" / "server.js"
    process = subprocess.Popen([str(packages.node), str(program), str(port)], stdout=subprocess.DEVNULL)
    service = PushService(f"http://localhost:{port}")
    try:
        deadline = time.monotonic() + _WITHIN_S
        while not service.is_up():
            assert time.monotonic() < deadline, "the push service did not start"
            time.sleep(0.05)
        yield service
    finally:
        process.terminate()
        process.wait(_WITHIN_S)
