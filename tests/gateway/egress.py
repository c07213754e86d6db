"""An egress proxy on a socket, the hosts that it may find, and an agent that talks to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import ssl
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from services.domain.egress.policy import Policy
from services.domain.egress.refusals import Refusal
from services.domain.egress.rules import EgressRule, Grant
from services.domain.vault.brokered import Credential
from services.mcp_gateway.egress.authority import Authority, AuthorityDoor, open_authority
from services.mcp_gateway.egress.brokering import Vault
from services.mcp_gateway.egress.desk import Limits
from services.mcp_gateway.egress.outside import Outside, dial_by_tcp
from services.mcp_gateway.egress.proxy import EgressProxy
from services.mcp_gateway.egress.streams import SocketStream, Stream, StreamFrom, TlsStream

WAIT_S = 20.0
PUBLIC = "93.184.215.14"


@dataclass
class Origin:
    """A host outside that answers each request with what it got, and counts what reached it."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    body: bytes = b"hello from outside"
    pieces: Callable[[bytes], Sequence[bytes]] | None = None
    extra: bytes = b""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if b"transfer-encoding: chunked" in head.lower():
                head += await reader.readuntil(b"0\r\n\r\n")
            self.requests.append(head)
            if self.pieces is not None:
                await self._answer_in_pieces(writer, self.pieces(head))
                return
            writer.write(
                b"HTTP/1.1 200 OK\r\nX-Origin: yes\r\nConnection: close\r\n" + self.extra
                + b"Content-Length: %d\r\n\r\n" % len(self.body) + self.body
            )  # fmt: skip
            await writer.drain()
        writer.close()

    async def _answer_in_pieces(self, writer: asyncio.StreamWriter, pieces: Sequence[bytes]) -> None:
        """Send each piece as a chunk of its own, in packets of their own."""
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n" + self.extra
        writer.write(head + b"\r\n")
        for piece in pieces:
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def origin(tls: ssl.SSLContext | None = None, **fields: Any) -> AsyncIterator[Origin]:
    """Run a host on a loopback port."""
    made = Origin(**fields)
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()


def rules(*entries: str | dict[str, Any]) -> tuple[EgressRule, ...]:
    """Make entries: a host on any port, or the fields of one."""
    return tuple(
        EgressRule(host=entry, port=None) if isinstance(entry, str) else EgressRule.model_validate(entry)
        for entry in entries
    )


