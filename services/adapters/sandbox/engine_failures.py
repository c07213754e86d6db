"""What the container engine's answers mean to the platform.

| answer | means |
|---|---|
| no connection, timeout, 5xx that is not about the container itself | EngineAway: try again |
| 404 "No such image" | ImageMissing |
| 400, or 500 of the runtime ("OCI runtime …", mounts) | SandboxRefused: it would fail again |

The engine's own words go to the log: they name paths of the host.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from docker.errors import APIError, DockerException

from services.domain.errors import EngineAway, ImageMissing, SandboxRefused, SlipwayError

logger = logging.getLogger(__name__)

_RUNTIME_WORDS = (
    "oci runtime",
    "runc",
    "runtime name",
    "invalid mount",
    "bind source path",
    "error while creating mount",
)


class ContainerGone(Exception):
    """The container, or the volume, does not exist."""


class EngineConflict(Exception):
    """The engine's 409: a name is taken, a removal is under way, or the state does not allow this."""


@contextmanager
def mapped_failures(doing: str) -> Iterator[None]:
    """Raise what the engine's answer means.

    Raises: EngineAway, ImageMissing, SandboxRefused; ContainerGone and EngineConflict for the driver to judge.
    """
    try:
        yield
    except APIError as exc:
        raise _meaning(exc, doing) from exc
    except (requests.RequestException, DockerException, OSError) as exc:
        logger.warning("the container engine does not answer while %s: %s", doing, exc)
        raise EngineAway("The container engine does not answer.", retry_after_s=2.0) from exc


def _meaning(exc: APIError, doing: str) -> SlipwayError | ContainerGone | EngineConflict:
    status = exc.response.status_code if exc.response is not None else 500
    words = str(exc.explanation or exc).lower()
    if status == 404:
        if "no such image" in words or "manifest" in words:
            return ImageMissing("The sandbox image is not on this host.")
        return ContainerGone(words)
    if status == 409:
        return EngineConflict(words)
    logger.warning("the container engine refused while %s: %s %s", doing, status, words)
    if status < 500 or any(word in words for word in _RUNTIME_WORDS):
        return SandboxRefused("The container engine refused to start the sandbox as it was asked for.")
    return EngineAway("The container engine failed.", retry_after_s=2.0)
