"""Channels: connections of their own, beside the link, on which bytes flow. The gateway asks, the runner dials.

What serves a channel is imported when the first of its kind is opened: an idle sandbox pays nothing for it.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from agent_image.runner import websocket
from agent_image.runner.processes import Kept
from agent_image.runner.wire import LinkClosed

MAX_CHANNELS = 64
_ID = re.compile(r"[0-9a-f-]{36}")


class Channels:
    """The open channels of this sandbox."""

    def __init__(self, socket_path: str, kept: Kept, on_end: Callable[[], Awaitable[None]]) -> None:
        self._socket_path = socket_path
        self._kept = kept
        self._on_end = on_end
        self._open: dict[str, asyncio.Task[None]] = {}

    def take(self, frame: dict[str, Any]) -> None:
        """Open a channel; one that is open, and one too many, is not. The gateway gives up waiting by itself."""
        channel, kind, params = frame.get("channel"), frame.get("kind"), frame.get("params")
        if not isinstance(channel, str) or not _ID.fullmatch(channel) or not isinstance(params, dict):
            return
        if channel in self._open or len(self._open) >= MAX_CHANNELS or kind not in ("files", "terminal"):
            return
        task = asyncio.get_running_loop().create_task(self._serve(channel, kind, params))
        self._open[channel] = task
        task.add_done_callback(lambda _: self._open.pop(channel, None))

    async def stop(self) -> None:
        """Close all of them."""
        tasks = set(self._open.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _serve(self, channel: str, kind: str, params: dict[str, Any]) -> None:
        try:
            socket = await websocket.connect(
                self._socket_path, f"/runner/channels/{channel}", takes_bytes=True
            )
            try:
                if kind == "files":
                    from agent_image.runner.file_channel import serve_files

                    await serve_files(socket, params)
                else:
                    from agent_image.runner.terminal import serve_terminal

                    await serve_terminal(socket, params, self._kept)
            finally:
                await socket.close()
        except LinkClosed:
            pass  # whoever asked has gone
        except Exception as exc:
            print(f"channel {kind}: {type(exc).__name__}: {exc}", file=sys.stderr, flush=True)
        finally:
            if kind == "terminal":
                await self._on_end()