@dataclass
class World:
    """The proxy, and around it everything that a test decides: the rules, the resolver, where dialling ends."""

    own_folder: Path
    folder: Path
    limits: Limits = field(default_factory=Limits)
    policy: Policy | None = field(
        default_factory=lambda: Policy(uuid.uuid4(), uuid.uuid4(), uuid.uuid4(), uuid.uuid4(), ())
    )
    names: dict[str, Sequence[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    dialled: list[tuple[str, int]] = field(default_factory=list)
    recorded: list[list[Refusal]] = field(default_factory=list)
    noted: list[tuple[uuid.UUID, uuid.UUID, int, int]] = field(default_factory=list)
    find_policy: Callable[[uuid.UUID], Policy | None] | None = None
    record: Callable[[Policy, Sequence[Refusal]], None] | None = None
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    sandbox_id: uuid.UUID = field(default_factory=uuid.uuid4)
    vault: Vault = field(default_factory=Vault)

    def __post_init__(self) -> None:
        # The world outside has an authority of its own; the proxy trusts it as it would trust the public ones.
        self.public_authority: Authority = open_authority(self.own_folder / "public", "public")
        outside = Outside(
            self._resolve,
            self._dial,
            tls=ssl.create_default_context(cadata=self.public_authority.pem),
        )
        self.proxy = EgressProxy(
            outside,
            AuthorityDoor(self.own_folder / "data", "test"),
            limits=self.limits,
            find_policy=self.find_policy or (lambda sandbox_id: self.policy),
            record=self.record or (lambda policy, refusals: self.recorded.append(list(refusals))),
            note=lambda *traffic: self.noted.append(traffic),
            vault=self.vault,
        )

    def allow(self, *entries: str | dict[str, Any]) -> None:
        """Set what the agent may reach."""
        assert self.policy is not None
        mine = self.policy
        self.policy = replace(mine, rules=rules(*entries))

    def hold(self, *credentials: Credential) -> None:
        """Set what the task holds placeholders of."""
        assert self.policy is not None
        self.policy = replace(self.policy, credentials=credentials)

    @property
    def reasons(self) -> list[str]:
        """Return why the owner was told that something was refused, in order."""
        return [refusal.reason for refusals in self.recorded for refusal in refusals]

    async def look_after(self) -> None:
        """Do what the proxy does every few seconds."""
        await self.proxy.look_after()

    async def _resolve(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.names:
            raise OSError("no such host")
        return self.names[host]

    async def _dial(self, address: str, port: int) -> Stream:
        """Note what is dialled. All of the public internet is on this machine's loopback."""
        self.dialled.append((address, port))
        return await dial_by_tcp("127.0.0.1", port)

    async def connect(self) -> Talk:
        """Connect to the proxy as the agent."""
        reader, writer = await asyncio.open_unix_connection(str(self.folder / "egress.sock"))
        self.writers.append(writer)
        return Talk(SocketStream(reader, writer))

    async def ask(self, request: str | bytes) -> bytes:
        """Say something to the proxy, and return all that it says until it closes."""
        talk = await self.connect()
        await talk.say(request)
        return await talk.rest()

    async def get(self, url: str, method: str = "GET", **headers: str) -> bytes:
        """Ask for a URL of plain http."""
        host = url.removeprefix("http://").partition("/")[0]
        lines = [f"{method} {url} HTTP/1.1", f"Host: {host}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return await self.ask("\r\n".join(lines) + "\r\n\r\n")

    async def tunnel(self, place: str) -> Talk:
        """Open a tunnel; it must be granted."""
        talk = await self.connect()
        await talk.say(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n")
        assert (await talk.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        return talk


class Talk:
    """One connection of the agent."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    async def say(self, data: str | bytes) -> None:
        await self.stream.write(data.encode() if isinstance(data, str) else data)

    async def until(self, end: bytes) -> bytes:
        """Read up to an end, which must come; what follows stays to be read."""
        heard = b""
        async with asyncio.timeout(WAIT_S):
            while end not in heard:
                data = await self.stream.read()
                assert data, f"closed after {heard!r}"
                heard += data
        head, _, rest = heard.partition(end)
        self.stream = StreamFrom(rest, self.stream)
        return head + end

    async def rest(self) -> bytes:
        """Read until it is closed."""
        heard = b""
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(OSError):
                while data := await self.stream.read():
                    heard += data
        return heard

    async def shake_hands(self, name: str | None, trusted: str) -> Talk:
        """Speak TLS from here on. `trusted` is the certificate authority that must have signed."""
        context = ssl.create_default_context(cadata=trusted)
        context.check_hostname = name is not None
        tls = TlsStream(self.stream, context, server_side=False, server_name=name)
        async with asyncio.timeout(WAIT_S):
            await tls.handshake()
        return Talk(tls)


@contextlib.asynccontextmanager
async def world(*, folder: Path | None = None, **fields: Any) -> AsyncIterator[World]:
    """Run a proxy for one sandbox, with its socket in a folder."""
    own = Path(tempfile.mkdtemp(prefix="slipway-"))
    made = World(own, folder or own, **fields)
    await made.proxy.open(made.sandbox_id, made.folder)
    try:
        yield made
    finally:
        for writer in made.writers:
            writer.close()
        made.proxy.close(made.sandbox_id)
        await made.proxy.closed()
        shutil.rmtree(own)


def hello_bytes(name: str | None) -> bytes:
    """Return the first bytes of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def with_extension(hello: bytes, kind: int) -> bytes:
    """Add an empty extension to a hello that is one record."""
    added = kind.to_bytes(2) + b"\x00\x00"
    body = bytearray(hello)
    place = 9 + 2 + 32
    place += 1 + body[place]  # session
    place += 2 + int.from_bytes(body[place : place + 2])  # cipher suites
    place += 1 + body[place]  # compression
    size = int.from_bytes(body[place : place + 2]) + len(added)
    body[place : place + 2] = size.to_bytes(2)
    body += added
    body[3:5] = (len(body) - 5).to_bytes(2)
    body[6:9] = (len(body) - 9).to_bytes(3)
    return bytes(body)


class Anything(Policy):
    """The rules of an owner who allows everything: the addresses are checked all the same."""

    def find_grant(self, host: str, port: int) -> Grant | None:
        return Grant(None)


@pytest.fixture
async def proxied() -> AsyncIterator[World]:
    """Give a proxy that knows two hosts on the public internet."""
    async with world(names={"good.test": [PUBLIC], "bad.test": [PUBLIC]}) as made:
        yield made


def allow_everything(made: World) -> None:
    """Let the agent reach whatever the proxy itself does not refuse."""
    mine = made.policy
    assert mine is not None
    made.policy = Anything(mine.org_id, mine.workspace_id, mine.agent_id, mine.task_id, ())


def status_of(answer: bytes) -> int:
    """Return the status of an answer."""
    return int(answer.split(b" ", 2)[1])


def reason_of(answer: bytes) -> str:
    """Return why an answer refuses."""
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert body["error"]["code"] == "egress_refused"
    assert body["error"]["message"]
    return str(body["error"]["reason"])


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 (the proxy announces nothing)
            await asyncio.sleep(0.005)
