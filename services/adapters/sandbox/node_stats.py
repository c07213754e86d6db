"""What the kubelet of a node measures. Source: the kubelet's summary, `stats/summary`, stats.k8s.io v1alpha1."""

from __future__ import annotations

from typing import Any

from services.domain.ports.sandbox import SandboxUsage


def find_usage(summary: dict[str, Any], pod_name: str) -> SandboxUsage | None:
    """Return what a pod uses; None when the kubelet does not know it yet, or not any more."""
    for pod in summary.get("pods") or ():
        if pod.get("podRef", {}).get("name") == pod_name:
            claims = (volume for volume in pod.get("volume") or () if volume.get("pvcRef"))
            return SandboxUsage(
                cpu_ms=int(pod.get("cpu", {}).get("usageCoreNanoSeconds", 0)) // 1_000_000,
                memory_bytes=int(pod.get("memory", {}).get("workingSetBytes", 0)),
                disk_bytes=sum(_used(volume) for volume in claims),
            )
    return None


def free_memory_bytes(summary: dict[str, Any]) -> int:
    return int(summary.get("node", {}).get("memory", {}).get("availableBytes", 0))


def _used(volume: dict[str, Any]) -> int:
    """Return what a claim holds; all of its size and more, when nothing more goes into it."""
    capacity, free = int(volume.get("capacityBytes", 0)), int(volume.get("availableBytes", 0))
    if capacity and free < max(64 * 1024, capacity // 1000):
        return capacity
    return int(volume.get("usedBytes", 0))
