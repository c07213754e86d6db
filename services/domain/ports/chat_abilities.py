"""What some chat platforms can do beyond sending text: mixins of the port, from which the list of abilities is made.

An adapter has an ability if it has its methods; nothing is declared twice. Like the port's own calls, these raise
PlatformThrottled, PlatformAway and PlatformRefused.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel

from services.domain.ports.chat import ChatKind, HookRequest, Parsed, Place, Receipt


class Ability(enum.StrEnum):
    """The names under which agents and people see them."""

    EDIT = "edit"
    DELETE = "delete"
    REACT = "react"
    FILES = "files"
    BUTTONS = "buttons"


@dataclass(frozen=True, slots=True)
class Button:
    """A button below a message. A press brings `value` back; one with a `url` opens that and brings nothing."""

    label: str
    value: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class OutgoingFile:
    """A file with its bytes, so that no platform ever has to fetch one."""

    name: str
    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ButtonLimits:
    """What a platform takes. `value_bytes` is how much a press brings back.

    `max_text` is for the text of a message with buttons, where less is taken than in any other.
    """

    buttons: int
    label_chars: int
    value_bytes: int
    source: str
    max_text: int | None = None


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How an answer is shown while it is written: how often at most, for how long, and up to which length.

    With `keep_alive_s` what is shown goes away unless it is shown again within that time.
    """

    min_interval_s: float
    max_age_s: float
    max_text: int
    source: str
    keep_alive_s: float | None = None


@runtime_checkable
class Edits(Protocol):
    """Messages of the bot can be changed."""

    edit_interval_s: float | None
    """How long to wait between two changes of one message that is shown while it is written; None: it never is."""

    def edit(self, config: Any, place: Place, message_id: str, part: str) -> None:
        """Replace a message's text by a rendered part. The same text again is no error. Buttons go away."""
        ...


@runtime_checkable
class Deletes(Protocol):
    """Messages of the bot can be taken back."""

    def delete(self, config: Any, place: Place, message_id: str) -> None:
        """Delete a message. One that is gone already is no error."""
        ...


@runtime_checkable
class Reacts(Protocol):
    """The bot can react to any message."""

    def find_emoji(self, emoji: str) -> str | None:
        """Return the platform's own name of an emoji, or None for one that it does not take. Pure."""
        ...

    def react(self, config: Any, place: Place, message_id: str, emoji: str) -> None:
        """Add a reaction, in the platform's own name of it. The same again is no error."""
        ...


@runtime_checkable
class SendsFiles(Protocol):
    """The bot can send files."""

    max_file_bytes: int
    max_caption: int

    def send_file(
        self, config: Any, place: Place, file: OutgoingFile, caption: str, *, reply_to: str | None = None
    ) -> Receipt:
        """Upload a file with a rendered caption of at most `max_caption` units."""
        ...


@runtime_checkable
class ShowsStored(SendsFiles, Protocol):
    """There is no platform outside: people get a file from where it was stored to be sent, so it stays."""

    shows_stored: bool


