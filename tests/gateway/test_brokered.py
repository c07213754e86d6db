"""Brokered secrets before a hostile agent: the value goes where it is bound, and comes back in no form."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import gzip
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest

from services.domain.vault.accesses import Access, Used
from services.domain.vault.bindings import Binding
from services.domain.vault.brokered import Credential, CredentialRefused, Opened, Standing, Use
from services.domain.vault.grants import make_placeholder
from services.domain.vault.models import AccessWay, CredentialKind
from services.mcp_gateway.access_log import AccessLog
from services.mcp_gateway.egress.brokering import Vault
from services.mcp_gateway.egress.desk import Limits
from services.mcp_gateway.egress.injection import is_below
from services.mcp_gateway.egress.scrub import Scrubber
from tests.gateway.egress import PUBLIC, Origin, Talk, World, origin, reason_of, status_of, until, world

VALUE = "s3cr3t/of+acme=="
OTHER = "an-unrelated-text"
NAMES = {"api.test": [PUBLIC], "evil.test": [PUBLIC]}


@dataclass
class FakeVault:
    """Plays the vault: one value, what stands in its way, and what was asked and written down."""

    value: str = VALUE
    standings: list[Standing | str] = field(default_factory=list)
    opened: list[Use] = field(default_factory=list)
    asked: list[Use] = field(default_factory=list)
    recorded: list[Access] = field(default_factory=list)
    refusal: str = ""

    def find_standing(self, use: Use) -> Standing:
        self.asked.append(use)
        standing = self.standings.pop(0) if self.standings else "allowed"
        if standing not in ("allowed", "asked"):
            raise CredentialRefused(standing)
        return "allowed" if standing == "allowed" else "asked"

    def open(self, use: Use) -> Opened:
        if self.refusal:
            raise CredentialRefused(self.refusal)
        self.opened.append(use)
        used = Used(CredentialKind.SECRET, use.secret_id, "TOKEN", 1)
        access = Access(
            used, AccessWay.EGRESS, task_id=use.task_id, host=use.host, method=use.method, path=use.path
        )
        return Opened(self.value, access)

    def record(self, org_id: uuid.UUID, accesses: Sequence[Access]) -> None:
        self.recorded += accesses


@dataclass
class Brokered:
    """A proxy, a host with TLS that a credential is bound to, and the placeholder that the agent has."""

    world: World
    host: Origin
    vault: FakeVault
    accesses: AccessLog
    placeholder: str

    def bind(self, *bindings: dict[str, Any], approval: str = "never") -> None:
        """Set where the credential may go."""
        made = tuple(Binding(**{"host": "api.test", "port": self.host.port, **fields}) for fields in bindings)
        self.world.hold(Credential(uuid.uuid4(), "TOKEN", self.placeholder, made, approval))
        self.forget()

    def forget(self) -> None:
        """Have the proxy read the policy anew, which it would after a second."""
        for desk in self.world.proxy._desks.values():
            desk._read_at = float("-inf")

    async def open(self, name: str = "api.test") -> Talk:
        """Open a tunnel in which the proxy ends TLS."""
        talk = await self.world.tunnel(f"{name}:{self.host.port}")
        return await talk.shake_hands(name, (await self.world.proxy.authority.open()).pem)

    async def ask(self, path: str = "/", method: str = "GET", body: str = "", **headers: str) -> bytes:
        """Ask the host for something."""
        talk = await self.open()
        named = f"close, {headers.pop('Connection')}" if "Connection" in headers else "close"
        await talk.say(self.request(path, method, body, Connection=named, **headers))
        return await talk.rest()

    def request(self, path: str = "/", method: str = "GET", body: str = "", **headers: str) -> str:
        """Return a request as the agent writes it."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: api.test:{self.host.port}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}"] if body else []
        return "\r\n".join(lines) + "\r\n\r\n" + body

    @property
    def last(self) -> bytes:
        """Return the last request that reached the host."""
        return self.host.requests[-1]


