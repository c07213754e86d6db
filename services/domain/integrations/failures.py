"""What goes wrong on the way to a provider, in the words of accounts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from services.domain.errors import (
    AccountAway,
    AccountRefused,
    AccountUnauthorised,
    UpstreamAway,
    UpstreamRefused,
    UpstreamSlow,
    UpstreamUnauthorised,
)


@contextlib.contextmanager
def as_account_errors() -> Iterator[None]:
    """Turn the errors of the network and of OAuth, which servers of others share, into those of accounts."""
    try:
        yield
    except UpstreamUnauthorised as error:
        raise AccountUnauthorised(error.message) from error
    except (UpstreamAway, UpstreamSlow) as error:
        raise AccountAway(error.message, retry_after_s=15) from error
    except UpstreamRefused as error:
        raise AccountRefused(error.message) from error
