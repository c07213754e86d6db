"""No gap and no repeat, whatever breaks: the connection, Redis, a publish, the database's connections."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time

import psycopg
import pytest
from websockets.exceptions import ConnectionClosed

from services.kit import redisbus
from services.kit.environment import environment
from services.kit.redisbus import stream_key
from tests.realtime.conftest import Stream, eventually


def _publish_nothing(envelopes) -> None:
    """Stand in for a publish that is lost."""


def test_a_client_that_is_cut_again_and_again_misses_and_repeats_nothing(service, acme, stream):
    dice = random.Random(7)
    total, seen, cursor, cuts = 500, [], 0, 0

    def burst() -> None:
        while stream.head < total:
            stream.add(min(dice.randint(1, 9), total - stream.head))

    writer = threading.Thread(target=burst)
    writer.start()
    while cursor < total:
        with service.client(acme.token) as client:
            client.subscribe(stream.name, cursor)
            for _ in range(dice.randint(1, 40)):
                if cursor == total:
                    break
                frame = client.receive()
                cursor = frame["seq"]
                seen.append(cursor)
            client.connection.socket.shutdown(socket.SHUT_RDWR)
            cuts += 1
    writer.join()
    assert cuts > 10
    assert seen == list(range(1, total + 1))


def test_clients_that_join_in_the_middle_of_a_burst_get_every_event_once(service, acme, stream):
    total = 600
    writer = threading.Thread(target=lambda: [stream.add(3) for _ in range(total // 3)])
    writer.start()
    with contextlib.ExitStack() as stack:
        clients = []
        while writer.is_alive() and len(clients) < 30:
            client = stack.enter_context(service.client(acme.token))
            client.subscribe(stream.name, 0)
            clients.append(client)
        writer.join()
        assert len(clients) > 3
        for client in clients:
            assert client.numbers(total, 20) == list(range(1, total + 1))


def test_a_lost_publish_is_found_by_the_sweep(service, acme, stream, monkeypatch):
    with service.client(acme.token) as client:
        client.subscribe(stream.name)
        monkeypatch.setattr("services.domain.events.log.publish_envelopes", _publish_nothing)
        stream.add(3)
        assert client.numbers(3) == [1, 2, 3]
        assert service.node.counts.fills["sweep"] == 1


def test_a_publish_lost_before_one_that_arrives_is_filled_at_once(service, acme, stream, monkeypatch):
    with service.client(acme.token) as client:
        client.subscribe(stream.name)
        with monkeypatch.context() as lost:
            lost.setattr("services.domain.events.log.publish_envelopes", _publish_nothing)
            stream.add(4)
        stream.add(1)
        assert client.numbers(5) == [1, 2, 3, 4, 5]


def test_publishes_out_of_order_repeated_and_malformed_do_no_harm(service, acme, stream, monkeypatch):
    kept: list[dict] = []
    with service.client(acme.token) as client:
        client.subscribe(stream.name)
        with monkeypatch.context() as held:
            held.setattr("services.domain.events.log.publish_envelopes", lambda some: kept.extend(some))
            stream.add(20)
        random.Random(3).shuffle(kept)
        for rubbish in (b"{", b"[]", b"\xff", b'{"seq": "1"}', b'{"seq": null}', b'{"after": 1}', b"null"):
            redisbus.client().xadd(stream_key(stream.name), {"e": rubbish})
        redisbus.client().xadd(stream_key(stream.name), {"other": "field"})
        redisbus.publish_envelopes([*kept, *kept])
        assert client.numbers(20) == list(range(1, 21))
        stream.add(1)
        assert client.numbers(21) == [21]


def test_an_entry_that_claims_a_number_that_does_not_exist_changes_nothing(service, acme, stream):
    with service.client(acme.token) as client:
        client.subscribe(stream.name)
        redisbus.publish_envelopes([{"stream": stream.name, "seq": 10**12, "type": "x"}])
        stream.say("never", after=10**12, part=1)
        stream.add(2)
        assert client.numbers(2) == [1, 2]


def test_redis_flushed_in_the_middle_loses_nothing(service, acme, stream):
    with service.client(acme.token) as client:
        client.subscribe(stream.name)
        for _ in range(30):
            stream.add(5)
            redisbus.client().flushdb()
        assert client.numbers(150) == list(range(1, 151))
        stream.add(1)
        assert client.numbers(151) == [151]


def test_the_readers_connection_killed_loses_nothing_and_comes_back(service, acme, stream):
    name = service.node.live_log.client_name
    with service.client(acme.token) as client:
        client.subscribe(stream.name)
        for _ in range(5):
            for each in redisbus.client().client_list():
                if each["name"].startswith(name):
                    redisbus.client().client_kill_filter(_id=each["id"])
            stream.add(10)
        assert client.numbers(50) == list(range(1, 51))
        eventually(lambda: service.node.hub.is_redis_up)
        assert service.node.counts.redis_failures > 0


def test_broken_database_connections_are_replaced_unnoticed(service, acme, stream):
    with service.client(acme.token) as client:
        client.subscribe(stream.name)
        stream.add(1)
        client.numbers(1)
        with psycopg.connect(environment().admin_database_url.get_secret_value(), autocommit=True) as admin:
            app = psycopg.conninfo.conninfo_to_dict(environment().database_url.get_secret_value())
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = %s",
                [app["dbname"], app["user"]],
            )
        other = eventually(lambda: _new_stream(acme))
        other.add(3)
        client.subscribe(other.name)
        assert client.numbers(3) == [1, 2, 3]


def _new_stream(tenant) -> Stream | None:
    from django.db import OperationalError, connection

    try:
        return Stream(tenant)
    except OperationalError:
        connection.close()
        return None


def test_redis_killed_delays_events_and_breaks_no_connection(own_redis, start, acme, stream):
    service = start()
    with service.client(acme.token) as client:
        client.subscribe(stream.name)
        stream.add(1)
        assert client.numbers(1) == [1]
        own_redis.kill()
        stream.add(3)
        assert client.numbers(4) == [2, 3, 4]
        with service.client(acme.token) as newcomer:
            newcomer.subscribe(stream.name, 2)
            assert newcomer.numbers(4) == [3, 4]
            stream.add(1)
            assert newcomer.numbers(5) == [5]
        own_redis.start()
        eventually(lambda: service.node.hub.is_redis_up)
        stream.add(1)
        assert client.numbers(6) == [5, 6]
        stream.say("live again", after=6, part=1)
        assert client.receive()["data"] == {"text": "live again"}


def test_a_restarted_service_goes_on_from_the_clients_cursor(start, acme, stream):
    first = start()
    with first.client(acme.token) as client:
        client.subscribe(stream.name)
        stream.add(3)
        client.numbers(3)
        first.stop()
        with pytest.raises(ConnectionClosed) as closed:
            client.receive()
        assert closed.value.rcvd.code == 1012
    stream.add(2)
    with start().client(acme.token) as client:
        client.subscribe(stream.name, 3)
        assert client.numbers(5) == [4, 5]


def test_events_arrive_at_once_while_redis_is_up(service, acme, stream):
    with service.client(acme.token) as client:
        client.subscribe(stream.name)
        stream.add(1)
        client.numbers(1)
        took = []
        for _ in range(20):
            started = time.perf_counter()
            stream.add(1)
            client.numbers(stream.head)
            took.append(time.perf_counter() - started)
        assert sorted(took)[10] < 0.5
        assert service.node.counts.fills["gap"] == 0


def test_a_defect_in_a_replay_closes_the_connection_instead_of_leaving_it_silent(
    service, acme, stream, monkeypatch
):
    async def broken(*arguments: object) -> None:
        raise ValueError("a defect")

    stream.add(1)
    with service.client(acme.token) as client:
        with monkeypatch.context() as defect:
            defect.setattr(service.node.rows, "page", broken)
            client.send(op="subscribe", stream=stream.name, after=0)
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    client.receive()
        assert closed.value.rcvd.code == 4008


def test_a_defect_in_the_sweep_does_not_end_it(service, acme, stream, monkeypatch):
    fails = iter([ValueError("a defect")])
    sound = service.node.rows.all_tenants_heads

    async def sometimes(streams):
        for error in fails:
            raise error
        return await sound(streams)

    with service.client(acme.token) as client:
        client.subscribe(stream.name)
        monkeypatch.setattr(service.node.rows, "all_tenants_heads", sometimes)
        monkeypatch.setattr("services.domain.events.log.publish_envelopes", _publish_nothing)
        stream.add(2)
        assert client.numbers(2) == [1, 2]
