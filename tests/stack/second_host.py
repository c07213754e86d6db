"""A second host on this machine: an engine, a gateway and a worker of its own, beside those of a running stack."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

from deploy.local.control import inherited_environment
from deploy.local.layout import REPOSITORY
from deploy.local.ports import pick_port
from deploy.local.services import PROVISIONING_ONLY
from tests.stack.own_engine import OwnEngine
from tests.stack.running import RunningStack, until

NAME = "other"
SLOTS = 4


class SecondHost:
    """Starts, kills and revives a host called `other`. Its engine holds one image."""

    def __init__(self, stack: RunningStack) -> None:
        self._stack = stack
        mark = secrets.token_hex(3)
        # Under a name that the first host does not have: only who asks for it is placed here.
        self._image = f"slipway-two-hosts:{mark}"
        self._names: list[str] = []
        self._engine = OwnEngine()
        self._folder = Path(tempfile.mkdtemp(prefix="slipway-other-"))
        self._run = Path(f"/run/slipway-other-{mark}")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environ = inherited_environment(os.environ)
        self._gateway_port = pick_port(())

    # --- Its life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bring the host up, with the image of the shell agent in its engine."""
        self._run.mkdir(mode=0o711)
        self._engine.create()
        self._engine.bring_image(self._stack.env["SLIPWAY_AGENT_IMAGE"], self._image)
        self.start_services()

    def kill(self) -> None:
        """Kill everything of the host at once but its containers."""
        for name in ("worker", "gateway"):
            process = self._processes.pop(name)
            process.kill()
            process.wait(20)
        self._engine.kill()

    def stop(self) -> None:
        """End the host and remove all that there was of it."""
        for name in ("worker", "gateway"):
            self._end(name)
        self._engine.remove()
        if self.row():
            self.age_beat()
        self._unmount()
        if self._names:
            subprocess.run(["docker", "rmi", *self._names], capture_output=True, check=False)
        for folder in (self._run, self._folder):
            shutil.rmtree(folder, ignore_errors=True)

    def start_services(self) -> None:
        """Start gateway and worker, and wait until both serve."""
        settings = {key: value for key, value in self._stack.env.items() if key not in PROVISIONING_ONLY}
        settings |= {
            "SLIPWAY_HOST_NAME": NAME,
            "SLIPWAY_RUN_DIR": str(self._run / "r"),
            "SLIPWAY_DATA_DIR": str(self._folder / "files"),
            "SLIPWAY_STORAGE_DIR": f"{self._stack.env['SLIPWAY_DATA_DIR']}/objects",
            "SLIPWAY_GATEWAY_PORT": str(self._gateway_port),
            "SLIPWAY_DOCKER_HOST": self._engine.url,
            "SLIPWAY_SANDBOX_SLOTS": str(SLOTS),
            "SLIPWAY_WARM_MIN": "0",
            "SLIPWAY_WARM_MAX": "0",
            "SLIPWAY_SNAPSHOT_AFTER_S": "0",
            "SLIPWAY_HOST_BEAT_S": "0.5",
        }
        for name, module in (("gateway", "services.mcp_gateway.serve"), ("worker", "services.worker.serve")):
            self._spawn(name, [sys.executable, "-m", module], settings)
        until(self._is_ready, within_s=60, what="the second host serves")

    def _is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            is_up = httpx.get(f"http://127.0.0.1:{self._gateway_port}/ready", timeout=5).status_code == 200
            return is_up and self.row().get("is_beating") is True
        return False

    # --- What it is ----------------------------------------------------------------------------------

    def docker(self, *arguments: str) -> str:
        """Ask its engine's client, and return what it said."""
        return self._engine.docker(*arguments)

    def name_image(self) -> str:
        """Give its image a new name, and return it once everybody knows that it is here."""
        name = f"slipway-two-hosts:{secrets.token_hex(4)}"
        self.docker("tag", self._image, name)
        self._names.append(name)
        query = "SELECT 1 FROM host WHERE name = %s AND images ? %s"
        until(lambda: self._stack.plane(query, [NAME, name]), within_s=30, what="the image is known")
        return name

    def share_image(self, name: str) -> None:
        """Give the first engine an image under the name that it has here."""
        subprocess.run(["docker", "tag", self._stack.env["SLIPWAY_AGENT_IMAGE"], name], check=True)

    def containers(self) -> list[str]:
        """Name the containers that run in its engine."""
        return self.docker("ps", "--format", "{{.Names}}").split()

    def make_file(self, workspace_id: str, name: str) -> None:
        """Make a file in a workspace from outside, in the container that works there."""
        query = "SELECT id FROM sandbox WHERE workspace_id = %s AND state = 'busy'"
        (row,) = self._stack.plane(query, [workspace_id])
        (container,) = [found for found in self.containers() if str(row["id"]) in found]
        self.docker("exec", container, "touch", f"/workspace/{name}")

    def row(self) -> dict[str, Any]:
        """Read the host's row; empty before its first beat."""
        rows = self._stack.plane(
            "SELECT fenced_at IS NOT NULL AS is_fenced, is_draining, epoch, "
            "last_beat_at > now() - interval '5 seconds' AS is_beating FROM host WHERE name = %s",
            [NAME],
        )
        return rows[0] if rows else {}

    def age_beat(self) -> None:
        """Let its last beat be as long ago as if the others had waited."""
        self._stack.plane(
            "UPDATE host SET last_beat_at = now() - interval '1 hour' WHERE name = %s RETURNING name", [NAME]
        )

    # --- Its processes -------------------------------------------------------------------------------

    def start_engine(self) -> None:
        """Start its engine after it was killed."""
        self._engine.start()

    def _spawn(self, name: str, command: list[str], settings: dict[str, str]) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env={**self._environ, **settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _end(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)

    def _unmount(self) -> None:
        """Unmount what the workspaces' volumes have in the host's folder, the innermost first."""
        places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for place in reversed(
            [place for place in places if place.startswith((f"{self._folder}/", f"{self._run}/"))]
        ):
            subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)
