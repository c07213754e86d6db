"""A mailbox for one call: sockets to checked addresses, blocking conversations in threads of their own."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from email.utils import formataddr, parseaddr
from typing import TypeVar

from services.adapters.mailbox.imap import Mailbox
from services.adapters.mailbox.messages import Mail
from services.adapters.mailbox.names import Folder
from services.adapters.mailbox.servers import Server, SignIn, dial, hand_over
from services.adapters.upstreams.network import MAX_TRIED, Network
from services.domain.errors import (
    AccountAway,
    AccountDenied,
    AccountRefused,
    AccountUnauthorised,
    ItemMissing,
)
from services.kit.letters import Enclosure

WHOLE_S = 90.0
T = TypeVar("T")

# A mail server that hangs must not keep anything else waiting.
_threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="mail")


class MailClient:
    """One mailbox. Its calls raise the errors of accounts, and ItemMissing."""

    def __init__(self, network: Network, imap: Server, smtp: Server | None, sign_in: SignIn) -> None:
        self._network, self._imap, self._smtp, self._sign_in = network, imap, smtp, sign_in
        self._tls = ssl.create_default_context()

    @property
    def sender(self) -> str:
        """Return what stands in From."""
        return formataddr((self._sign_in.display_name, self._sign_in.address))

    async def folders(self) -> list[Folder]:
        """Return all folders."""
        return await self._in_mailbox(Mailbox.folders)

    async def search(
        self,
        folder: str,
        *,
        texts: dict[str, str],
        is_unseen: bool,
        since: date | None,
        limit: int,
    ) -> tuple[list[Mail], int]:
        """Return the newest mails that match, headers only, and how many match in all. Raises: Invalid."""
        return await self._in_mailbox(
            lambda mailbox: mailbox.search(folder, texts=texts, is_unseen=is_unseen, since=since, limit=limit)
        )

    async def mail(self, folder: str, uid: int) -> Mail:
        """Return a whole mail; it stays unread."""
        return await self._in_mailbox(lambda mailbox: mailbox.mail(folder, uid))

    async def enclosure(self, folder: str, uid: int, number: int, max_bytes: int) -> Enclosure:
        """Return one file of a mail; the mail stays unread. Raises: FileTooLarge."""
        return await self._in_mailbox(lambda mailbox: mailbox.enclosure(folder, uid, number, max_bytes))

    async def head(self, folder: str, uid: int) -> Mail:
        """Return a mail's headers."""
        return await self._in_mailbox(lambda mailbox: mailbox.head(folder, uid))

    async def mark(
        self, folder: str, uid: int, *, add: Sequence[str], remove: Sequence[str]
    ) -> tuple[str, ...]:
        """Set and take flags; returns those that the mail has then."""
        return await self._in_mailbox(lambda mailbox: mailbox.mark(folder, uid, add=add, remove=remove))

    async def keep_draft(self, mime: bytes) -> tuple[str, int | None]:
        """Keep a mail as a draft; returns the folder, and the uid where the server tells it."""
        return await self._in_mailbox(lambda mailbox: mailbox.keep("drafts", mime, r"(\Draft \Seen)"))

    async def send(self, mime: bytes, recipients: Sequence[str]) -> None:
        """Send a mail, and keep a copy where the mailbox has a folder for it."""
        if self._smtp is None:
            raise AccountDenied("The account has no server for sending. Use mail_create_draft.")
        server, opened = self._smtp, await self._open(self._smtp)
        addresses = [parseaddr(recipient)[1] for recipient in recipients]
        await self._run(lambda: hand_over(opened, server, self._sign_in, self._tls, mime, addresses))
        # It has gone out: whatever the mailbox says now must not make anybody send it again.
        try:
            await self._in_mailbox(lambda mailbox: mailbox.keep("sent", mime, r"(\Seen)"))
        except (AccountAway, AccountRefused, AccountUnauthorised, ItemMissing):
            return

    # --- conversations ---------------------------------------------------------------------------------

    async def _in_mailbox(self, work: Callable[[Mailbox], T]) -> T:
        opened = await self._open(self._imap)
        starttls = self._tls if self._imap.security == "starttls" else None

        def converse() -> T:
            try:
                password = self._sign_in.password.get_secret_value()
                mailbox = Mailbox.sign_in(self._imap.host, opened, self._sign_in.user, password, starttls)
                try:
                    return work(mailbox)
                finally:
                    mailbox.close()
            finally:
                opened.close()

        return await self._run(converse)

    async def _open(self, server: Server) -> socket.socket:
        """Connect to the first checked address that answers. Raises: UpstreamRefused, UpstreamAway, AccountAway."""
        addresses = (await self._network.find_addresses(server.host))[:MAX_TRIED]
        return await self._run(lambda: dial(addresses, server, self._tls))

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(WHOLE_S):
                return await asyncio.get_running_loop().run_in_executor(_threads, work)
        except TimeoutError as error:
            raise AccountAway("The mail server takes too long.") from error
