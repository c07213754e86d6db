"""The egress proxy before a hostile agent: nothing is reached but what is allowed, and the owner sees the rest."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import ValidationError

from services.kit.environment import Environment, environment
from services.mcp_gateway.egress.desk import MAX_TOLD, Limits
from tests.gateway.egress import (
    PUBLIC,
    World,
    allow_everything,
    hello_bytes,
    origin,
    reason_of,
    status_of,
    until,
    world,
)
from tests.gateway.egress import proxied as proxied

# --- what is allowed ---------------------------------------------------------------------------------


async def test_an_allowed_host_is_reached_and_sees_nothing_of_the_proxy(proxied: World) -> None:
    proxied.allow("good.test")
    async with origin() as host:
        answer = await proxied.get(
            f"http://good.test:{host.port}/a?b=c",
            **{"Proxy-Authorization": "x", "Connection": "X-Hop", "X-Hop": "1"},
        )
    assert status_of(answer) == 200
    assert answer.endswith(host.body)
    assert b"x-origin: yes" in answer.lower()
    (request,) = host.requests
    assert request.startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert f"host: good.test:{host.port}".encode() in request.lower()
    assert not any(name in request.lower() for name in (b"proxy-", b"x-hop"))
    assert proxied.dialled == [(PUBLIC, host.port)]


async def test_several_requests_of_one_connection_are_each_looked_at(proxied: World) -> None:
    async with origin() as host:
        proxied.allow({"host": "good.test", "port": host.port, "methods": ["POST"]})
        talk = await proxied.connect()
        for _ in range(2):
            await talk.say(
                f"POST http://good.test:{host.port}/ HTTP/1.1\r\nHost: good.test:{host.port}\r\n"
                "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            )
            await talk.until(host.body)
        await talk.say("GET http://bad.test/ HTTP/1.1\r\nHost: bad.test\r\n\r\n")
        assert reason_of(await talk.rest()) == "host_not_allowed"
    assert len(host.requests) == 2
    assert all(b"3\r\nabc\r\n0\r\n\r\n" in request for request in host.requests)


async def test_a_tunnel_is_encrypted_from_end_to_end(proxied: World) -> None:
    proxied.allow("good.test")
    async with origin(proxied.public_authority.context_for("good.test")) as host:
        talk = await proxied.tunnel(f"good.test:{host.port}")
        # The certificate is the host's own: the proxy's authority signed nothing.
        inside = await talk.shake_hands("good.test", proxied.public_authority.pem)
        await inside.say("GET / HTTP/1.1\r\nHost: whatever\r\n\r\n")
        assert (await inside.rest()).endswith(host.body)
    assert proxied.recorded == []


async def test_what_passes_is_counted_for_the_workspace_and_written_down(proxied: World) -> None:
    proxied.allow("good.test")
    async with origin(body=b"x" * 10_000) as host:
        await proxied.get(f"http://good.test:{host.port}/")
    looking = asyncio.create_task(proxied.proxy.run())
    await asyncio.sleep(0)
    looking.cancel()
    await asyncio.wait({looking})
    ((org_id, workspace_id, sent, received),) = proxied.noted
    assert proxied.policy is not None
    assert (org_id, workspace_id) == (proxied.policy.org_id, proxied.policy.workspace_id)
    assert 0 < sent < 1_000
    assert received > 10_000
    assert proxied.proxy.take_counts() == {}


# --- what is not allowed -----------------------------------------------------------------------------


async def test_a_host_that_is_not_on_the_list_is_not_even_looked_up(proxied: World) -> None:
    proxied.allow("good.test")
    for answer in (
        await proxied.get("http://secret-in-a-name.bad.test/"),
        await proxied.ask("CONNECT bad.test:443 HTTP/1.1\r\nHost: bad.test:443\r\n\r\n"),
    ):
        assert status_of(answer) == 403
        assert b"Egress refused: host_not_allowed" in answer.partition(b"\r\n")[0]
        assert reason_of(answer) == "host_not_allowed"
    assert (proxied.asked, proxied.dialled) == ([], [])
    assert [(refusal.host, refusal.port, refusal.method) for (refusal,) in proxied.recorded] == [
        ("secret-in-a-name.bad.test", 80, "GET"),
        ("bad.test", 443, "CONNECT"),
    ]


async def test_nothing_is_reached_while_nobody_is_at_work(proxied: World) -> None:
    proxied.policy = None
    assert reason_of(await proxied.get("http://good.test/")) == "not_at_work"
    assert (proxied.asked, proxied.recorded) == ([], [])


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["172.16.0.1"],
        ["192.168.1.1"],
        ["100.64.0.1"],
        ["169.254.169.254"],
        ["168.63.129.16"],
        ["0.0.0.0"],
        ["224.0.0.1"],
        ["255.255.255.255"],
        ["::1"],
        ["::"],
        ["fe80::1"],
        ["fd00:ec2::254"],
        ["ff02::1"],
        ["::ffff:127.0.0.1"],
        ["::ffff:93.184.215.14"],
        ["64:ff9b::a9fe:a9fe"],
        ["2002:7f00:1::"],
        ["2001::7f00:1"],
        [PUBLIC, "10.0.0.1"],
    ],
)
async def test_a_name_with_an_address_that_is_not_public_is_not_dialled(
    proxied: World, addresses: list[str]
) -> None:
    proxied.allow("good.test")
    proxied.names["good.test"] = addresses
    assert reason_of(await proxied.get("http://good.test/")) == "address_not_public"
    assert proxied.dialled == []
    assert proxied.reasons == ["address_not_public"]


async def test_the_address_that_was_checked_is_the_one_that_is_dialled(proxied: World) -> None:
    proxied.allow("good.test")
    answers = iter([[PUBLIC], ["127.0.0.1"], ["169.254.169.254"]])

    class Rebinding(dict[str, list[str]]):
        def __getitem__(self, host: str) -> list[str]:
            return next(answers)

    proxied.names = Rebinding({"good.test": []})
    async with origin() as host:
        assert status_of(await proxied.get(f"http://good.test:{host.port}/")) == 200
        assert proxied.asked == ["good.test"]
        assert proxied.dialled == [(PUBLIC, host.port)]
        assert reason_of(await proxied.get(f"http://good.test:{host.port}/")) == "address_not_public"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "169.254.169.254", "10.0.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.1",
        "0", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]", "[fe80::1%25lo]", "127.0.0.1.",
        "user@127.0.0.1", "127.0.0.1\\@good.test",
    ],
)  # fmt: skip
async def test_no_way_to_write_an_address_leads_inside(proxied: World, host: str) -> None:
    allow_everything(proxied)
    for request in (
        f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n",
        f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    ):
        assert status_of(await proxied.ask(request)) in (400, 403)
    assert (proxied.asked, proxied.dialled) == ([], [])


async def test_a_redirect_inside_is_a_new_request_and_refused(proxied: World) -> None:
    proxied.allow("good.test")
    async with origin(extra=b"Location: http://169.254.169.254/latest/meta-data\r\n") as host:
        answer = await proxied.get(f"http://good.test:{host.port}/")
    assert b"169.254.169.254" in answer
    assert reason_of(await proxied.get("http://169.254.169.254/latest/meta-data")) == "address_not_public"
    assert len(proxied.dialled) == 1


async def test_a_method_that_is_not_on_the_list_is_refused(proxied: World) -> None:
    async with origin() as host:
        proxied.allow({"host": "good.test", "port": host.port, "methods": ["GET"]})
        assert status_of(await proxied.get(f"http://good.test:{host.port}/")) == 200
        answer = await proxied.get(f"http://good.test:{host.port}/", "DELETE")
        assert (status_of(answer), reason_of(answer)) == (403, "method_not_allowed")
        assert status_of(await proxied.get(f"http://good.test:{host.port}/", "HEAD")) == 403
    assert len(host.requests) == 1
    assert proxied.reasons == ["method_not_allowed", "method_not_allowed"]


# --- limits -------------------------------------------------------------------------------------


async def test_a_request_that_never_ends_is_given_up() -> None:
    async with world(limits=Limits(head_s=1.0), names={"good.test": [PUBLIC]}) as made:
        made.allow("good.test")
        talk = await made.connect()
        await talk.say("GET http://good.test/ HTTP/1.1\r\nX: ")
        assert await talk.rest() == b""
        async with origin() as host:
            tunnel = await made.tunnel(f"good.test:{host.port}")
            await tunnel.say(hello_bytes("good.test")[:20])
            await tunnel.rest()


async def test_a_sandbox_has_only_so_many_connections() -> None:
    async with world(limits=Limits(connections=2)) as made:
        held = [await made.connect() for _ in range(2)]
        await until(lambda: made.proxy.open_connections == 2)
        assert status_of(await made.get("http://good.test/")) == 429
        # As many again may wait to hear it; the next is closed without a word.
        waiting = [await made.connect() for _ in range(3)]
        assert await waiting[2].rest() == b""
        for talk in (*held, *waiting):
            talk.stream.close()
        await until(lambda: made.proxy.open_connections == 0)
        assert status_of(await made.get("http://good.test/")) == 403


async def test_a_task_has_only_so_many_bytes() -> None:
    async with world(limits=Limits(received_bytes=50_000), names={"good.test": [PUBLIC]}) as made:
        made.allow("good.test")
        async with origin(body=b"x" * 1_000_000) as host:
            answer = await made.get(f"http://good.test:{host.port}/")
            assert len(answer) < 500_000
            await until(lambda: made.reasons == ["too_many_bytes"])


# --- what the owner sees -------------------------------------------------------------------------------


async def test_a_refusal_is_told_at_once_and_its_repeats_when_the_work_is_over(proxied: World) -> None:
    for _ in range(5):
        await proxied.get("http://bad.test/")
    assert [refusal.count for (refusal,) in proxied.recorded] == [1]
    await proxied.look_after()
    assert len(proxied.recorded) == 1
    proxied.policy = None
    await proxied.look_after()
    assert [refusal.count for (refusal,) in proxied.recorded] == [1, 5]


async def test_a_flood_of_names_is_told_in_bounds() -> None:
    async with world() as made:
        for number in range(MAX_TOLD + 20):
            await made.get(f"http://h{number}.bad.test/")
    assert len(made.recorded) == MAX_TOLD + 2
    assert made.recorded[-1][0].host == "(other hosts)"
    assert made.recorded[-1][0].count == 20


async def test_what_is_allowed_passes_at_once_and_what_no_longer_is_ends(proxied: World) -> None:
    async with origin(proxied.public_authority.context_for("good.test")) as host:
        place = f"good.test:{host.port}"
        refused = await proxied.ask(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n")
        assert status_of(refused) == 403
        proxied.allow("good.test")
        talk = await (await proxied.tunnel(place)).shake_hands("good.test", proxied.public_authority.pem)
        await proxied.look_after()
        assert proxied.proxy.open_connections == 1
        proxied.allow()
        await proxied.look_after()
        assert await talk.rest() == b""
        await until(lambda: proxied.proxy.open_connections == 0)


def test_hosts_of_tests_are_refused_in_production() -> None:
    settings = environment().model_dump()
    with pytest.raises(ValidationError, match="for tests only"):
        Environment.model_validate({**settings, "env": "production", "egress_test_hosts": "a.test=127.0.0.1"})
    hosts = {"egress_test_hosts": "a.test=127.0.0.1, b.test=::1"}
    assert Environment.model_validate({**settings, **hosts}).egress_known_hosts() == {
        "a.test": "127.0.0.1",
        "b.test": "::1",
    }
