"""What a hardened container is: every option of the engine that keeps a hostile tenant in, in one place."""

from __future__ import annotations

from typing import Any

from docker.types import LogConfig, Mount, Ulimit

from services.domain.ports.sandbox import Promise, SandboxSpec

AGENT_UID = 10_001
GVISOR_MIN_PIDS = 1024  # its pids limit counts the sentry's own threads; below this the whole sandbox dies
OPEN_FILES = 8_192
HOME_BYTES = 256 * 1024**2
SHM_BYTES = 64 * 1024**2
WORKSPACE = "/workspace"
LINK_FOLDER = "/run/slipway"

ALL_PROMISES = frozenset(Promise)


def host_options(spec: SandboxSpec) -> dict[str, Any]:
    """Return the arguments of the engine's host configuration for a sandbox."""
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
        "tmpfs": _tmpfs(spec),
        "mounts": _mounts(spec),
        "log_config": LogConfig(type="json-file", config={"max-size": "1m", "max-file": "1"}),
        "restart_policy": {"Name": "no"},
        "runtime": spec.runtime,
    }


def _tmpfs(spec: SandboxSpec) -> dict[str, str]:
    """Programs may be run from them: whoever has a shell or an interpreter does not need the exec bit."""
    owned = f"rw,exec,nosuid,nodev,uid={AGENT_UID},gid={AGENT_UID},mode=0700"
    folders = {
        "/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={spec.limits.tmp_bytes}",  # noqa: S108 (inside of the sandbox)
        "/home/agent": f"{owned},size={HOME_BYTES}",
    }
    if spec.volume is None:
        folders[WORKSPACE] = f"{owned},size={spec.limits.tmp_bytes}"
    return folders


def _mounts(spec: SandboxSpec) -> list[Mount]:
    socket_folder = Mount(
        target=LINK_FOLDER, source=str(spec.socket_dir), type="bind", read_only=True, propagation="rprivate"
    )
    if spec.volume is None:
        return [socket_folder]
    return [
        socket_folder,
        Mount(target=WORKSPACE, source=volume_name(spec.installation, spec.volume), type="volume"),
    ]


def volume_name(installation: str, volume: str) -> str:
    return f"slipway-{installation}-{volume}"


def promises_of(engine: dict[str, Any]) -> frozenset[Promise]:
    """Return what this engine can keep, by its own account: some kernels lack a limit."""
    lacking = set()
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
