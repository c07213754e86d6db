"""Dovecot, the mail server itself: Debian's packages unpacked into a folder of ours, run on loopback with TLS.

Nothing of the machine is touched: the packages are fetched by the ordinary client and not installed. The server's own
processes see them in their places in /usr, in a mount namespace that ends with them.
"""

from __future__ import annotations

import fcntl
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.fakes.certificates import Authority
from tests.fakes.mail_server import PASSWORD, USER

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".local" / "dovecot"
PACKAGES = ("dovecot-core", "dovecot-imapd", "libexttextcat-2.0-0", "libexttextcat-data", "libunwind8")
_WITHIN_S = 120
_CONFIG = """
base_dir = {data}/run
state_dir = {data}/state
protocols = imap
listen = 127.0.0.1
log_path = {data}/log
ssl = required
ssl_cert = <{data}/cert.pem
ssl_key = <{data}/key.pem
default_internal_user = mail
default_internal_group = mail
default_login_user = nobody
first_valid_uid = 1
mail_location = maildir:{data}/mail
auth_mechanisms = plain
passdb {{
  driver = passwd-file
  args = {data}/users
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={data}/home
}}
namespace inbox {{
  inbox = yes
  mailbox Sent {{
    auto = subscribe
    special_use = \\Sent
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
"""


def unpack() -> Path:
    """Return the folder in which Dovecot lies, unpacked once. Raises: RuntimeError."""
    folder = CACHE / "root"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (CACHE / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run(["apt-get", "download", *PACKAGES], CACHE)
            for package in CACHE.glob("*.deb"):
                _run(["dpkg", "-x", str(package), str(folder)], CACHE)
            (CACHE / "complete").touch()
    return folder


class Dovecot:
    """A mailbox of the user of the local mail server, with its data in a folder. Needs root, as mail servers do."""

    def __init__(self, folder: Path, port: int) -> None:
        self._data, self._port = folder, port
        self._root = unpack()
        self.authority = Authority(folder, "authority of dovecot")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        signed = self.authority.server_certificate()
        (self._data / "cert.pem").write_text(signed.certificate)
        (self._data / "key.pem").write_text(signed.private_key)
        (self._data / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}::::::\n")
        config = self._data / "dovecot.conf"
        config.write_text(_CONFIG.format(data=self._data, port=self._port))
        for name in ("run", "state", "home", "mail"):
            (self._data / name).mkdir()
            shutil.chown(self._data / name, "mail", "mail")
        layers = f"lowerdir={self._root}/usr:/usr"
        start = f"mount -t overlay dovecot -o {layers} /usr && exec /usr/sbin/dovecot -F -c {config}"
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", start]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            self._wait()
        except RuntimeError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def receive(self, content: bytes) -> None:
        """Let a mail arrive, as a delivery agent does: written beside, then moved in."""
        name = f"{time.time_ns()}.x.localhost"
        beside = self._data / "mail" / "tmp" / name
        beside.write_bytes(content)
        shutil.chown(beside, "mail", "mail")
        beside.rename(self._data / "mail" / "new" / name)

    def _wait(self) -> None:
        ends = time.monotonic() + 20
        while time.monotonic() < ends:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        log = self._data / "log"
        raise RuntimeError(log.read_text()[-3_000:] if log.exists() else "dovecot does not start")


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_WITHIN_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[:2]} failed:\n{done.stderr[-2_000:]}")
