"""One file operation on one channel: answers in text frames, contents in binary ones.

Shape: the answer `{"op": "ok", …}` or `{"op": "error", "code", "message"}`; `read` and `archive` then send the bytes
and `{"op": "end"}`. `write` answers `{"op": "ready"}`, takes bytes up to `{"op": "end"}`, and then says how it went.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from agent_image.runner import text
from agent_image.runner.files import FileRefused, Tree, etag_of, moment_of, parse_path, refusals
from agent_image.runner.websocket import WebSocket
from agent_image.runner.workspace import workspace_folder

CHUNK_BYTES = 128 * 1024
THREADS = 4
T = TypeVar("T")


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="files")


async def _blocking(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run a call in a thread, to its end even when cancelled: what it uses must not be closed under it.

    Raises: FileRefused, also when the sandbox has no room for a thread.
    """

    def run() -> T:
        with refusals():
            return call(*args, **kwargs)

    try:
        running = asyncio.get_running_loop().run_in_executor(_threads(), run)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait({running})
            running.exception()
            raise
    except (RuntimeError, MemoryError) as exc:
        raise FileRefused("sandbox_busy", "The sandbox has no room for this now.") from exc


async def serve_files(socket: WebSocket, params: dict[str, Any]) -> None:
    """Do what the channel was opened for. Raises: LinkClosed."""
    tree = Tree(workspace_folder())
    try:
        match params.get("op"):
            case "write":
                await _write(socket, tree, params)
            case "read":
                await _sending(socket, _read(socket, tree, params))
            case "archive":
                await _sending(socket, _archive(socket, tree, params))
            case op:
                await _say(socket, "ok", **await _blocking(_do, tree, op, params))
    except FileRefused as exc:
        await _say(socket, "error", code=exc.code, message=str(exc))


def _do(tree: Tree, op: object, params: dict[str, Any]) -> dict[str, Any]:
    parts = parse_path(params.get("path"))
    match op:
        case "list":
            return tree.list_folder(parts)
        case "stat":
            return {"entry": tree.describe(parts)}
        case "mkdir":
            return {"entry": tree.make_folder(parts)}
        case "move":
            return {"entry": tree.move(parts, parse_path(params.get("to")))}
        case "delete":
            tree.delete(parts)
            return {}
    raise FileRefused("path_invalid", "There is no such operation.")


async def _sending(socket: WebSocket, chunks: AsyncGenerator[bytes, None]) -> None:
    """Send all bytes; stop when the other side goes. It is read meanwhile: keep-alives must be answered."""
    listening = asyncio.create_task(socket.receive_any())
    sending = asyncio.create_task(_send_all(socket, chunks))
    try:
        await asyncio.wait({listening, sending}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
    finally:
        both: set[asyncio.Task[Any]] = {listening, sending}
        for task in both:
            task.cancel()
        await asyncio.wait(both)
        if not listening.cancelled():
            listening.exception()


async def _send_all(socket: WebSocket, chunks: AsyncGenerator[bytes, None]) -> None:
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            await socket.send_bytes(chunk)
    await _say(socket, "end")


async def _read(socket: WebSocket, tree: Tree, params: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    handle, found = await _blocking(tree.open_file, parse_path(params.get("path")))
    try:
        start, left = _range_of(params, found.st_size)
        await _say(
            socket,
            "ok",
            size_bytes=found.st_size,
            start=start,
            length=left,
            etag=etag_of(found),
            modified_at=moment_of(found.st_mtime),
        )
        while left > 0:
            chunk = await _blocking(os.pread, handle, min(left, CHUNK_BYTES), start)
            if not chunk:
                # It has shrunk meanwhile, and what was promised cannot be sent.
                raise FileRefused("file_changed", "The file became shorter while it was read.")
            yield chunk
            start, left = start + len(chunk), left - len(chunk)
    finally:
        os.close(handle)


def _range_of(params: dict[str, Any], size: int) -> tuple[int, int]:
    """Return where to begin and how many bytes to send. `suffix` counts from the end."""
    suffix, start, end = params.get("suffix"), params.get("start"), params.get("end")
    if isinstance(suffix, int):
        start, end = max(0, size - suffix), None
    first = start if isinstance(start, int) and start >= 0 else 0
    last = min(end, size - 1) if isinstance(end, int) else size - 1
    if first > 0 and first >= size:
        raise FileRefused("range_invalid", "The file has no such bytes.")
    return first, max(0, last - first + 1)


async def _archive(socket: WebSocket, tree: Tree, params: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    from agent_image.runner.archive import pack

    parts = parse_path(params.get("path"))
    entry = await _blocking(tree.describe, parts)
    await _say(socket, "ok", entry=entry)
    packed = pack(tree, parts)
    try:
        while chunk := await _blocking(next, packed, b""):
            yield chunk
    finally:
        await _blocking(packed.close)


async def _write(socket: WebSocket, tree: Tree, params: dict[str, Any]) -> None:
    limit = params.get("max_bytes")
    upload = await _blocking(
        tree.begin_upload, parse_path(params.get("path")), is_new=params.get("is_new") is True
    )
    try:
        await _say(socket, "ready")
        size = 0
        while isinstance(message := await socket.receive_any(), bytes):
            size += len(message)
            if isinstance(limit, int) and size > limit:
                raise FileRefused("file_too_large", f"The file is larger than {limit} bytes.")
            await _blocking(upload.write, message)
        if json.loads(message) != {"op": "end"}:
            return
        entry = await _blocking(upload.finish)
    finally:
        await _blocking(upload.close)
    await _say(socket, "ok", entry=entry)


async def _say(socket: WebSocket, op: str, **fields: Any) -> None:
    await socket.send_text(text.encode({"op": op, **fields}))
