"""A model server that does nothing but stream: a raw socket, prepared bytes, so that it costs the least that it can.

Run by the benchmark in a process of its own: `python -m benchmarks.model_server <port>`. The path of a call says how it
streams: `x-events` pieces, `x-pause-ms` between two of them.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import uvloop

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
    b"connection: keep-alive\r\n\r\n"
)


def _event(kind: str, **fields: object) -> bytes:
    text = f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(text), text)


_START = _event("message_start", message={"id": "m", "usage": {"input_tokens": 10, "output_tokens": 1}})
_DELTA = _event("content_block_delta", index=0, delta={"type": "text_delta", "text": " a word or two"})
_END = _event("message_delta", delta={}, usage={"output_tokens": 100}) + _event("message_stop") + b"0\r\n\r\n"


class ModelServer(asyncio.Protocol):
    """One connection: reads a call, streams the answer, waits for the next."""

    def __init__(self) -> None:
        self._data = b""
        self._transport: asyncio.Transport | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._may_write = asyncio.Event()
        self._may_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not by isinstance: the loop's transports are asyncio's by their methods alone.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._may_write.set()
        for task in self._tasks:
            task.cancel()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, rest = self._data.partition(b"\r\n\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        length = int(headers.get(b"content-length", b"0"))
        if not found or len(rest) < length:
            return
        self._data = rest[length:]
        # The call's own words say how it is answered: only what the proxy passes on can arrive here.
        call = json.loads(rest[:length])
        events, pause_s = (int(part) for part in call["metadata"]["user_id"].split("/"))
        task = asyncio.create_task(self._stream(events, pause_s / 1_000))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stream(self, events: int, pause_s: float) -> None:
        transport = self._transport
        if transport is None:
            return
        transport.write(_HEAD + _START)
        for _ in range(events):
            if pause_s:
                await asyncio.sleep(pause_s)
            await self._may_write.wait()
            transport.write(_DELTA)
        transport.write(_END)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(ModelServer, "127.0.0.1", port)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
