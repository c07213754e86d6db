"""What a hostile agent writes to the egress proxy: tunnels and requests that are not what they say."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from services.mcp_gateway.egress.authority import FILE_NAME, open_authority
from services.mcp_gateway.egress.tls_hello import NotTls, parse_hello
from tests.gateway.egress import World, hello_bytes, origin, reason_of, status_of, with_extension
from tests.gateway.egress import proxied as proxied

ECH = 0xFE0D

# --- tunnels that are not what they say ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (hello_bytes("bad.test"), "tls_name_differs"),
        (hello_bytes("good.test.bad.test"), "tls_name_differs"),
        (hello_bytes(None), "tls_name_missing"),
        (with_extension(hello_bytes("good.test"), ECH), "tls_name_encrypted"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not_tls"),
        (b"GET / HTTP/1.1\r\nHost: bad.test\r\n\r\n", "not_tls"),
        (b"\x16\x03\x01\xff\xff" + b"x" * 100, "not_tls"),
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", "not_tls"),
    ],
)
async def test_a_tunnel_carries_tls_to_its_host_and_nothing_else(
    proxied: World, hello: bytes, reason: str
) -> None:
    proxied.allow("good.test")
    async with origin(proxied.public_authority.context_for("good.test")) as host:
        talk = await proxied.tunnel(f"good.test:{host.port}")
        await talk.say(hello)
        heard = await talk.rest()
        assert len(heard) < 16  # an alert at most
        assert host.requests == []
    assert proxied.reasons == [reason]


async def test_a_hello_may_come_in_pieces(proxied: World) -> None:
    proxied.allow("good.test")
    async with origin(proxied.public_authority.context_for("good.test")) as host:
        talk = await proxied.tunnel(f"good.test:{host.port}")
        hello = hello_bytes("good.test")
        for index in range(len(hello)):
            await talk.say(hello[index : index + 1])
        assert (await talk.until(b"\x16\x03\x03")).endswith(b"\x16\x03\x03")


def test_a_hello_that_is_cut_short_is_never_taken_for_one() -> None:
    hello = hello_bytes("good.test")
    for size in range(len(hello)):
        assert parse_hello(hello[:size]) is None
    found = parse_hello(hello)
    assert found is not None
    assert (found.server_name, found.is_encrypted) == ("good.test", False)
    for index in range(43, len(hello)):
        broken = hello[:index] + b"\xff" + hello[index + 1 :]
        try:
            parse_hello(broken)
        except NotTls:
            continue


# --- requests that two sides could read differently ---------------------------------------------------

TO = "POST http://good.test:{port}/ HTTP/1.1\r\nHost: good.test:{port}\r\n"


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (TO + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (TO + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        (TO + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
        (TO + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400),
        (TO + "Content-Length: +4\r\n\r\nabcd", 400),
        (TO + "Content-Length : 4\r\n\r\nabcd", 400),
        (TO + "X: a\x00b\r\n\r\n", 400),
        (TO + "Host: bad.test\r\n\r\n", 400),
        ("GET http://good.test:{port}/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://good.test:{port}/ HTTP/1.1\r\nHost: bad.test\r\n\r\n", 403),
        ("GET http://good.test:{port}/ HTTP/1.1\r\nHost: good.test\r\n\r\n", 403),
        ("GET http://good.test:{port}/ HTTP/1.1\r\nHost: good.test:{port} bad.test\r\n\r\n", 403),
        ("GET http://u:p@good.test:{port}/ HTTP/1.1\r\nHost: good.test\r\n\r\n", 403),
        ("GET https://good.test:{port}/ HTTP/1.1\r\nHost: good.test\r\n\r\n", 400),
        ("GET ftp://good.test:{port}/ HTTP/1.1\r\nHost: good.test\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: good.test:{port}\r\n\r\n", 400),
        ("GET http://good.test:99999/ HTTP/1.1\r\nHost: good.test\r\n\r\n", 400),
        ("CONNECT good.test HTTP/1.1\r\nHost: good.test\r\n\r\n", 400),
        ("CONNECT good.test:{port} HTTP/1.1\r\nHost: bad.test:{port}\r\n\r\n", 403),
        ("CONNECT http://good.test:{port}/ HTTP/1.1\r\nHost: good.test\r\n\r\n", 400),
        ("GET http://good.test:{port}/ HTTP/1.1\r\nHost: good.test\r\nX: " + "x" * 70_000 + "\r\n\r\n", 400),
        ("\x00\x01\x02\r\n\r\n", 400),
    ],
)
async def test_an_ambiguous_request_is_refused_and_nothing_of_it_passed_on(
    proxied: World, request_text: str, status: int
) -> None:
    proxied.allow("good.test")
    async with origin() as host:
        answer = await proxied.ask(request_text.replace("{port}", str(host.port)))
        assert status_of(answer) in (status, 400)
        assert host.requests == []
    assert proxied.dialled == []


async def test_a_header_cannot_name_the_framing_away(proxied: World) -> None:
    proxied.allow("good.test")
    async with origin() as host:
        answer = await proxied.ask(
            f"POST http://good.test:{host.port}/ HTTP/1.1\r\nHost: good.test:{host.port}\r\n"
            "Connection: close, Content-Length, Host\r\nContent-Length: 3\r\n\r\n"
            "abcGET http://bad.test/ HTTP/1.1\r\n\r\n"
        )
        assert status_of(answer) == 200
        assert answer.count(b"HTTP/1.1 ") == 1
    (request,) = host.requests
    assert b"content-length: 3" in request.lower()
    assert f"host: good.test:{host.port}".encode() in request.lower()


# --- TLS that is ended at the proxy --------------------------------------------------------------------


async def test_for_an_entry_with_methods_each_request_inside_tls_is_looked_at(proxied: World) -> None:
    async with origin(proxied.public_authority.context_for("good.test")) as host:
        place = f"good.test:{host.port}"
        proxied.allow({"host": "good.test", "port": host.port, "methods": ["GET"]})
        mine = await proxied.proxy.authority.open()
        inside = await (await proxied.tunnel(place)).shake_hands("good.test", mine.pem)
        for _ in range(2):
            await inside.say(f"GET /a HTTP/1.1\r\nHost: {place}\r\n\r\n")
            await inside.until(host.body)
        await inside.say(f"POST /a HTTP/1.1\r\nHost: {place}\r\nContent-Length: 0\r\n\r\n")
        assert reason_of(await inside.rest()) == "method_not_allowed"
        assert [request.split(b" ")[0] for request in host.requests] == [b"GET", b"GET"]
        other = await (await proxied.tunnel(place)).shake_hands("good.test", mine.pem)
        await other.say("GET /a HTTP/1.1\r\nHost: bad.test\r\n\r\n")
        assert reason_of(await other.rest()) == "host_header_differs"
    assert [(refusal.method, refusal.reason) for (refusal,) in proxied.recorded] == [
        ("POST", "method_not_allowed"),
        ("GET", "host_header_differs"),
    ]
    assert len(host.requests) == 2


async def test_a_host_whose_certificate_is_wrong_is_not_spoken_to(proxied: World) -> None:
    async with origin(proxied.public_authority.context_for("another.test")) as host:
        proxied.allow({"host": "good.test", "port": host.port, "methods": ["GET"]})
        mine = await proxied.proxy.authority.open()
        inside = await (await proxied.tunnel(f"good.test:{host.port}")).shake_hands("good.test", mine.pem)
        await inside.say(f"GET / HTTP/1.1\r\nHost: good.test:{host.port}\r\n\r\n")
        answer = await inside.rest()
    assert (status_of(answer), reason_of(answer)) == (502, "host_broke_off")
    assert host.requests == []


def test_the_authority_is_made_once_and_its_key_is_closed_to_others(tmp_path: Path) -> None:
    first, second = (open_authority(tmp_path, "one") for _ in range(2))
    assert first.pem == second.pem
    assert "PRIVATE" not in first.pem
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert ssl.create_default_context(cadata=first.pem).cert_store_stats()["x509_ca"] >= 1
