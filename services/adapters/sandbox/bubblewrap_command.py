"""The command line of a sandbox made by bubblewrap: namespaces, read-only binds of the system, no capability."""

from __future__ import annotations

import os
from pathlib import Path

from services.adapters.sandbox.hardening import AGENT_UID, HOME_BYTES, LINK_FOLDER, OPEN_FILES, WORKSPACE
from services.domain.ports.sandbox import SandboxSpec

PYTHON = "/usr/bin/python3"
_INSIDE = "/opt/slipway/agent_image"
# A guard for the host, not a limit of one sandbox: all of them run as the same user.
HOST_PROCESSES = 4_096
_SYSTEM_FILES = (
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/ssl/certs",
)
_USERS = f"root:x:0:0::/root:/bin/false\nagent:x:{AGENT_UID}:{AGENT_UID}::/home/agent:/bin/bash\n"
_GROUPS = f"root:x:0:\nagent:x:{AGENT_UID}:\n"
_SETTINGS = {
    "HOME": "/home/agent",
    "LANG": "C.UTF-8",
    "PATH": "/home/agent/.local/bin:/usr/local/bin:/usr/bin:/bin",
    "SLIPWAY_OWNS_PROCESS_SPACE": "1",
}


def write_identity(folder: Path) -> None:
    """Write the users and groups that a sandbox sees."""
    (folder / "passwd").write_text(_USERS)
    (folder / "group").write_text(_GROUPS)


def build_command(
    spec: SandboxSpec,
    *,
    folder: Path,
    agent_image: Path,
    workspace: Path | None,
    status_fd: int,
    filter_fd: int | None,
) -> list[str]:
    """Return the whole command. `folder` holds what `write_identity` wrote; `workspace` is None for a tmpfs."""
    command = [
        "setsid",
        "--fork",
        "prlimit",
        f"--nofile={OPEN_FILES}",
        "--core=0",
        f"--nproc={HOST_PROCESSES}",
    ]
    command += ["bwrap", "--json-status-fd", str(status_fd)]
    if filter_fd is not None:
        command += ["--seccomp", str(filter_fd)]
    command += [*_namespaces(), *_root(folder)]
    for place, size in (("/tmp", spec.limits.tmp_bytes), ("/home/agent", HOME_BYTES)):  # noqa: S108
        command += ["--perms", "1777", "--size", str(size), "--tmpfs", place]
    if workspace is None:
        command += ["--perms", "1777", "--size", str(spec.limits.tmp_bytes), "--tmpfs", WORKSPACE]
    else:
        command += ["--bind", str(workspace), WORKSPACE]
    command += ["--ro-bind", str(agent_image), _INSIDE, "--ro-bind", str(spec.socket_dir), LINK_FOLDER]
    command += ["--remount-ro", "/", "--chdir", WORKSPACE, "--clearenv"]
    for name, value in _SETTINGS.items():
        command += ["--setenv", name, value]
    return [*command, "--", *_become_agent(), PYTHON, "-I", "-S", f"{_INSIDE}/launch.py"]


def _namespaces() -> list[str]:
    shared = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    shared += ["--hostname", "sandbox", "--new-session"]
    if os.geteuid() != 0:
        return [
            *shared,
            "--unshare-user",
            "--disable-userns",
            "--uid",
            str(AGENT_UID),
            "--gid",
            str(AGENT_UID),
        ]
    # As root no user namespace: in one, the agent would be the host's root to every file that it can see.
    # bwrap sets everything up, and setpriv becomes a user that owns nothing, with what is needed for that alone.
    kept = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
    return [*shared, "--cap-drop", "ALL", *(part for name in kept for part in ("--cap-add", name))]


def _become_agent() -> list[str]:
    if os.geteuid() != 0:
        return []
    ids = [f"--reuid={AGENT_UID}", f"--regid={AGENT_UID}", "--clear-groups"]
    return ["/usr/bin/setpriv", *ids, "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]


def _root(folder: Path) -> list[str]:
    """Build the root: the host's programs, and of /etc only what programs need to start."""
    binds = ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]
    for name in ("/etc", "/etc/ssl", "/home", "/opt", "/opt/slipway", "/run"):
        binds += ["--perms", "0755", "--dir", name]  # parents that bwrap makes by itself are its user's alone
    for name in ("bin", "sbin", "lib", "lib64", "lib32"):
        link = Path("/") / name
        if link.is_symlink():
            binds += ["--symlink", f"usr/{name}", f"/{name}"]
        elif link.exists():
            binds += ["--ro-bind", str(link), str(link)]
    for file in _SYSTEM_FILES:
        binds += ["--ro-bind-try", file, file]
    for name in ("passwd", "group"):
        binds += ["--ro-bind", str(folder / name), f"/etc/{name}"]
    return binds
