"""Synapse, the homeserver itself, fetched by the ordinary pip client as its lock file says, and run on loopback."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import httpx

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "synapse.lock"
CACHE = ROOT / ".local" / "synapse"
_INSTALL_WITHIN_S, _START_WITHIN_S = 600, 60
_GENEROUS = "{per_second: 1000, burst_count: 1000}"
_SETTINGS = f"""
enable_registration_without_verification: true
federation_domain_whitelist: []
trusted_key_servers: []
suppress_key_server_warning: true
rc_message: {_GENEROUS}
rc_login: {{address: {_GENEROUS}, account: {_GENEROUS}, failed_attempts: {_GENEROUS}}}
rc_joins: {{local: {_GENEROUS}, remote: {_GENEROUS}}}
rc_invites: {{per_room: {_GENEROUS}, per_user: {_GENEROUS}, per_issuer: {_GENEROUS}}}
url_preview_enabled: false
# Each test begins with a first sync of its own, which Synapse would answer out of its cache for two minutes.
caches: {{sync_response_cache_duration: 0s}}
"""


def install() -> Path:
    """Return the Python that has Synapse, installed once for each state of the lock file. Raises: RuntimeError."""
    folder = CACHE / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(folder)])
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes"]
            _run([*pip, "--disable-pip-version-check", "-r", str(LOCK)])
            (folder / "complete").touch()
    return folder / "bin" / "python"


class Synapse:
    """A homeserver of its own, named `localhost`, with its data in a folder."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self._python, self._folder = install(), folder
        with socket.create_server(("127.0.0.1", port or 0)) as found:
            self._port = int(found.getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._people: list[Person] = []
        self._secret = "shared-by-this-test"

    def __enter__(self) -> Self:
        config = self._folder / "hs.yaml"
        command = [str(self._python), "-m", "synapse.app.homeserver", "--config-path", str(config)]
        made = ["--server-name", "localhost", "--generate-config", "--report-stats=no"]
        _run([*command, *made, "--data-directory", str(self._folder)], cwd=self._folder)
        resources = [{"names": ["client"]}]
        where = {"port": self._port, "type": "http", "bind_addresses": ["127.0.0.1"]}
        listener = [where | {"resources": resources}]
        own = f"\nlisteners: {json.dumps(listener)}\nregistration_shared_secret: {self._secret}\n{_SETTINGS}"
        kept = [
            line
            for line in _without_block(config.read_text().splitlines(), "listeners:")
            if not line.startswith(
                ("registration_shared_secret:", "trusted_key_servers:", "  - server_name:")
            )
        ]
        config.write_text("\n".join(kept) + own)
        with (self._folder / "out.log").open("wb") as log:
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log)
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        for person in self._people:
            person.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def register(self, name: str) -> Person:
        """Make an account and sign in to it."""
        program = self._python.parent / "register_new_matrix_user"
        options = ["-u", name, "-p", "a password", "--no-admin", "-k", self._secret]
        _run([str(program), *options, self.url])
        person = Person(self.url, name)
        self._people.append(person)
        return person

    def _wait(self) -> None:
        ends = time.monotonic() + _START_WITHIN_S
        while time.monotonic() < ends:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.url}/health", timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise RuntimeError((self._folder / "out.log").read_text()[-4_000:])


class Person:
    """Somebody with an account, who does what a client does."""

    def __init__(self, url: str, name: str) -> None:
        self.user_id = f"@{name}:localhost"
        self._client = httpx.Client(base_url=f"{url}/_matrix/client/v3", timeout=20)
        answer = self.call(
            "POST",
            "/login",
            type="m.login.password",
            identifier={"type": "m.id.user", "user": name},
            password="a password",
        )
        self.token = str(answer["access_token"])
        self._client.headers["Authorization"] = f"Bearer {self.token}"
        self._numbers = 0

    def close(self) -> None:
        """Close the connection; the account stays signed in."""
        self._client.close()

    def call(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """Make a call. Raises: httpx.HTTPStatusError."""
        answer = self._client.request(method, path, json=body if method != "GET" else None)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def make_room(self, *invited: str, **fields: Any) -> str:
        """Make a room and invite people into it."""
        return str(self.call("POST", "/createRoom", invite=list(invited), **fields)["room_id"])

    def send(self, room_id: str, content: dict[str, Any], kind: str = "m.room.message") -> str:
        """Send an event."""
        self._numbers += 1
        path = f"/rooms/{room_id}/send/{kind}/t{self._numbers}-{os.getpid()}"
        return str(self.call("PUT", path, **content)["event_id"])

    def say(self, room_id: str, text: str, **content: Any) -> str:
        """Say something."""
        return self.send(room_id, {"msgtype": "m.text", "body": text} | content)

    def events(self, room_id: str) -> list[dict[str, Any]]:
        """List a room's last events, the oldest first."""
        page = self.call("GET", f"/rooms/{room_id}/messages?dir=b&limit=50")
        return list(reversed(page["chunk"]))

    def upload(self, data: bytes, content_type: str) -> str:
        """Upload a file."""
        url = str(self._client.base_url).replace("/_matrix/client/v3", "/_matrix/media/v3/upload")
        answer = self._client.post(url.rstrip("/"), content=data, headers={"Content-Type": content_type})
        answer.raise_for_status()
        return str(answer.json()["content_uri"])


def _without_block(lines: list[str], name: str) -> list[str]:
    """Leave out a setting with all that is indented below it."""
    kept, is_in = [], False
    for line in lines:
        is_in = line.startswith(name) or (is_in and line[:1] in (" ", "-"))
        if not is_in:
            kept.append(line)
    return kept


def _run(command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=_INSTALL_WITHIN_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[:4]} failed:\n{done.stdout[-2_000:]}{done.stderr[-4_000:]}")
