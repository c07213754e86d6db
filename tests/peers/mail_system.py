"""Two mail servers and the name server between them: Postfix, Dovecot, OpenDKIM, OpenDMARC and NSD from Debian.

`person.test` and `agent.test` have an MX each. Whoever signs in sends through their own server, which signs with DKIM
and finds the other by its MX; the other one checks the signature and the domain's DMARC policy, writes its verdict into
Authentication-Results, takes away what claims to be its own, and hands the mail to Dovecot by LMTP. All of it is on
addresses of loopback that are this system's own, with its data in one folder.
"""

from __future__ import annotations

import base64
import imaplib
import secrets
import shutil
import smtplib
import socket
import ssl
import subprocess
import tempfile
import time
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fakes import debian_packages
from tests.fakes.certificates import Authority

PACKAGES = (
    "postfix",
    "dovecot-core",
    "dovecot-imapd",
    "dovecot-lmtpd",
    "opendkim",
    "opendmarc",
    # What opendmarc may be set up with; without it a whole database comes along.
    "dbconfig-no-thanks",
    "nsd",
)
_START_WITHIN_S = 60
_QUEUE = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "saved", "trace")
_NSD = """
server:
  ip-address: {net}.53
  port: 53
  username: ""
  chroot: ""
  zonesdir: {data}
  pidfile: ""
  database: ""
  zonelistfile: {data}/nsd.zones
  xfrdfile: {data}/nsd.xfrd
  xfrdir: {data}
  server-count: 1
remote-control:
  control-enable: no
zone:
  name: test
  zonefile: test.zone
"""
_ZONE = """
$TTL 60
@ IN SOA ns.test. root.test. 1 60 60 60 60
@ IN NS ns.test.
ns IN A {net}.53
"""
_DOMAIN = """
{domain} IN MX 10 mx.{domain}
mx.{domain} IN A {address}
_dmarc.{domain} IN TXT "v=DMARC1; p=reject"
key._domainkey.{domain} IN TXT "v=DKIM1; k=rsa; p={key_head}" "{key_tail}"
"""
_OPENDKIM = """
Syslog no
Mode sv
Socket local:{data}/milters/opendkim
UMask 000
Canonicalization relaxed/simple
KeyTable file:{data}/keytable
SigningTable refile:{data}/signingtable
InternalHosts file:{data}/nobody
ExternalIgnoreList file:{data}/nobody
RequireSafeKeys no
AlwaysAddARHeader yes
ResolverConfiguration {data}/unbound.conf
"""
# The library asks the root servers, no server on loopback, and knows that there is no `test`, unless it is told so.
_UNBOUND = """
server:
  do-not-query-localhost: no
  local-zone: "test." nodefault
stub-zone:
  name: "test."
  stub-addr: {net}.53
"""
_OPENDMARC = """
Syslog no
Socket local:{data}/milters/opendmarc
UMask 000
IgnoreHosts {data}/nobody
IgnoreAuthenticatedClients yes
RejectFailures no
SPFSelfValidate no
"""
_DOVECOT = """
base_dir = {data}/run
state_dir = {data}/state
protocols = imap lmtp
listen = 127.0.0.1
log_path = {data}/dovecot.log
ssl = required
ssl_cert = <{data}/cert.pem
ssl_key = <{data}/key.pem
default_internal_user = mail
default_internal_group = mail
default_login_user = nobody
first_valid_uid = 1
mail_location = maildir:~/mail
postmaster_address = postmaster@agent.test
recipient_delimiter = +
auth_mechanisms = plain
passdb {{
  driver = passwd-file
  args = {data}/users
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={data}/homes/%u
}}
namespace inbox {{
  inbox = yes
  mailbox Sent {{
    auto = subscribe
    special_use = \\Sent
  }}
}}
service lmtp {{
  unix_listener {data}/milters/lmtp {{
    mode = 0666
  }}
}}
service auth {{
  unix_listener {data}/milters/auth {{
    mode = 0666
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {imap_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
"""
_POSTFIX = """
compatibility_level = 3.7
queue_directory = {own}/queue
data_directory = {own}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = {own}/log
maillog_file_prefixes = {data}
multi_instance_name =
myhostname = mx.{domain}
mydestination =
mynetworks =
inet_interfaces = loopback-only
inet_protocols = ipv4
smtp_bind_address = {address}
smtp_host_lookup = dns
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = texthash:{own}/mailboxes
virtual_transport = lmtp:unix:{data}/milters/lmtp
recipient_delimiter = +
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_sasl_type = dovecot
smtpd_sasl_path = {data}/milters/auth
smtpd_milters = unix:{data}/milters/opendkim, unix:{data}/milters/opendmarc
milter_default_action = tempfail
smtpd_tls_cert_file = {data}/cert.pem
smtpd_tls_key_file = {data}/key.pem
smtp_tls_security_level = none
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
biff = no
"""
_MASTER = """
{address}:25 inet n - n - - smtpd
127.0.0.1:{port} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes -o smtpd_sasl_auth_enable=yes
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
_SCRIPT = """
mount --bind {data}/resolv.conf "$(readlink -f /etc/resolv.conf)"
mount --bind {data}/passwd /etc/passwd
mount --bind {data}/group /etc/group
chown -R mail:mail {data}/homes {data}/run {data}/state
for name in person.test agent.test; do
    own={data}/$name
    chown postfix {data}/$name/data {queue}
    chown postfix:postdrop $own/queue/public $own/queue/maildrop
    chmod 710 $own/queue/public
    chmod 730 $own/queue/maildrop
