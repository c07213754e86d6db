"""The header by which a caller makes a retry harmless."""

from __future__ import annotations

from services.domain.errors import Invalid

IDEMPOTENCY_KEY = "Idempotency-Key"
MAX_KEY_CHARS = 150


def read_idempotency_key(value: str | None) -> str | None:
    """Return a usable key, or None when there is none. Raises: Invalid."""
    if value is None:
        return None
    if not value.strip() or len(value) > MAX_KEY_CHARS:
        raise Invalid(
            f"An {IDEMPOTENCY_KEY} has 1 to {MAX_KEY_CHARS} characters.", fields={IDEMPOTENCY_KEY: "length"}
        )
    return value
