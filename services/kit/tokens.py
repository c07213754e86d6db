"""Bearer tokens: made once, shown once, kept as a hash."""

from __future__ import annotations

import hashlib
import secrets

API_TOKEN_PREFIX = "sw_"  # noqa: S105  # a public prefix, by which leaked tokens can be found
SIGNING_KEY_PREFIX = "swh_"
TASK_TOKEN_PREFIX = "swt_"  # noqa: S105
ACCESS_TOKEN_PREFIX = "swo_"  # noqa: S105
REFRESH_TOKEN_PREFIX = "swr_"  # noqa: S105
AUTHORIZATION_CODE_PREFIX = "swc_"
INVITATION_PREFIX = "swi_"
DEVICE_CODE_PREFIX = "swd_"
CLIENT_SECRET_PREFIX = "sws_"  # noqa: S105


def make_token(prefix: str) -> str:
    """Make a token of 256 random bits."""
    return prefix + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """Hash a token for storage and look-up.

    The token has 256 random bits, so a plain SHA-256 cannot be searched; a slow hash would only make the look-up
    impossible to index.
    """
    return hashlib.sha256(token.encode()).hexdigest()