@contextlib.asynccontextmanager
async def brokered(
    *, pieces: Callable[[bytes], Sequence[bytes]] | None = None, hold_s: float = 10.0, **fields: Any
) -> AsyncIterator[Brokered]:
    vault = FakeVault()
    limits = Limits(hold_s=hold_s, look_s=0.01)
    accesses = AccessLog(vault.record)
    asked = Vault(vault.find_standing, vault.open, accesses)
    async with world(names=NAMES, limits=limits, vault=asked) as made:
        tls = made.public_authority.context_for("api.test")
        async with origin(tls, pieces=pieces, **fields) as host:
            made.allow("api.test", "evil.test")
            found = Brokered(made, host, vault, accesses, make_placeholder())
            found.bind({})
            yield found


def value_in(head: bytes, name: str) -> str:
    """Return a header of what reached the host."""
    lines = head.decode().split("\r\n")[1:]
    return next(
        value for key, _, value in (line.partition(": ") for line in lines) if key.lower() == name.lower()
    )


# --- it goes where it is bound -----------------------------------------------------------------------


async def test_a_placeholder_in_its_header_becomes_the_value_over_verified_tls() -> None:
    async with brokered() as it:
        answer = await it.ask(
            "/a?b=c", Authorization=f"token {it.placeholder}", Accept_Encoding="gzip", Range="bytes=0-5"
        )
        assert status_of(answer) == 200
        assert value_in(it.last, "authorization") == f"token {VALUE}"
        # What could hide the value in the answer, or cut it up, is not asked for.
        assert value_in(it.last, "accept-encoding") == "identity"
        assert b"range" not in it.last.lower()
        assert it.placeholder.encode() not in it.last
        (use,) = it.vault.opened
        assert (use.host, use.method, use.path) == ("api.test", "GET", "/a")


async def test_a_value_is_put_there_always_where_the_binding_says_so() -> None:
    async with brokered() as it:
        it.bind({"always": True})
        await it.ask(Authorization="Bearer made-up")
        assert it.last.lower().count(b"authorization") == 1
        assert value_in(it.last, "authorization") == f"Bearer {VALUE}"
        it.bind({"into": "basic", "user": "bot", "always": True})
        await it.ask()
        assert base64.b64decode(value_in(it.last, "authorization")[6:]) == f"bot:{VALUE}".encode()
        it.bind({"into": "query", "name": "key", "always": True})
        await it.ask("/a?b=c&key=made-up")
        assert it.last.startswith(f"GET /a?b=c&key={quote(VALUE, safe='')} HTTP/1.1".encode())
        it.bind({"name": "X-Api-Key", "template": "k={value}", "always": True})
        await it.ask()
        assert value_in(it.last, "x-api-key") == f"k={VALUE}"


async def test_a_placeholder_is_found_in_basic_and_in_the_query() -> None:
    async with brokered() as it:
        it.bind({"into": "basic"})
        pair = base64.b64encode(f"x-access-token:{it.placeholder}".encode()).decode()
        await it.ask(Authorization=f"Basic {pair}")
        assert base64.b64decode(value_in(it.last, "authorization")[6:]) == f"x-access-token:{VALUE}".encode()
        it.bind({"into": "query", "name": "key"})
        await it.ask(f"/a?key={it.placeholder}&b=c")
        assert it.last.startswith(f"GET /a?key={quote(VALUE, safe='')}&b=c ".encode())


async def test_a_request_without_the_placeholder_gets_nothing() -> None:
    async with brokered() as it:
        await it.ask(Authorization="Bearer mine")
        assert value_in(it.last, "authorization") == "Bearer mine"
        assert it.vault.opened == []


async def test_what_is_posted_streams_through_as_it_is() -> None:
    async with brokered() as it:
        body = f"the placeholder is {it.placeholder}"
        await it.ask("/", "POST", body, Authorization=it.placeholder)
        assert value_in(it.last, "authorization") == VALUE


