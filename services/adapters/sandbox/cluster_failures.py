"""What a cluster's answers mean to the platform.

| answer | means |
|---|---|
| no connection, timeout, 401, 410, 429, 5xx | EngineAway: try again |
| 404, 409 | ObjectGone, ObjectExists: the driver judges |
| other 4xx (a quota, an admission rule, a field) | SandboxRefused: it would fail again |
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import urllib3
from kubernetes.client.exceptions import ApiException

from services.domain.errors import EngineAway, SandboxRefused

logger = logging.getLogger(__name__)

_AGAIN = (401, 408, 410, 429)


class ObjectGone(Exception):
    """The cluster has no such object."""


class ObjectExists(Exception):
    """An object of this name exists, or was changed by somebody else at the same time."""


@contextmanager
def mapped_answers(doing: str) -> Iterator[None]:
    """Raise what the cluster's answer means. Raises: EngineAway, SandboxRefused, ObjectGone, ObjectExists."""
    try:
        yield
    except ApiException as exc:
        status = exc.status or 0
        if status == 404:
            raise ObjectGone(doing) from exc
        if status == 409:
            raise ObjectExists(doing) from exc
        logger.warning("the cluster refused while %s: %s %s", doing, status, exc.reason)
        if 400 <= status < 500 and status not in _AGAIN:
            raise SandboxRefused("The cluster refused what was asked for.") from exc
        raise EngineAway("The cluster does not serve this now.", retry_after_s=2.0) from exc
    except (urllib3.exceptions.HTTPError, OSError) as exc:
        logger.warning("the cluster does not answer while %s: %s", doing, exc)
        raise EngineAway("The cluster does not answer.", retry_after_s=2.0) from exc
