"""What mail servers' answers mean for a delivery. The servers' own words are read in `services/adapters/mailbox`.

| answer | meaning |
|---|---|
| SMTP 4xx; IMAP `[LIMIT]`, `[THROTTLED]`, `[OVERQUOTA]` | throttled, for the seconds that are named, else a minute |
| SMTP 421, IMAP `[UNAVAILABLE]`, a broken connection, a timeout, no TLS | away |
| SMTP 5xx, a wrong password, IMAP `NO` and `BAD` | refused |
| an address that is not public | refused |

Source: RFC 5321 (4.2), RFC 5530
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.domain.errors import (
    AccountAway,
    AccountRefused,
    AccountThrottled,
    AccountUnauthorised,
    ItemMissing,
    PlatformAway,
    PlatformRefused,
    PlatformThrottled,
    UpstreamAway,
    UpstreamRefused,
)

_RETRY_S = 30.0


@contextmanager
def platform_errors() -> Iterator[None]:
    """Turn the errors of mailboxes into those of platforms."""
    try:
        yield
    except AccountThrottled as error:
        raise PlatformThrottled(error.message, retry_after_s=error.retry_after_s or _RETRY_S) from error
    except (AccountAway, UpstreamAway) as error:
        raise PlatformAway(
            error.message,
            retry_after_s=_RETRY_S,
            may_have_arrived=bool(error.details.get("may_have_arrived", False)),
        ) from error
    except (AccountRefused, AccountUnauthorised, ItemMissing, UpstreamRefused) as error:
        raise PlatformRefused(error.message, answer=error.code) from error
