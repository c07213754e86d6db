"""Whose rows this thread or task of execution may touch."""

from __future__ import annotations

import uuid
from contextvars import ContextVar

current_org: ContextVar[uuid.UUID | None] = ContextVar("current_org", default=None)
"""The organisation whose transaction is open here. None means that row-level security shows nothing."""