# --- and nowhere else --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "method", "headers", "reason"),
    [
        ("/", "GET", {"X_Other": "{}"}, "credential_not_bound_here"),
        ("/?key={}", "GET", {}, "credential_not_bound_here"),
        ("/{}/a", "GET", {}, "credential_not_bound_here"),
        ("/", "DELETE", {"Authorization": "Bearer {}"}, "credential_not_bound_here"),
        ("/", "TRACE", {"Authorization": "Bearer {}"}, "credential_not_bound_here"),
        ("/", "GET", {"Authorization": "Bearer {}", "X_Other": "{}"}, "credential_not_bound_here"),
        ("/", "GET", {"Cookie": "a={}"}, "credential_not_bound_here"),
    ],
)
async def test_a_placeholder_where_it_is_not_bound_is_refused(
    path: str, method: str, headers: dict[str, str], reason: str
) -> None:
    async with brokered() as it:
        it.bind({"methods": ["GET", "POST"]})
        given = {name: value.format(it.placeholder) for name, value in headers.items()}
        assert reason_of(await it.ask(path.format(it.placeholder), method, **given)) == reason
        assert (it.host.requests, it.vault.opened) == ([], [])
        assert it.world.reasons == [reason]


PREFIX = "/repos/acme"


@pytest.mark.parametrize(
    "path",
    [
        "/", "/repos", "/repos/acme-evil", "/repos/acme/../evil", "/repos/acme/..", "/repos/acme/./x", "/repos/acme//x",
        "/repos//acme", "//repos/acme", "/repos/acme/%2e%2e/evil", "/repos/acme/%2E./evil", "/repos/acme/..%2fevil",
        "/repos/acme/x%2Fy", "/repos/acme/%5c..%5cevil", "/repos/acme/..;/evil", "/repos/acme/x;y", "/Repos/Acme/x",
        "/repos/%61cme/x", "/repos/acme/%252e%252e/evil", "/repos/acme/%c0%ae%c0%ae/evil", "/repos/acme/%00",
        "/repos/acme/\\..\\evil", "/repos/acme/%ef%bc%8e%ef%bc%8e/evil", "/repos/acme/%zz", "/repos/acme%2f..%2fevil",
        "/repos/acme/..?x=/repos/acme/",
    ],
)  # fmt: skip
async def test_no_way_to_write_a_path_leads_out_of_what_is_bound(path: str) -> None:
    async with brokered() as it:
        it.bind({"path": PREFIX})
        answer = await it.ask(path, Authorization=f"Bearer {it.placeholder}")
        assert reason_of(answer) == "credential_path_refused"
        assert (it.host.requests, it.vault.opened) == ([], [])


@pytest.mark.parametrize(
    "path",
    ["/repos/acme", "/repos/acme/", "/repos/acme/x.y/..z", "/repos/acme?a=../b", "/repos/acme/%C3%BC/%20a"],
)
async def test_what_is_below_the_bound_path_gets_the_value(path: str) -> None:
    async with brokered() as it:
        it.bind({"path": PREFIX})
        await it.ask(path, Authorization=f"Bearer {it.placeholder}")
        assert VALUE.encode() in it.last
    assert is_below(path.partition("?")[0].encode(), PREFIX)


