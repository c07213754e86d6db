"""Mail servers that a tenant names: connections to checked addresses, and handing a mail over by SMTP. Blocking.

Source: RFC 5321 (SMTP), RFC 4616 (AUTH PLAIN)
"""

from __future__ import annotations

import base64
import contextlib
import re
import smtplib
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import SecretStr

from services.adapters.upstreams.network import CONNECT_S
from services.domain.errors import AccountAway, AccountRefused, AccountThrottled, AccountUnauthorised

Security = Literal["tls", "starttls"]
HOST_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$"
SILENCE_S = 20.0
DEFAULT_WAIT_S = 60.0
_CLOSING = 421
_WAIT = re.compile(r"\b(\d{1,4}) ?s(?:ec(?:ond)?s?)?\b")


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


def dial(addresses: Sequence[str], server: Server, tls: ssl.SSLContext) -> socket.socket:
    """Connect to the first address that answers. Raises: AccountAway."""
    for address in addresses:
        try:
            opened = socket.create_connection((address, server.port), timeout=CONNECT_S)
        except OSError:
            continue
        opened.settimeout(SILENCE_S)
        if server.security == "starttls":
            return opened
        try:
            return tls.wrap_socket(opened, server_hostname=server.host)
        except OSError as error:
            opened.close()
            raise AccountAway("The mail server's certificate is wrong, or it speaks no TLS.") from error
    raise AccountAway("The mail server does not answer.")


def hand_over(
    opened: socket.socket,
    server: Server,
    sign_in: SignIn,
    tls: ssl.SSLContext,
    mime: bytes,
    recipients: Sequence[str],
) -> None:
    """Send a mail over an open connection, and close it.

    Raises: AccountUnauthorised, AccountThrottled, AccountRefused, AccountAway with `may_have_arrived`.
    """
    with _conversation(opened, server) as talk:
        _sign_in(talk, server, sign_in, tls)
        refused = talk.sendmail(sign_in.address, list(recipients), mime)
    if refused:
        there = ", ".join(sorted(refused))
        raise AccountRefused(f"Sent, but the mail server did not take: {there}.")


def check_sign_in(opened: socket.socket, server: Server, sign_in: SignIn, tls: ssl.SSLContext) -> None:
    """Sign in over an open connection, and close it. Raises: as `hand_over`."""
    with _conversation(opened, server) as talk:
        _sign_in(talk, server, sign_in, tls)


def _sign_in(talk: _SmtpConnection, server: Server, sign_in: SignIn, tls: ssl.SSLContext) -> None:
    if server.security == "starttls":
        talk.starttls(context=tls)
        talk.ehlo()
    talk.sign_in(sign_in.user, sign_in.password.get_secret_value())


@contextlib.contextmanager
def _conversation(opened: socket.socket, server: Server) -> Iterator[_SmtpConnection]:
    """Open a conversation, and turn what goes wrong in it into the errors of accounts."""
    talk: _SmtpConnection | None = None
    try:
        talk = _SmtpConnection(server.host, opened)
        yield talk
        # What was sent was taken: how the server says goodbye is its own matter.
        with contextlib.suppress(smtplib.SMTPException, OSError):
            talk.quit()
    except (smtplib.SMTPException, OSError) as error:
        raise _translate(error, may_have_arrived=talk is not None and talk.has_begun_data) from error
    finally:
        if talk is not None:
            talk.close()
        opened.close()


def _translate(error: Exception, *, may_have_arrived: bool) -> Exception:
    """Return the error of accounts that stands for the library's."""
    if isinstance(error, smtplib.SMTPAuthenticationError) and error.smtp_code >= 500:
        return AccountUnauthorised("The mail server does not take the user name and password.")
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return _refusal(error.recipients.values())
    if isinstance(error, smtplib.SMTPResponseException) and error.smtp_code != -1:
        return _refusal([(error.smtp_code, _bytes(error.smtp_error))])
    words = " It may have taken the mail: look into the sent folder first." if may_have_arrived else ""
    return AccountAway(f"The mail server broke off.{words}", may_have_arrived=may_have_arrived)


def _refusal(answers: Iterable[tuple[int, Any]]) -> Exception:
    found = list(answers)
    if any(code == _CLOSING for code, _ in found):
        return AccountAway("The mail server is closing.", may_have_arrived=False)
    if found and all(400 <= code < 500 for code, _ in found):
        wait_s = max(_wait_s(_bytes(words)) for _, words in found)
        return AccountThrottled(
            f"The mail server does not take it now. Try again in {wait_s:.0f} seconds.", retry_after_s=wait_s
        )
    return AccountRefused("The mail server refuses the mail, or its recipients.")


def _bytes(words: Any) -> bytes:
    return words if isinstance(words, bytes) else str(words).encode()


def _wait_s(words: bytes) -> float:
    """Return how long a server that puts mail off wants us to wait, where it says it in seconds."""
    found = _WAIT.search(words.decode("utf-8", "replace"))
    return float(found[1]) if found else DEFAULT_WAIT_S


class _SmtpConnection(smtplib.SMTP):
    """The library's client on a socket that is open already."""

    def __init__(self, host: str, opened: socket.socket) -> None:
        self._opened = opened
        self.has_begun_data = False
        super().__init__(host, 1, local_hostname="localhost", timeout=SILENCE_S)

    def data(self, msg: Any) -> tuple[int, bytes]:
        """Send the mail itself: from here on it may arrive whatever happens to the answer."""
        self.has_begun_data = True
        return super().data(msg)

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
