"""What a platform's folder gives the conformance suite: `tests/conformance.py` with `CASE`."""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol, runtime_checkable

from services.adapters.chat.config import ChatConfig
from services.domain.ports.chat import HookRequest, Place


class Platform(Protocol):
    """A local server that speaks the platform's protocol."""

    def base_url(self) -> str:
        """Return what the adapter is made with."""
        ...

    def fail_next(self, how: str, retry_after_s: int = 1) -> None:
        """Let the next call fail: `throttle`, `error`, `forbid` or `drop`."""
        ...

    def sent_texts(self) -> list[str]:
        """List the texts as people would see them."""
        ...


class Incoming(enum.StrEnum):
    """What comes in on a platform without a webhook, each time anew."""

    DIRECT = "direct"  # "What is the weather?" from a person to the bot alone
    OWN = "own"  # what the bot wrote itself
    UNKNOWN = "unknown"  # something that is no message
    UNSTORABLE = "unstorable"  # the same question with characters in it that no database text can hold


@runtime_checkable
class ShowsFiles(Protocol):
    """A platform whose server does not keep a journal of files in its `extras`."""

    def sent_files(self) -> list[tuple[str, bytes]]:
        """List the files that were sent, by name."""
        ...


class ListeningPlatform(Platform, Protocol):
    """A local server of a platform to which we connect to hear what comes."""

    def receive(self, what: Incoming) -> None:
        """Let something come in."""
        ...

    def receive_garbage(self, dice: random.Random) -> None:
        """Let a message come in that is broken somewhere."""
        ...

    def fail_listening(self, how: str) -> None:
        """Let the next question for what is new fail: `throttle`, `error`, `forbid` or `drop`."""
        ...


class AdapterCase(Protocol):
    """One platform's way to pose the questions that the suite asks of all.

    `stream_place` may be there as well: a place that takes streams, where `place` does not. Where the bot can begin
    chats, `person` is somebody it can begin one with, and `stranger` nobody.
    """

    config: ChatConfig
    wrong_config: ChatConfig
    place: Place

    def measure(self, part: str) -> int:
        """Measure a part in the manifest's unit."""
        ...

    def check_markup(self, part: str) -> str:
        """Read a part as strictly as the platform does and return the text; fail if it is not sound."""
        ...

    def running(self) -> AbstractContextManager[Platform]:
        """Run the platform, on which only `config` has a valid account."""
        ...


class HookCase(AdapterCase, Protocol):
    """A platform that calls our webhook."""

    direct_body: bytes
    own_body: bytes
    unknown_body: bytes

    def hook(self, body: bytes, received_at: datetime) -> HookRequest:
        """Make a call that verifies."""
        ...

    def forgeries(self, received_at: datetime) -> Sequence[tuple[str, HookRequest]]:
        """Make calls that must not verify, each with what is wrong with it."""
        ...


@runtime_checkable
class HasOtherServers(Protocol):
    """A case whose platform has more servers than the one that `running` runs: whose keys sign what comes in."""

    def settings(self) -> Mapping[str, str]:
        """Return their settings; they run from the first call until the process ends."""
        ...


def settings_of(case: AdapterCase, **own: str) -> dict[str, str]:
    """Return the settings with which a case's adapter is made, and `own` besides."""
    others = case.settings() if isinstance(case, HasOtherServers) else {}
    return {**others, **own}
