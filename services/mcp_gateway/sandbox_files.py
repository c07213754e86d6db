"""Files of a task's own sandbox, for a tool that its agent called: read, and put there."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from services.domain.errors import FileTooLarge, SandboxUnreachable
from services.domain.plane.file_refusals import refusal_of
from services.mcp_gateway.channels import Channels
from services.mcp_gateway.internal import next_chunk, read_answer, upload

if TYPE_CHECKING:  # which itself puts files into sandboxes
    from services.mcp_gateway.link import Link

WORKSPACE = "/workspace/"
WRITE_S = 120.0
_CHUNK_BYTES = 128 * 1024


class SandboxFiles:
    """The sandboxes of this host, once its gateway serves them. Paths are relative to the workspace, or begin there."""

    def __init__(self) -> None:
        self._channels: Channels | None = None
        self._find_link: Callable[[uuid.UUID], Link | None] = lambda sandbox_id: None

    def serve_from(self, channels: Channels, find_link: Callable[[uuid.UUID], Link | None]) -> None:
        """Use a host's links and channels from now on."""
        self._channels, self._find_link = channels, find_link

    def reaches(self, sandbox_id: uuid.UUID | None) -> bool:
        """Say whether a sandbox is linked here."""
        return sandbox_id is not None and self._find_link(sandbox_id) is not None

    async def read(self, sandbox_id: uuid.UUID | None, path: str, *, max_bytes: int) -> bytes:
        """Return a file of the workspace; the runner follows no link out of it.

        Raises: FileMissing, IsAFolder, PathInvalid, FileTooLarge, SandboxUnreachable, SandboxBusy.
        """
        async with self._opened(sandbox_id, path, op="read") as channel:
            answer = await read_answer(channel)
            if answer.get("op") == "error":
                raise refusal_of(answer)
            size = answer.get("size_bytes")
            if not isinstance(size, int) or size > max_bytes:
                raise FileTooLarge(f"The file has {size} bytes; at most {max_bytes} can be sent.")
            data = bytearray()
            try:
                while (chunk := await next_chunk(channel)) is not None:
                    data += chunk
                    if len(data) > max_bytes:
                        raise FileTooLarge(f"The file is larger than {max_bytes} bytes.")
            except (WebSocketDisconnect, RuntimeError) as error:
                raise SandboxUnreachable("The sandbox broke off.", retry_after_s=2) from error
            return bytes(data)

    async def write_new(self, sandbox_id: uuid.UUID | None, path: str, content: bytes) -> None:
        """Put a file into the workspace, with the folders above it, through no link; nobody sees it before it is whole.

        Raises: FileExists, NotAFolder, PathInvalid, FileDenied, VolumeFull, SandboxUnreachable, SandboxBusy.
        """
        async with self._opened(sandbox_id, path, op="write", is_new=True, max_bytes=len(content)) as channel:
            try:
                async with asyncio.timeout(WRITE_S):
                    answer = await upload(channel, _chunks(content))
            except TimeoutError as error:
                raise SandboxUnreachable("The sandbox takes too long.", retry_after_s=2) from error
            if answer.get("op") != "ok":
                raise refusal_of(answer)

    @contextlib.asynccontextmanager
    async def _opened(
        self, sandbox_id: uuid.UUID | None, path: str, **params: Any
    ) -> AsyncIterator[WebSocket]:
        link = self._find_link(sandbox_id) if sandbox_id is not None else None
        if link is None or self._channels is None:
            raise SandboxUnreachable("Your sandbox cannot be reached from here.", retry_after_s=2)
        params["path"] = path.removeprefix(WORKSPACE)
        async with self._channels.opened(link, "files", params) as channel:
            yield channel


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _CHUNK_BYTES):
        yield content[start : start + _CHUNK_BYTES]


FILES = SandboxFiles()
