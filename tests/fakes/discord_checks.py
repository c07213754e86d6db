"""How strictly the local Discord server looks at what a bot sends: sizes, forms, and its rate limits."""

from __future__ import annotations

import threading
import time
from typing import Any

JSON = dict[str, Any]
MAX_CONTENT = 2_000
MAX_NONCE = 25
MAX_FILE_BYTES = 10 * 1024**2
# What a bot may set: no previews, no sound, components of the second version.
_FLAGS = 1 << 2 | 1 << 12 | 1 << 15


class Refused(Exception):
    """An answer of Discord's that is no success."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def invalid(what: str) -> Refused:
    """Return the refusal of a body that is not as it must be."""
    return Refused(400, 50035, f"Invalid Form Body: {what}")


def is_snowflake(text: str) -> bool:
    """Say whether a text is an id."""
    return text.isascii() and text.isdigit() and len(text) <= 20


def check_message(body: JSON, *, has_file: bool) -> None:
    """Check a message that is sent or changed. Raises: Refused."""
    known = {
        *("content", "nonce", "enforce_nonce", "tts", "embeds", "allowed_mentions", "message_reference"),
        *("components", "attachments", "flags", "sticker_ids"),
    }
    if unknown := body.keys() - known:
        raise invalid(f"unknown fields {sorted(unknown)}")
    content = body.get("content") or ""
    if not isinstance(content, str) or len(content.encode("utf-16-le")) // 2 > MAX_CONTENT:
        raise invalid("content: Must be 2000 or fewer in length.")
    if not content.strip() and not has_file and not body.get("embeds"):
        raise Refused(400, 50006, "Cannot send an empty message")
    nonce = body.get("nonce")
    if nonce is not None and (not isinstance(nonce, int | str) or len(str(nonce)) > MAX_NONCE):
        raise invalid("nonce: Must be 25 or fewer in length.")
    if (body.get("flags") or 0) & ~_FLAGS:
        raise invalid("flags: may not be set")
    _check_mentions(body.get("allowed_mentions"))
    _check_components(body.get("components") or [])


def _check_mentions(allowed: Any) -> None:
    if allowed is None:
        return
    if not isinstance(allowed, dict) or not set(allowed.get("parse", [])) <= {"roles", "users", "everyone"}:
        raise invalid("allowed_mentions")


def _check_components(rows: list[JSON]) -> None:
    if len(rows) > 5:
        raise invalid("components: at most 5 rows")
    custom_ids: list[str] = []
    for row in rows:
        buttons = row.get("components") or []
        if row.get("type") != 1 or not 1 <= len(buttons) <= 5:
            raise invalid("components: 1 to 5 buttons in a row")
        for button in buttons:
            if button.get("type") != 2 or not 1 <= len(button.get("label", "")) <= 80:
                raise invalid("components: a button has a label of 1 to 80 characters")
            if button.get("style") == 5:
                if (
                    not str(button.get("url", "")).startswith(("http://", "https://"))
                    or "custom_id" in button
                ):
                    raise invalid("components: a link has an address and no custom_id")
            elif button.get("style") not in (1, 2, 3, 4) or not 1 <= len(button.get("custom_id", "")) <= 100:
                raise invalid("components: custom_id of 1 to 100 characters")
            else:
                custom_ids.append(button["custom_id"])
    if len(set(custom_ids)) != len(custom_ids):
        raise invalid("components: custom_id is not unique")


class Buckets:
    """Counts calls by bucket, and all of them together; `limit` calls in `per_s`, `global_limit` in a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, tuple[int, float]] = {}
        self.limit, self.per_s = 1_000, 5.0
        self.global_limit = 10_000

    def take(self, bucket: str) -> tuple[dict[str, str], float | None, bool]:
        """Count a call; returns the headers, how long to wait if it is too many, and whether that is for all calls."""
        wait_s, _ = self._count("global", self.global_limit, 1.0)
        if wait_s is not None:
            return {"x-ratelimit-global": "true", "x-ratelimit-scope": "global"}, wait_s, True
        wait_s, left = self._count(bucket, self.limit, self.per_s)
        reset_at = self._counts[bucket][1]
        headers = {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(left),
            "x-ratelimit-reset": f"{time.time() + reset_at - time.monotonic():.3f}",
            "x-ratelimit-reset-after": f"{reset_at - time.monotonic():.3f}",
            "x-ratelimit-bucket": f"b{abs(hash(bucket.partition(chr(124))[0])):x}"[:20],
        }
        return headers | ({"x-ratelimit-scope": "user"} if wait_s is not None else {}), wait_s, False

    def _count(self, name: str, limit: int, per_s: float) -> tuple[float | None, int]:
        now = time.monotonic()
        with self._lock:
            used, reset_at = self._counts.get(name, (0, 0.0))
            if reset_at <= now:
                used, reset_at = 0, now + per_s
            if used >= limit:
                return reset_at - now, 0
            self._counts[name] = (used + 1, reset_at)
            return None, limit - used - 1