@runtime_checkable
class HasButtons(Protocol):
    """Messages can have buttons, and a press can be answered."""

    button_limits: ButtonLimits

    def send_card(
        self,
        config: Any,
        place: Place,
        part: str,
        buttons: Sequence[Button],
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Send one rendered part with buttons below it."""
        ...

    def answer_press(
        self, config: Any, place: Place, press_ref: str, person_id: str, text: str, *, is_refusal: bool
    ) -> None:
        """Show the person who pressed what came of it; a refusal must be seen. A press that is too old is no error."""
        ...


@runtime_checkable
class SendsOnce(Protocol):
    """The platform takes a key of ours with a message, and makes no second one under it for some minutes."""

    def send_once(
        self,
        config: Any,
        place: Place,
        part: str,
        key: str,
        buttons: Sequence[Button] = (),
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Send one rendered part under a key, with buttons if there are any; a repeat gives the first receipt."""
        ...


@runtime_checkable
class FindsSent(Protocol):
    """The platform keeps a key of ours with a message, so that a repeat after a crash can be told from a first."""

    def send_with_key(self, config: Any, place: Place, part: str, key: str) -> Receipt:
        """Send one rendered part under a key."""
        ...

    def find_sent(self, config: Any, place: Place, key: str) -> Receipt | None:
        """Look for a message that was sent under a key not long ago."""
        ...


@runtime_checkable
class FindsSentCards(FindsSent, Protocol):
    """The platform keeps our key with messages that have buttons, too."""

    def send_card_with_key(
        self, config: Any, place: Place, part: str, buttons: Sequence[Button], key: str
    ) -> Receipt:
        """Send one rendered part with buttons under a key."""
        ...


@runtime_checkable
class LooksBack(Protocol):
    """The platform keeps no key of ours, but can be asked what was sent to a chat lately."""

    def list_sent(self, config: Any, place: Place, part: str, since: datetime) -> list[str] | None:
        """List the ids of our messages that say just this part, the oldest first; None where one may not look."""
        ...


@runtime_checkable
class ReportsKeys(Protocol):
    """The platform takes a key of ours with a message, and its reports on the message have it (`InboundReport.key`)."""

    def send_reported(
        self,
        config: Any,
        place: Place,
        part: str,
        key: str,
        buttons: Sequence[Button] = (),
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Send one rendered part under a key, with buttons if there are any."""
        ...


@runtime_checkable
class Acknowledges(Protocol):
    """The platform can show on a message that it was taken up, before there is an answer."""

    def acknowledge(self, config: Any, place: Place, message_id: str) -> None:
        """Show that somebody's message was taken up, again while work goes on. The same again is no error."""
        ...


@runtime_checkable
class ReachesClosedChats(Protocol):
    """A chat can be closed until its person writes; a message of a form that the platform knows still goes through."""

    def send_opening(self, config: Any, place: Place, part: str) -> Receipt:
        """Send one rendered part in that form."""
        ...


@runtime_checkable
class Completes(Protocol):
    """Hooks name what happened by its id and no more: the platform is asked for the rest before they are read."""

    def complete(self, config: Any, request: HookRequest) -> HookRequest:
        """Return a verified, incomplete hook with what it names in its body, in the form that `parse` reads.

        Raises also: MalformedBody; PlatformRefused with the answer "404" when what it names is gone.
        """
        ...


@runtime_checkable
class FetchesFiles(Protocol):
    """Files that people send can be had."""

    def fetch_file(self, config: Any, ref: str, max_bytes: int) -> bytes:
        """Return a file's bytes. Raises also: FileTooLarge for more than `max_bytes`, before it has read them all."""
        ...


@runtime_checkable
class Streams(Protocol):
    """The platform can show an answer while it is written, other than by editing a message."""

    def stream_limits(self, place: Place, chat_kind: ChatKind) -> StreamLimits | None:
        """Return how a place takes it, or None where it does not. Pure."""
        ...

    def open_stream(self, config: Any, place: Place, *, reply_to: str | None = None) -> str:
        """Begin; returns the platform's reference of what is shown, kept by the caller."""
        ...

    def show_stream(self, config: Any, place: Place, stream_ref: str, shown: str, text: str) -> None:
        """Show Markdown `text`, whole so far; `shown` is what the call before this one showed, a beginning of it.

        Raises also: ShownAnswerStopped, where the platform says here that the person has stopped it.
        """
        ...

    def close_stream(
        self, config: Any, place: Place, stream_ref: str, shown: str, part: str, key: str
    ) -> Receipt:
        """Leave one rendered part as the lasting message in place of what was shown, under the delivery's key.

        `shown` is empty when whoever showed it has died. Called again after a crash, it does the same again where the
        platform lets it.
        """
        ...


@runtime_checkable
class Listens(Protocol):
    """Messages come over a connection of ours (a socket, a poll), not, or not only, by webhook."""

    def wants_listener(self, config: Any) -> bool:
        """Say whether a link with this configuration is to be listened to. Pure."""
        ...

    def listen(self, config: Any, inbox: Inbox) -> None:
        """Take what comes until `inbox.is_stopping()`. Returns, or raises as the port does, and is called again.

        Nothing is acknowledged to the platform before `inbox.keep` has returned.
        """
        ...


class Inbox(Protocol):
    """What a listener gives its messages to: one link's, while this process holds its lease."""

    def keep(self, parsed: Parsed, state: Mapping[str, Any] | None = None) -> None:
        """Store what came, each once, and where to resume. Raises: LeaseLost when another process listens now."""
        ...

    def load_state(self) -> dict[str, Any]:
        """Return where to resume: what the last `keep` was given, or nothing."""
        ...

    def list_heard(self) -> list[tuple[Place, str]]:
        """List where something was heard lately, each with the platform's id of the last message kept from there."""
        ...

    def is_stopping(self) -> bool:
        """Say whether to return soon: the process ends, or the link changed or is gone."""
        ...

    def wait(self, seconds: float) -> bool:
        """Wait that long, or until told to stop; returns `is_stopping()`."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that an adapter keeps for a link, as text. `version` counts its changes; 0 is one that is not there.

    With `keep_days` it goes away so long after its last change.
    """

    text: str
    version: int = 0
    keep_days: int | None = None


class Drawer(Protocol):
    """Where the adapter of a link keeps what must outlive a process, sealed; every process of the link has the same."""

    def read(self, names: Collection[str]) -> dict[str, Entry]:
        """Return those of these entries that there are."""
        ...

    def write(self, changes: Mapping[str, Entry]) -> bool:
        """Write entries, all or none; False when one of them is not of the version any more that is named."""
        ...


@runtime_checkable
class KeepsEntries(Protocol):
    """The adapter needs a drawer, for example for the keys of encrypted rooms."""

    def with_drawer(self, config: Any, drawer: Drawer) -> BaseModel:
        """Return a link's configuration with its drawer. Pure."""
        ...


@dataclass(frozen=True, slots=True)
class Health:
    """What a platform says of a link: all is well, or a sentence on what is wrong. `is_silent`: it did not answer."""

    problem: str = ""
    is_silent: bool = False


@runtime_checkable
class ChecksHealth(Protocol):
    """Whether a link works can be asked without changing anything."""

    def check_health(self, config: Any, hook_url: str) -> str | None:
        """Return None when all is well, else what a person has to mend, in a sentence."""
        ...


@dataclass(frozen=True, slots=True)
class CommandHint:
    """A command as a platform is told it: its name without a sign, a line of help, what may follow the name."""

    name: str
    help: str
    usage: str = ""


@runtime_checkable
class ShowsCommands(Protocol):
    """The platform shows people which commands a bot understands, while they type."""

    def show_commands(self, config: Any, commands: Sequence[CommandHint]) -> None:
        """Set the list, in place of the one before."""
        ...


@runtime_checkable
class OpensChats(Protocol):
    """A web address opens a direct chat with the bot and has the person send it a code."""

    def link_to_chat(self, config: Any, code: str) -> str:
        """Return the address. Pure."""
        ...


@runtime_checkable
class BeginsChats(Protocol):
    """The bot can begin a direct chat with a person whom it knows by the platform's id of them."""

    person_hint: str
    """How the platform names a person, in words for a form."""

    def open_direct(self, config: Any, person_id: str, known: Sequence[Place]) -> Place:
        """Return the direct chat with a person; it is made if there is none, so that the same again gives the same.

        `known` are chats of the link, for platforms whose addresses have a part that is learnt from others. Raises
        also: PlatformRefused for who is not there or cannot be reached.
        """
        ...


_MIXINS: dict[Ability, type] = {
    Ability.EDIT: Edits,
    Ability.DELETE: Deletes,
    Ability.REACT: Reacts,
    Ability.FILES: SendsFiles,
    Ability.BUTTONS: HasButtons,
}


def abilities_of(adapter: object) -> frozenset[Ability]:
    """Return what an adapter can do, from the methods that it has."""
    return frozenset(name for name, mixin in _MIXINS.items() if isinstance(adapter, mixin))
