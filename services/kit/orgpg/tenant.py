"""Whose rows this thread or task of execution may touch."""

from __future__ import annotations

import uuid
from contextvars import ContextVar

current_org: ContextVar[uuid.UUID | None] = ContextVar("current_org", default=None)
"""The organisation whose transaction is open here. None means that row-level security shows nothing."""

sees_one_moment: ContextVar[bool] = ContextVar("sees_one_moment", default=False)
"""Whether a transaction that begins here sees the rows of one moment, and is refused what changed since."""