async def test_another_host_gets_the_worthless_text_and_plain_http_nothing() -> None:
    async with brokered() as it:
        async with origin(it.world.public_authority.context_for("evil.test")) as evil:
            talk = await it.world.tunnel(f"evil.test:{evil.port}")
            inside = await talk.shake_hands("evil.test", it.world.public_authority.pem)
            await inside.say(f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {it.placeholder}\r\n\r\n")
            await inside.rest()
            assert it.placeholder.encode() in evil.requests[0]
        async with origin() as plain:
            for name in ("evil.test", "api.test"):
                answer = await it.world.get(f"http://{name}:{plain.port}/", Authorization=it.placeholder)
                assert reason_of(answer) == "credential_needs_tls"
            assert plain.requests == []
        assert it.vault.opened == []


async def test_a_redirect_elsewhere_does_not_carry_it() -> None:
    async with brokered(extra=b"Location: https://evil.test/\r\n") as it:
        answer = await it.ask(Authorization=f"Bearer {it.placeholder}")
        assert b"Location: https://evil.test/" in answer.replace(b"location", b"Location")
        assert VALUE.encode() not in answer
        # The tool follows it: to a host that is looked into for its methods, and to one that is not.
        it.world.allow("api.test", {"host": "evil.test", "port": it.host.port, "methods": ["GET"]})
        it.forget()
        talk = await it.open("evil.test")
        await talk.say(
            f"GET / HTTP/1.1\r\nHost: evil.test:{it.host.port}\r\nAuthorization: Bearer {it.placeholder}\r\n\r\n"
        )
        assert reason_of(await talk.rest()) == "credential_not_bound_here"
        assert len(it.host.requests) == 1


async def test_a_host_with_another_certificate_gets_nothing() -> None:
    async with brokered() as it:
        strange = it.world.public_authority.context_for("evil.test")
        async with origin(strange) as impostor:
            it.host.port = impostor.port
            it.bind({})
            answer = await it.ask(Authorization=f"Bearer {it.placeholder}")
            assert reason_of(answer) == "host_broke_off"
            assert (impostor.requests, it.vault.opened) == ([], [])


async def test_another_tasks_placeholder_is_a_worthless_text() -> None:
    async with brokered() as it:
        strange = make_placeholder()
        await it.ask(Authorization=f"Bearer {strange}")
        assert value_in(it.last, "authorization") == f"Bearer {strange}"
        assert it.vault.opened == []


async def test_after_the_task_its_placeholder_opens_nothing() -> None:
    async with brokered() as it:
        assert it.world.policy is not None
        it.world.policy = dataclasses.replace(it.world.policy, task_id=None)
        it.world.allow({"host": "api.test", "port": it.host.port, "methods": ["GET"]})
        await it.ask(Authorization=f"Bearer {it.placeholder}")
        assert value_in(it.last, "authorization") == f"Bearer {it.placeholder}"
        assert it.vault.opened == []


@pytest.mark.parametrize(
    "lines",
    [
        "Authorization : Bearer {}",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer {}",
        "Host: evil.test\r\nAuthorization: Bearer {}",
        "Author\0ization: Bearer {}",
    ],
)
async def test_no_way_to_smuggle_a_header_gets_it_anywhere(lines: str) -> None:
    async with brokered() as it:
        talk = await it.open()
        await talk.say(
            f"GET / HTTP/1.1\r\nHost: api.test:{it.host.port}\r\n{lines.format(it.placeholder)}\r\n\r\n"
        )
        assert status_of(await talk.rest()) in (400, 403)
        assert (it.host.requests, it.vault.opened) == ([], [])


async def test_a_folded_header_is_one_header() -> None:
    async with brokered() as it:
        await it.ask(Authorization=f"Bearer {it.placeholder}\r\n X-Smuggled: 1")
        assert value_in(it.last, "authorization") == f"Bearer {VALUE} X-Smuggled: 1"
        assert b"\nX-Smuggled" not in it.last


async def test_no_header_makes_another_method_or_path_of_a_request() -> None:
    async with brokered() as it:
        it.bind({"path": PREFIX, "methods": ["GET"]})
        given = dict.fromkeys(("X_HTTP_Method_Override", "X_HTTP_Method", "X_Method_Override"), "DELETE")
        given |= dict.fromkeys(("X_Original_URL", "X_Rewrite_URL"), "/user/keys")
        await it.ask("/repos/acme/x", Authorization=f"Bearer {it.placeholder}", **given)
        assert VALUE.encode() in it.last
        assert not any(text in it.last for text in (b"DELETE", b"/user/keys"))


async def test_a_header_that_is_named_away_takes_nothing_with_it() -> None:
    async with brokered() as it:
        await it.ask(Authorization=f"Bearer {it.placeholder}", Connection="authorization")
        assert b"authorization" not in it.last.lower()
        it.bind({"always": True})
        await it.ask(Connection="authorization")
        assert value_in(it.last, "authorization") == f"Bearer {VALUE}"


async def test_pipelined_requests_are_each_looked_at() -> None:
    async with brokered() as it:
        it.bind({"path": PREFIX})
        talk = await it.open()
        bearer = f"Bearer {it.placeholder}"
        await talk.say(
            it.request("/repos/acme/1", Authorization=bearer)
            + it.request("/other")
            + it.request("/repos/acme/2", Authorization=bearer)
            + it.request("/other", Authorization=bearer)
        )
        answer = await talk.rest()
        assert answer.count(b"HTTP/1.1 200") == 3
        assert b"credential_path_refused" in answer
        assert [VALUE.encode() in request for request in it.host.requests] == [True, False, True]


# --- what comes back ---------------------------------------------------------------------------------


def echoing(write: Callable[[str], bytes], size: int) -> Callable[[bytes], list[bytes]]:
    """Return a host's way to repeat the value that it got, in some writing, in pieces of some size."""

    def answer(head: bytes) -> list[bytes]:
        text = b"<" + write(value_in(head, "authorization").removeprefix("Bearer ")) + b">" + OTHER.encode()
        return [text[place : place + size] for place in range(0, len(text), size)]

    return answer


WRITINGS: dict[str, Callable[[str], bytes]] = {
    "plain": lambda value: value.encode(),
    "twice": lambda value: (value + value).encode(),
    "url": lambda value: quote(value, safe="").encode(),
    "small url": lambda value: (
        quote(value, safe="").replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d").encode()
    ),
    "part of a url": lambda value: quote(value, safe="/=").encode(),
    "json": lambda value: value.replace("/", "\\/").encode(),
    "hex": lambda value: value.encode().hex().encode(),
    "base64": lambda value: base64.b64encode(value.encode()),
    "base64 after one": lambda value: base64.b64encode(f"u{value}".encode()),
    "base64 after two": lambda value: base64.b64encode(f"u:{value}, and more".encode()),
    "base64 for urls": lambda value: base64.urlsafe_b64encode(f"user:{value}".encode()),
}


@pytest.mark.parametrize("writing", WRITINGS)
@pytest.mark.parametrize("size", [1, 7, 1_000])
async def test_an_echo_is_blotted_out_wherever_the_pieces_end(writing: str, size: int) -> None:
    write = WRITINGS[writing]
    async with brokered(pieces=echoing(write, size)) as it:
        answer = await it.ask(Authorization=f"Bearer {it.placeholder}")
        body = _unchunked(answer)
        assert body.endswith(b">" + OTHER.encode())
        shown = body[1 : body.index(b">")]
        assert len(shown) == len(write(VALUE))
        assert b"*" * 10 in shown
        assert write(VALUE)[4:-4] not in body
        assert VALUE.encode() not in body


def _unchunked(answer: bytes) -> bytes:
    assert b"transfer-encoding: chunked" in answer.partition(b"\r\n\r\n")[0].lower()
    rest, body = answer.partition(b"\r\n\r\n")[2], b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


async def test_an_echo_in_headers_the_reason_and_a_body_with_a_length_is_blotted_out() -> None:
    extra = f"X-Echo: you sent {VALUE}\r\nLocation: /?key={quote(VALUE)}\r\n".encode()
    async with brokered(extra=extra, body=f"<{VALUE}>".encode()) as it:
        answer = await it.ask(Authorization=f"Bearer {it.placeholder}")
        assert VALUE.encode() not in answer
        assert quote(VALUE, safe="/").encode() not in answer
        assert answer.endswith(b"<" + b"*" * len(VALUE) + b">")


async def test_a_later_answer_of_the_host_is_looked_through_too() -> None:
    async with brokered(body=f"it was {VALUE}".encode()) as it:
        await it.ask(Authorization=f"Bearer {it.placeholder}")
        answer = await it.ask("/what-did-i-send", Accept_Encoding="gzip")
        assert VALUE.encode() not in answer
        assert value_in(it.last, "accept-encoding") == "identity"


async def test_an_answer_that_cannot_be_looked_through_is_not_passed_on() -> None:
    async with brokered(extra=b"Content-Encoding: gzip\r\n", body=gzip.compress(VALUE.encode())) as it:
        answer = await it.ask(Authorization=f"Bearer {it.placeholder}")
        assert (status_of(answer), reason_of(answer)) == (502, "credential_answer_encoded")


def test_a_header_whose_name_is_the_value_is_left_out() -> None:
    headers = [(b"x-sk-live-abc123-y", b"1"), (b"x-other", b"2")]
    assert Scrubber(["sk-live-ABC123"]).clean_headers(headers) == [(b"x-other", b"2")]


def test_what_only_looks_like_the_beginning_of_a_value_comes_through() -> None:
    scrubber = Scrubber([VALUE])
    text = (VALUE[:5] + OTHER + VALUE[:9]).encode()
    assert b"".join(scrubber.feed(text[n : n + 1]) for n in range(len(text))) + scrubber.end() == text
    assert scrubber.feed(b"data: hello\n\n") == b"data: hello\n\n"


def test_a_value_that_repeats_itself_is_blotted_out_at_every_split() -> None:
    value = "abababababab"
    text = f"..{value}ab..{value[:7]}..".encode()
    for size in range(1, len(text)):
        scrubber = Scrubber([value])
        shown = (
            b"".join(scrubber.feed(text[n : n + size]) for n in range(0, len(text), size)) + scrubber.end()
        )
        assert shown == b".." + b"*" * 14 + b"..abababa..", size


# --- whether, and what is written down ---------------------------------------------------------------


async def test_a_request_is_held_until_somebody_allows_it() -> None:
    async with brokered() as it:
        it.bind({}, approval="each_use")
        it.vault.standings = ["asked", "asked", "allowed"]
        assert status_of(await it.ask(Authorization=it.placeholder)) == 200
        assert len(it.vault.asked) == 3
        it.vault.standings = ["credential_denied"]
        assert reason_of(await it.ask(Authorization=it.placeholder)) == "credential_denied"
        assert len(it.host.requests) == 1


async def test_a_request_is_held_for_a_bounded_time_and_passes_when_it_comes_again() -> None:
    async with brokered(hold_s=0.05) as it:
        it.bind({}, approval="first_use")
        it.vault.standings = ["asked"] * 1_000
        assert reason_of(await it.ask(Authorization=it.placeholder)) == "credential_approval_pending"
        assert it.host.requests == []
        it.vault.standings = []
        assert status_of(await it.ask(Authorization=it.placeholder)) == 200


async def test_what_was_taken_away_is_refused_at_the_next_request() -> None:
    async with brokered() as it:
        it.vault.refusal = "credential_revoked"
        assert reason_of(await it.ask(Authorization=it.placeholder)) == "credential_revoked"
        assert (it.host.requests, it.world.reasons) == ([], ["credential_revoked"])


async def test_repeats_are_counted_and_written_down_together() -> None:
    async with brokered() as it:
        for _ in range(4):
            await it.ask("/same", Authorization=it.placeholder)
        await it.accesses.write_down()
        opened = [use.path for use in it.vault.opened]
        repeats = sum(access.count for access in it.vault.recorded)
        assert len(opened) + repeats == 4
        await it.accesses.write_down()
        assert sum(access.count for access in it.vault.recorded) == repeats


async def test_a_use_that_is_asked_about_is_opened_each_time() -> None:
    async with brokered() as it:
        it.bind({}, approval="each_use")
        for _ in range(3):
            await it.ask("/same", Authorization=it.placeholder)
        assert len(it.vault.opened) == 3


async def test_neither_refusals_nor_representations_show_a_value() -> None:
    async with brokered() as it:
        await it.ask(Authorization=it.placeholder)
        shown = repr((it.world.policy, it.vault.opened, it.world.recorded, it.world.proxy._desks))
        assert VALUE not in shown
        (use,) = it.vault.opened
        assert VALUE not in repr(it.vault.open(use))
    await until(lambda: True)
