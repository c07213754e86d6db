"""Hearing what comes into a mailbox: what is new since the last uid, then IDLE until there is more.

State: `validity` and `last_uid`, which together name the last mail that was kept, and `day`, on which that was. Nothing
in the mailbox is changed: mails stay unread, for whoever else reads there.

Source: RFC 3501 (2.3.1.1), RFC 2177
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from services.adapters.chat.email.config import EmailConfig
from services.adapters.chat.email.inbound import Stored, find_lost_tag, read_letter
from services.adapters.chat.email.servers import MailServers
from services.adapters.chat.email.threads import INBOX, find_tagged_thread
from services.adapters.mailbox.imap import Mailbox
from services.adapters.mailbox.names import imap_date
from services.domain.ports.chat import Parsed
from services.domain.ports.chat_abilities import Inbox

log = logging.getLogger(__name__)

# Servers end a conversation after half an hour of silence, and routers on the way forget it sooner.
_IDLE_S = 9 * 60.0
_LOOK_S = 1.0
# Hardly any server takes larger ones.
_MAX_MAIL_BYTES = 32 * 1024**2
# Where the server has no IDLE.
_POLL_S = 20.0


def listen(servers: MailServers, config: EmailConfig, inbox: Inbox) -> None:
    """Hear what comes until told to stop. Raises: PlatformThrottled, PlatformAway, PlatformRefused."""
    with servers.mailbox(config) as mailbox:
        listening = _Listening(config, mailbox, inbox)
        while not inbox.is_stopping():
            listening.take_new()
            # With nothing in it, it is a sign of life: the mailbox was reached.
            inbox.keep(Parsed())
            if not mailbox.wait(inbox.is_stopping, look_s=_LOOK_S, longest_s=_IDLE_S):
                inbox.wait(_POLL_S)


class _Listening:
    """One listener, and how far it is."""

    def __init__(self, config: EmailConfig, mailbox: Mailbox, inbox: Inbox) -> None:
        self._config, self._mailbox, self._inbox = config, mailbox, inbox
        self._validity, newest = mailbox.open_folder(INBOX)
        state = inbox.load_state()
        self._again: list[int] = []
        if not state:
            # What lay there before the link was made is not for the agent to answer.
            self._last_uid = newest
            inbox.keep(Parsed(), self._state())
        elif state.get("validity") == self._validity:
            self._last_uid = int(state["last_uid"])
        else:
            self._last_uid = 0
            self._again = self._since(str(state.get("day", "")))

    def take_new(self) -> None:
        """Keep what has come since the last mail, in order."""
        for uid in self._new():
            raw = self._mailbox.raw(uid, _MAX_MAIL_BYTES)
            parsed = Parsed(ignored="gone") if raw is None else self._read(uid, raw)
            self._last_uid = max(self._last_uid, uid)
            self._inbox.keep(parsed, self._state())

    def _new(self) -> Iterator[int]:
        if self._again:
            found, self._again = self._again, []
        else:
            # A range that begins behind the last mail means the last mail.
            asked = self._mailbox.uids("UID", f"{self._last_uid + 1}:*")
            found = [uid for uid in asked if uid > self._last_uid]
        for uid in found:
            if self._inbox.is_stopping():
                return
            yield uid

    def _since(self, day: str) -> list[int]:
        """Return what may be new in a folder that was made anew; what was kept before has the same key."""
        try:
            begin = date.fromisoformat(day) - timedelta(days=1)
        except ValueError:
            begin = datetime.now(UTC).date() - timedelta(days=1)
        return self._mailbox.uids("SINCE", imap_date(begin))

    def _read(self, uid: int, raw: bytes) -> Parsed:
        tag = find_lost_tag(self._config, raw)
        thread = None
        if tag is not None:
            thread = find_tagged_thread(self._mailbox, tag)
            self._mailbox.open_folder(INBOX)
        stored = Stored(self._validity, uid)
        try:
            return read_letter(self._config, raw, stored, datetime.now(UTC), tagged_thread=thread)
        # One mail over which a parser stumbles must not keep the others from being read, for ever.
        except Exception:
            log.exception("mail %s.%s cannot be read", self._validity, uid)
            return Parsed(ignored="unreadable")

    def _state(self) -> dict[str, Any]:
        day = datetime.now(UTC).date().isoformat()
        return {"validity": self._validity, "last_uid": self._last_uid, "day": day}
