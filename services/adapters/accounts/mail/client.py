"""A mailbox for one call: sockets to checked addresses, blocking conversations in threads of their own."""

from __future__ import annotations

import asyncio
import base64
import functools
import smtplib
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from email.utils import formataddr, parseaddr
from typing import Literal, TypeVar

from pydantic import SecretStr

from services.adapters.accounts.mail.imap import Mailbox
from services.adapters.accounts.mail.messages import Mail
from services.adapters.accounts.mail.names import Folder
from services.adapters.upstreams.network import CONNECT_S, MAX_TRIED, Network
from services.domain.errors import (
    AccountAway,
    AccountDenied,
    AccountRefused,
    AccountThrottled,
    AccountUnauthorised,
    ItemMissing,
)
from services.kit.letters import Enclosure

Security = Literal["tls", "starttls"]
SILENCE_S = 20.0
WHOLE_S = 90.0
T = TypeVar("T")

# A mail server that hangs must not keep anything else waiting.
_threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="mail")


@dataclass(frozen=True, slots=True)
class Server:
    """Where a mail server is, and how it is spoken to."""

    host: str
    port: int
    security: Security


@dataclass(frozen=True, slots=True)
class SignIn:
    """Who signs in, and what stands as the sender."""

    user: str
    password: SecretStr
    address: str
    display_name: str


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
        opened = await self._open(self._smtp)
        addresses = [parseaddr(recipient)[1] for recipient in recipients]
        await self._run(lambda: self._hand_over(opened, mime, addresses))
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

    def _hand_over(self, opened: socket.socket, mime: bytes, recipients: list[str]) -> None:
        server = self._smtp
        if server is None:
            raise AccountDenied("The account has no server for sending.")
        try:
            with _SmtpConnection(server.host, opened) as connection:
                if server.security == "starttls":
                    connection.starttls(context=self._tls)
                    connection.ehlo()
                connection.sign_in(self._sign_in.user, self._sign_in.password.get_secret_value())
                refused = connection.sendmail(self._sign_in.address, recipients, mime)
        except smtplib.SMTPAuthenticationError as error:
            raise AccountUnauthorised("The mail server does not take the user name and password.") from error
        except smtplib.SMTPRecipientsRefused as error:
            raise AccountRefused("The mail server takes none of the recipients.") from error
        except smtplib.SMTPResponseException as error:
            if 400 <= error.smtp_code < 500:
                wait_s = 60.0
                raise AccountThrottled(
                    f"The mail server does not take it now. Try again in {wait_s:.0f} seconds.",
                    retry_after_s=wait_s,
                ) from error
            raise AccountRefused("The mail server refuses the mail.") from error
        except (smtplib.SMTPException, OSError) as error:
            raise AccountAway(
                "The mail server broke off. It may have taken the mail: look into the sent folder first."
            ) from error
        finally:
            opened.close()
        if refused:
            there = ", ".join(sorted(refused))
            raise AccountRefused(f"Sent, but the mail server did not take: {there}.")

    async def _open(self, server: Server) -> socket.socket:
        """Connect to the first checked address that answers. Raises: UpstreamRefused, UpstreamAway, AccountAway."""
        addresses = (await self._network.find_addresses(server.host))[:MAX_TRIED]
        return await self._run(functools.partial(self._dial, addresses, server))

    def _dial(self, addresses: Sequence[str], server: Server) -> socket.socket:
        for address in addresses:
            try:
                opened = socket.create_connection((address, server.port), timeout=CONNECT_S)
            except OSError:
                continue
            opened.settimeout(SILENCE_S)
            if server.security == "starttls":
                return opened
            try:
                return self._tls.wrap_socket(opened, server_hostname=server.host)
            except OSError as error:
                opened.close()
                raise AccountAway("The mail server's certificate is wrong, or it speaks no TLS.") from error
        raise AccountAway("The mail server does not answer.")

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(WHOLE_S):
                return await asyncio.get_running_loop().run_in_executor(_threads, work)
        except TimeoutError as error:
            raise AccountAway("The mail server takes too long.") from error


class _SmtpConnection(smtplib.SMTP):
    """The library's client on a socket that is open already."""

    def __init__(self, host: str, opened: socket.socket) -> None:
        self._opened = opened
        super().__init__(host, 1, local_hostname="localhost", timeout=SILENCE_S)

    def sign_in(self, user: str, password: str) -> None:
        """Sign in by AUTH PLAIN, whose words may be of any letters; the library's own way is ASCII only.

        Raises: SMTPAuthenticationError. Source: RFC 4616
        """
        self.ehlo_or_helo_if_needed()
        if "PLAIN" not in self.esmtp_features.get("auth", "").upper().split():
            self.login(user, password)
            return
        words = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        code, answer = self.docmd("AUTH", f"PLAIN {words}")
        if code != 235:
            raise smtplib.SMTPAuthenticationError(code, answer)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._opened
