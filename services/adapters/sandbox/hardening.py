"""What a hardened container is: every option of the engine that keeps a hostile tenant in, in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docker.types import LogConfig, Mount, Ulimit

from services.domain.errors import PromiseBroken
from services.domain.ports.sandbox import Promise, SandboxSpec

AGENT_UID = 10_001
GVISOR_MIN_PIDS = 1024  # its pids limit counts the sentry's own threads; below this the whole sandbox dies
OPEN_FILES = 8_192
HOME_BYTES = 256 * 1024**2
SHM_BYTES = 64 * 1024**2
WORKSPACE = "/workspace"
LINK_FOLDER = "/run/slipway"

ALL_PROMISES = frozenset(Promise)


def refuse_gaps(spec: SandboxSpec, promises: frozenset[Promise]) -> None:
    """Refuse a sandbox that would lack what nobody accepted. A tmpfs workspace needs no disk limit: it has a size.

    Raises: PromiseBroken.
    """
    needed = ALL_PROMISES - ({Promise.DISK_LIMIT} if spec.volume is None else set())
    broken = needed - promises - spec.accepted_gaps
    if broken:
        raise PromiseBroken(
            f"This host cannot keep: {', '.join(sorted(broken))}. An operator may accept that for the host.",
            promises=sorted(broken),
        )


def host_options(spec: SandboxSpec, workspace: Path | None) -> dict[str, Any]:
    """Return the arguments of the engine's host configuration for a sandbox; `workspace` is its volume's folder."""
    limits = spec.limits
    is_gvisor = spec.runtime is not None and spec.runtime.startswith("runsc")
    return {
        "network_mode": "none",
        # The engine writes the host's resolvers even into a container without a network; this never answers.
        "dns": ["127.0.0.1"],
        "dns_search": ["."],
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": [
            "no-new-privileges:true"
        ],  # and the default seccomp profile, by saying nothing of it
        "ipc_mode": "private",
        "privileged": False,
        "init": True,
        "pids_limit": max(limits.pids, GVISOR_MIN_PIDS) if is_gvisor else limits.pids,
        "mem_limit": limits.memory_bytes,
        "memswap_limit": limits.memory_bytes,  # memory and swap together: no swap
        "nano_cpus": round(limits.cpus * 1e9),
        "oom_score_adj": 500,  # when the host itself runs out, a sandbox goes before any service
        "shm_size": SHM_BYTES,
        "ulimits": [
            Ulimit(name="nofile", soft=OPEN_FILES, hard=OPEN_FILES),
            Ulimit(name="core", soft=0, hard=0),
        ],
        "tmpfs": _tmpfs(spec, workspace),
        "mounts": _mounts(spec, workspace),
        "log_config": LogConfig(type="json-file", config={"max-size": "1m", "max-file": "1"}),
        "restart_policy": {"Name": "no"},
        "runtime": spec.runtime,
    }


def _tmpfs(spec: SandboxSpec, workspace: Path | None) -> dict[str, str]:
    """Programs may be run from them: whoever has a shell or an interpreter does not need the exec bit."""
    owned = f"rw,exec,nosuid,nodev,uid={AGENT_UID},gid={AGENT_UID},mode=0700"
    folders = {
        "/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={spec.limits.tmp_bytes}",  # noqa: S108 (inside of the sandbox)
        "/home/agent": f"{owned},size={HOME_BYTES}",
    }
    if workspace is None:
        folders[WORKSPACE] = f"{owned},size={spec.limits.tmp_bytes}"
    return folders


def _mounts(spec: SandboxSpec, workspace: Path | None) -> list[Mount]:
    """Bind the link's folder and the volume, privately: what the host mounts later does not appear inside."""
    binds = [Mount(LINK_FOLDER, str(spec.socket_dir), type="bind", read_only=True, propagation="rprivate")]
    if workspace is not None:
        binds.append(Mount(WORKSPACE, str(workspace), type="bind", propagation="rprivate"))
    return binds


def promises_of(engine: dict[str, Any], *, is_disk_limited: bool) -> frozenset[Promise]:
    """Return what this engine can keep, by its own account: some kernels lack a limit."""
    lacking = set() if is_disk_limited else {Promise.DISK_LIMIT}
    options = " ".join(engine.get("SecurityOptions") or ())
    if "seccomp" not in options:
        lacking.add(Promise.SYSCALL_FILTER)
    for name, promise in (
        ("MemoryLimit", Promise.MEMORY_LIMIT),
        ("PidsLimit", Promise.PIDS_LIMIT),
        ("CpuCfsQuota", Promise.CPU_LIMIT),
    ):
        if engine.get(name) is False:
            lacking.add(promise)
    return ALL_PROMISES - lacking
