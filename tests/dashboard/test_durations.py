"""A length of time reads the same from the server as from a browser that watched it live."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.api.dashboard.conversation import Turn
from services.api.dashboard.templatetags.dashboard import milliseconds


@pytest.mark.parametrize(
    ("started", "finished", "expected"),
    [
        # A browser's clock cuts the microseconds off each time before it subtracts.
        (100_900, 125_100, 25),
        (100_100, 125_900, 25),
        (100_000, 100_999, 0),
    ],
)
def test_a_turns_length_is_that_of_its_times_in_whole_milliseconds(
    started: int, finished: int, expected: int
) -> None:
    turn = Turn("1")
    turn.started_at = datetime(2026, 1, 1, tzinfo=UTC, microsecond=started)
    turn.finished_at = datetime(2026, 1, 1, tzinfo=UTC, microsecond=finished)
    assert turn.duration_ms == expected


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (999, "999 ms"), (59_940, "59.9 s"), (90_500, "1 min 31 s"), (3_600_000, "1 h 0 min")],
)
def test_a_length_of_time_is_shown_in_the_unit_that_a_person_would_use(value: int | None, shown: str) -> None:
    assert milliseconds(value) == shown
