"""The images that sandboxes start from, built without any image registry."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.console import Console
from deploy.local.engine import docker, ensure_engine
from deploy.local.failures import EngineMissing, StartFailed
from deploy.local.layout import REPOSITORY, Layout, shown

BASE_RELEASE = "bookworm"
BASE_TAG = f"slipway-base:{BASE_RELEASE}"
_BUILD = REPOSITORY / "agent_image" / "build.sh"
_LINE = re.compile(r"^(image(?:_[a-z]+)?)=(\S+)$", re.MULTILINE)
_NEEDED = ("shell", "claude")
_WELCOME = ("codex", "opencode")  # without these the stack runs; an agent that needs one fails and says so
_UNPROTECTED = (
    "bubblewrap in place of containers. Each sandbox has its own namespaces and no network, but NOT an image",
    "of its own: it sees this machine's /usr. Do not run agents of people you do not trust this way.",
)


@dataclass(frozen=True, slots=True)
class Sandboxing:
    """How this stack runs sandboxes: the driver and the tags of the images."""

    driver: str
    image: str
    image_claude: str
    others: Mapping[str, str] = field(default_factory=dict)
    """Tags by the name of their setting."""

    def settings(self) -> dict[str, str]:
        """Return it as the settings that the services read."""
        return {
            "SLIPWAY_SANDBOX_DRIVER": self.driver,
            "SLIPWAY_AGENT_IMAGE": self.image,
            "SLIPWAY_AGENT_IMAGE_CLAUDE": self.image_claude,
            **self.others,
        }


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return where downloads are kept for other clones on this machine."""
    base = environ.get("XDG_CACHE_HOME") or str(Path("~").expanduser() / ".cache")
    return Path(base) / "slipway"


def choose_sandboxing(
    layout: Layout, wanted: str | None, environ: Mapping[str, str], console: Console
) -> Sandboxing:
    """Make ready what sandboxes need: an engine with images, or bubblewrap where no engine can be had.

    Raises: EngineMissing when `docker` is demanded and cannot be had, StartFailed when a build fails.
    """
    if wanted == "null":
        return Sandboxing("null", "none", "none")
    if wanted != "bubblewrap":
        try:
            _refuse_plain_user()
            with console.step("container engine") as step:
                step.note = f"docker {ensure_engine(layout, environ)}"
        except EngineMissing as reason:
            if wanted == "docker":
                raise
            console.say(f"    {reason}")
        else:
            return build_images(layout, environ, console)
    if shutil.which("bwrap") is None:
        raise EngineMissing("no container engine can be had here, and bubblewrap is not installed")
    for line in _UNPROTECTED:
        console.say(f"  {console.paint('!', '33')} {line}")
    return Sandboxing("bubblewrap", "host", "host")


def _refuse_plain_user() -> None:
    """Say why a plain user gets no engine, even one that answers. Raises: EngineMissing."""
    if os.geteuid() != 0:
        raise EngineMissing(
            "with an engine, the files of workspaces belong to another user: only root can do that"
        )


def _has_image(tag: str) -> bool:
    return docker("image", "inspect", "--format", "{{.Id}}", tag).returncode == 0


def ensure_base(layout: Layout, environ: Mapping[str, str], console: Console) -> str:
    """Return the tag of a minimal Debian image: the one named, the one built before, or a new one."""
    named = environ.get("SLIPWAY_BASE_IMAGE")
    if named:
        return named
    if _has_image(BASE_TAG):
        return BASE_TAG
    tarball = cache_folder(environ) / f"base-{BASE_RELEASE}-{platform.machine()}.tar"
    with console.step("base image", is_long=True) as step:
        if not tarball.exists() and not _bootstrap_debian(tarball, layout.logs / "debootstrap.log"):
            step.note = "pulled"
            return _pull_base()
        imported = docker(*("import", "--change", 'CMD ["bash"]', str(tarball), BASE_TAG), timeout_s=300)
        if imported.returncode != 0:
            tarball.unlink(missing_ok=True)  # a broken download must not be met again
            raise StartFailed(f"docker import failed: {imported.stderr.strip()}")
        step.note = f"{BASE_TAG}, from {tarball}"
    return BASE_TAG


def _pull_base() -> str:
    public = f"debian:{BASE_RELEASE}-slim"
    if docker("pull", public, timeout_s=300).returncode != 0:
        raise EngineMissing(f"debootstrap needs root here, and {public} cannot be pulled")
    docker("tag", public, BASE_TAG)
    return BASE_TAG


def _bootstrap_debian(tarball: Path, log: Path) -> bool:
    """Write a minimal Debian as a tar file; False when we may not: it needs root."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        return False
    tarball.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tarball.parent, prefix="debootstrap-") as folder:
        root = Path(folder) / "root"
        mirror = _mirror()
        command = ["debootstrap", "--variant=minbase", BASE_RELEASE, str(root), *([mirror] if mirror else [])]
        with log.open("wb") as output:
            done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            raise StartFailed(f"debootstrap failed; see {shown(log)}")
        part = Path(folder) / "base.tar"
        leave_out = ("./var/cache/apt/archives/*.deb", "./var/lib/apt/lists/*")
        subprocess.run(
            [
                "tar",
                "-C",
                str(root),
                *(f"--exclude={pattern}" for pattern in leave_out),
                "-cf",
                str(part),
                ".",
            ],
            check=True,
        )
        part.replace(tarball)
    return True


def _mirror() -> str | None:
    """Return the mirror that this machine's apt uses for the release; None leaves it to debootstrap."""
    try:
        done = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    for line in done.stdout.splitlines():
        site, _, release = line.partition(" ")
        if release == BASE_RELEASE:
            return site
    return None


def build_images(layout: Layout, environ: Mapping[str, str], console: Console) -> Sandboxing:
    """Build the agent images unless they exist; return their tags. Raises: StartFailed.

    Those of `_WELCOME` may be missing: what builds them needs npm and a package mirror that has them.
    """
    base = ensure_base(layout, environ, console)
    log = layout.logs / "agent_image.log"
    log.unlink(missing_ok=True)
    with console.step("agent images", is_long=True) as step:
        is_built, tags = _build(_NEEDED, base, log, environ)
        if not is_built or not {"image", "image_claude"} <= tags.keys():
            words = log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
            raise StartFailed(
                "\n    ".join([f"agent_image/build.sh failed; the end of {shown(log)}:", *words])
            )
        step.note = tags["image"]
    with console.step("codex and opencode", is_long=True) as step:
        is_built, more = _build(_WELCOME, base, log, environ)
        if not is_built:
            step.note = f"not all could be built: see {shown(log)}"
    others = {f"SLIPWAY_AGENT_{name.upper()}": tag for name, tag in more.items() if name not in tags}
    return Sandboxing("docker", tags["image"], tags["image_claude"], others)


def _build(
    targets: Sequence[str], base: str, log: Path, environ: Mapping[str, str]
) -> tuple[bool, dict[str, str]]:
    """Run the build of some targets; return whether all came about, and the tags of those that did."""
    with log.open("ab") as output:
        done = subprocess.run(
            [str(_BUILD), "--base", base, "--engine", "docker", "--only", ",".join(targets)],
            cwd=REPOSITORY,
            env={**environ, "SLIPWAY_PYTHON": sys.executable},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            check=False,
        )
    return done.returncode == 0, dict(_LINE.findall(done.stdout.decode("utf-8", "replace")))
