"""What a pod's status means: whether a sandbox runs, how it ended, or why it will never start."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from services.domain.errors import ImageMissing, SandboxRefused, SlipwayError
from services.domain.ports.sandbox import SandboxReport, SandboxStatus

_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_NO_START = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
OVER = ("Succeeded", "Failed")


def report_of(sandbox_id: UUID, pod: Any) -> SandboxReport:
    """Report a pod; one that is still being made counts as running."""
    if pod.status.phase not in OVER:
        return SandboxReport(sandbox_id, SandboxStatus.RUNNING)
    ended = _state(pod, "terminated")
    code = ended.exit_code if ended is not None else None
    is_out_of_memory = ended is not None and ended.reason == "OOMKilled"
    return SandboxReport(sandbox_id, SandboxStatus.STOPPED, code, is_out_of_memory)


def find_failure(pod: Any) -> SlipwayError | None:
    """Return why a pod that is being made will not run, or None while it may."""
    waiting = _state(pod, "waiting")
    reason = waiting.reason if waiting is not None else None
    if reason in _NO_IMAGE:
        return ImageMissing("The sandbox image cannot be had on this node.")
    if reason in _NO_START:
        return SandboxRefused("The cluster refused to start the sandbox as it was asked for.")
    return None


def exit_code(pod: Any) -> int | None:
    """Return the exit code of a pod that is over."""
    ended = _state(pod, "terminated")
    return ended.exit_code if ended is not None else None


def _state(pod: Any, name: str) -> Any:
    for container in pod.status.container_statuses or ():
        if container.state is not None:
            return getattr(container.state, name)
    return None