done
exec >{data}/out.log 2>&1
nsd -d -c {data}/nsd.conf &
opendkim -f -x {data}/opendkim.conf &
opendmarc -f -c {data}/opendmarc.conf &
dovecot -F -c {data}/dovecot.conf &
/usr/lib/postfix/sbin/master -c {data}/person.test &
/usr/lib/postfix/sbin/master -c {data}/agent.test &
wait
"""


@dataclass(frozen=True)
class Mailbox:
    """Somebody's account: signing in is with the address and the password."""

    address: str
    password: str
    smtp_port: int

    @property
    def domain(self) -> str:
        """Return what stands behind the @."""
        return self.address.rpartition("@")[2]


class MailSystem:
    """All servers. Needs root, as mail servers do. `authority` signs their certificates, for `localhost`."""

    def __init__(self, authority: Authority | None = None) -> None:
        # Not below pytest's folder, which each session that begins shuts to all users but its own.
        self._data = Path(tempfile.mkdtemp(prefix="slipway-mail-"))
        self.authority = authority or Authority(self._data, "authority of mail")
        self.imap_port = _free_port()
        self.agent = Mailbox("agent@agent.test", secrets.token_hex(8), _free_port())
        self.person = Mailbox("alice@person.test", secrets.token_hex(8), _free_port())
        # Port 25 and 53 are at each address of loopback anew.
        self._net = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(200) + 20}"
        self._addresses = {self.person.domain: f"{self._net}.1", self.agent.domain: f"{self._net}.2"}
        self._process: subprocess.Popen[bytes] | None = None
        self._sessions: dict[Mailbox, imaplib.IMAP4_SSL] = {}

    def __enter__(self) -> Self:
        root = debian_packages.unpack(PACKAGES)
        self._write_settings()
        queue = " ".join(f"$own/queue/{name}" for name in (*_QUEUE, "private"))
        self._process = debian_packages.start(root, _SCRIPT.format(data=self._data, queue=queue))
        try:
            for address in self._addresses.values():
                self._wait((address, 25))
            for port in (self.imap_port, self.agent.smtp_port, self.person.smtp_port):
                self._wait(("127.0.0.1", port))
            for name in ("opendkim", "opendmarc", "lmtp", "auth"):
                self._wait(str(self._data / "milters" / name))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for imap in self._sessions.values():
            imap.shutdown()
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
        shutil.rmtree(self._data, ignore_errors=True)

    def send(self, mime: EmailMessage) -> None:
        """Send a mail of the person's through their own server, which signs it."""
        with smtplib.SMTP_SSL("localhost", self.person.smtp_port, context=self._trust(), timeout=20) as smtp:
            smtp.login(self.person.address, self.person.password)
            smtp.send_message(mime)

    def send_as_stranger(self, mime: EmailMessage) -> None:
        """Hand a mail to the agent's server without any right to its sender's address."""
        with smtplib.SMTP(self._addresses[self.agent.domain], 25, timeout=20) as smtp:
            smtp.send_message(mime, from_addr="mallory@stranger.test")

    def mails(self, owner: Mailbox) -> list[EmailMessage]:
        """List the mails in an inbox, the oldest first."""
        imap = self._session(owner)
        if imap.select("INBOX", readonly=True)[0] != "OK":
            # The first mail makes it at this moment.
            return []
        numbers = imap.search(None, "ALL")[1][0].split()
        raw = [imap.fetch(number.decode(), "(RFC822)")[1][0] for number in numbers]
        return [message_from_bytes(part[1], policy=default) for part in raw if isinstance(part, tuple)]

    def _session(self, owner: Mailbox) -> imaplib.IMAP4_SSL:
        """Return the connection in which an owner reads: whoever looks again and again signs in once."""
        if owner not in self._sessions:
            imap = imaplib.IMAP4_SSL("localhost", self.imap_port, ssl_context=self._trust(), timeout=20)
            self._sessions[owner] = imap
            imap.login(owner.address, owner.password)
        return self._sessions[owner]

    def wait_for_mails(self, owner: Mailbox, count: int, *, within_s: float = 60) -> list[EmailMessage]:
        """Wait until there are so many mails in an inbox. Raises: TimeoutError, with the servers' logs."""
        ends = time.monotonic() + within_s
        while len(found := self.mails(owner)) < count:
            if time.monotonic() > ends:
                raise TimeoutError(f"{len(found)} of {count} mails for {owner.address}:\n{self._logs()}")
            time.sleep(0.1)
        return found

    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority.path))

    def _write_settings(self) -> None:
        # The servers' own users must reach what is theirs.
        self._data.chmod(0o755)
        for name in ("run", "state", "homes", "milters"):
            (self._data / name).mkdir()
        signed = self.authority.server_certificate()
        given = {"net": self._net, "data": self._data, "imap_port": self.imap_port}
        zone = _ZONE.format(**given)
        for box in (self.person, self.agent):
            zone += self._write_server(box)
        self._write(
            {
                "cert.pem": signed.certificate,
                "key.pem": signed.private_key,
                "nsd.conf": _NSD.format(**given),
                "test.zone": zone,
                "opendkim.conf": _OPENDKIM.format(**given),
                "unbound.conf": _UNBOUND.format(**given),
                "opendmarc.conf": _OPENDMARC.format(**given),
                "dovecot.conf": _DOVECOT.format(**given),
                "resolv.conf": f"nameserver {self._net}.53\noptions timeout:2 attempts:2\n",
                # Whose mail is signed without signing in, and not checked: documentation's, so nobody's.
                "nobody": "192.0.2.1\n",
                "users": "".join(
                    f"{box.address}:{{PLAIN}}{box.password}::::::\n" for box in (self.person, self.agent)
                ),
                "keytable": "".join(
                    f"{domain} {domain}:key:{self._data}/{domain}/dkim.pem\n" for domain in self._addresses
                ),
                "signingtable": "".join(f"*@{domain} {domain}\n" for domain in self._addresses),
                "passwd": Path("/etc/passwd").read_text() + "postfix:x:7025:7025::/nonexistent:/bin/false\n",
                "group": Path("/etc/group").read_text() + "postfix:x:7025:\npostdrop:x:7026:\n",
            }
        )
        (self._data / "key.pem").chmod(0o600)

    def _write_server(self, box: Mailbox) -> str:
        """Write one Postfix's folder; returns what the zone says of its domain."""
        own, address = self._data / box.domain, self._addresses[box.domain]
        for name in ("data", "queue", *(f"queue/{name}" for name in _QUEUE)):
            (own / name).mkdir(mode=0o755 if name == "queue" else 0o700, parents=True)
        for name in ("private", "public", "maildrop", "pid"):
            (own / "queue" / name).mkdir(mode=0o755)
        given = {"own": own, "data": self._data, "domain": box.domain, "address": address}
        key = rsa.generate_private_key(65_537, 2048)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        self._write(
            {
                f"{box.domain}/main.cf": _POSTFIX.format(**given),
                f"{box.domain}/master.cf": _MASTER.format(**given, port=box.smtp_port),
                f"{box.domain}/mailboxes": f"{box.address} here\n",
                f"{box.domain}/dkim.pem": private.decode(),
            }
        )
        (own / "dkim.pem").chmod(0o600)
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        text = base64.b64encode(public).decode()
        # A string of a TXT record has at most 255 characters.
        return _DOMAIN.format(
            domain=f"{box.domain}.", address=address, key_head=text[:200], key_tail=text[200:]
        )

    def _write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self._data / name).write_text(text)

    def _wait(self, where: tuple[str, int] | str) -> None:
        ends = time.monotonic() + _START_WITHIN_S
        family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
        while time.monotonic() < ends and self._process is not None and self._process.poll() is None:
            with socket.socket(family) as tried:
                tried.settimeout(1)
                if tried.connect_ex(where) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"{where} does not answer:\n{self._logs()}")

    def _logs(self) -> str:
        names = ("out.log", "dovecot.log", "person.test/log", "agent.test/log")
        logs = [self._data / name for name in names]
        return "\n".join(f"== {log.name}\n{log.read_text()[-3_000:]}" for log in logs if log.exists())


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
