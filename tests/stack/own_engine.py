"""A container engine of a test's own, beside the machine's: it may be killed, and nobody else's containers know."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from deploy.local.control import inherited_environment
from tests.stack.running import until

NEEDLESS = (
    "*.a",
    "*san.so*",
    "./usr/bin/*-linux-gnu-*",
    "./usr/include",
    "./usr/lib/*/gconv",
    "./usr/lib/*/perl",
    "./usr/lib/file",
    "./usr/lib/gcc",
    "./usr/lib/git-core",
    "./usr/lib/node_modules",
    "./usr/lib/python3",
    "./usr/share",
    "./var/cache",
    "./var/lib",
    "libicu*",
    "libnode.so*",
)


class OwnEngine:
    """Starts, kills and revives an engine.

    It has a bridge of its own and touches no packet filter: the first engine's network stays as it is. Its containers
    outlive it (`live-restore`), so that whoever comes back finds them running.
    """

    def __init__(self) -> None:
        mark = secrets.token_hex(3)
        self._bridge = f"swbr{mark}"
        self._folder = Path(tempfile.mkdtemp(prefix="slipway-engine-"))
        self._run = Path(f"/run/slipway-engine-{mark}")
        self._process: subprocess.Popen[bytes] | None = None
        self._environ = inherited_environment(os.environ)

    @property
    def url(self) -> str:
        """Return where its API is."""
        return f"unix://{self._run}/docker.sock"

    def create(self) -> None:
        """Make its folders and its bridge, and start it for the first time."""
        self._run.mkdir(mode=0o711)
        (self._folder / "daemon.json").write_text(json.dumps({"live-restore": True}))
        subprocess.run(["ip", "link", "add", "name", self._bridge, "type", "bridge"], check=True)
        self.start()

    def start(self) -> None:
        """Start it, for the first time or after it was killed."""
        # What a killed one left: a pid that another process may have by now.
        (self._run / "docker.pid").unlink(missing_ok=True)
        (self._run / "x" / "containerd" / "containerd.pid").unlink(missing_ok=True)
        command = [
            "dockerd",
            f"--config-file={self._folder}/daemon.json",
            f"--data-root={self._folder}/engine",
            f"--exec-root={self._run}/x",
            f"--pidfile={self._run}/docker.pid",
            f"--host={self.url}",
            # Never `none`: it removes the first engine's own bridge.
            f"--bridge={self._bridge}",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
            "--ip-masq=false",
        ]
        with (self._folder / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, within_s=60, what="the engine of its own answers")

    def kill(self) -> None:
        """Kill it at once; its containers go on."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def remove(self) -> None:
        """End it and remove all that there was of it, containers first."""
        if self._process is not None:
            containers = self.docker("ps", "--all", "--quiet").split()
            if containers:
                self.docker("rm", "--force", *containers)
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(20)
            self._process = None
        self._unmount()
        subprocess.run(["ip", "link", "delete", self._bridge], capture_output=True, check=False)
        for folder in (self._run, self._folder):
            shutil.rmtree(folder, ignore_errors=True)

    def docker(self, *arguments: str) -> str:
        """Ask its client, and return what it said."""
        command = ["docker", "--host", self.url, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout

    def bring_image(self, image: str, name: str) -> None:
        """Copy an image of the machine's engine as one layer, without what no runner needs: a fifth of its size."""
        asked = ["docker", "image", "inspect", "--format", "{{json .Config}}", image]
        config = json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)
        changes = [f"ENV {setting}" for setting in config["Env"]]
        changes += [f"USER {config['User']}", f"WORKDIR {config['WorkingDir']}"]
        changes += [f"ENTRYPOINT {json.dumps(config['Entrypoint'])}"]
        tar = [
            "--create",
            "--one-file-system",
            "--directory=/",
            *(f"--exclude={path}" for path in NEEDLESS),
            ".",
        ]
        pack = ["docker", "run", "--rm", "--network=none", "--user=0:0", "--entrypoint=tar", image, *tar]
        unpack = ["docker", "--host", self.url, "import", *(f"--change={change}" for change in changes)]
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
            subprocess.run(
                [*unpack, "-", name], stdin=packing.stdout, capture_output=True, check=True, timeout=240
            )
        assert packing.returncode == 0

    def copy_image(self, image: str) -> None:
        """Copy an image of the machine's engine as it is, with its identity."""
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
            load = ["docker", "--host", self.url, "load"]
            subprocess.run(load, stdin=saving.stdout, capture_output=True, check=True, timeout=240)
        assert saving.returncode == 0

    def _answers(self) -> bool:
        command = ["docker", "--host", self.url, "version"]
        return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0

    def _unmount(self) -> None:
        """Unmount what is still mounted in its folders, the innermost first."""
        places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for place in reversed(
            [place for place in places if place.startswith((f"{self._folder}/", f"{self._run}/"))]
        ):
            subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)
