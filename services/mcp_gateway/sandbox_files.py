"""Reading a file out of a task's own sandbox, for a tool that its agent called."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from starlette.websockets import WebSocketDisconnect

from services.domain.errors import FileMissing, FileTooLarge, PathInvalid, SandboxUnreachable
from services.mcp_gateway.channels import Channels
from services.mcp_gateway.internal import next_chunk, read_answer
from services.mcp_gateway.link import Link

_REFUSALS = {"path_invalid": PathInvalid, "file_missing": FileMissing}


class SandboxFiles:
    """The sandboxes of this host, once its gateway serves them."""

    def __init__(self) -> None:
        self._channels: Channels | None = None
        self._find_link: Callable[[uuid.UUID], Link | None] = lambda sandbox_id: None

    def serve_from(self, channels: Channels, find_link: Callable[[uuid.UUID], Link | None]) -> None:
        """Use a host's links and channels from now on."""
        self._channels, self._find_link = channels, find_link

    async def read(self, sandbox_id: uuid.UUID | None, path: str, *, max_bytes: int) -> bytes:
        """Return a file of the workspace; the runner follows no link out of it.

        Raises: FileMissing, PathInvalid, FileTooLarge, SandboxUnreachable, SandboxBusy.
        """
        link = self._find_link(sandbox_id) if sandbox_id is not None else None
        if link is None or self._channels is None:
            raise SandboxUnreachable("Your sandbox cannot be read from here.", retry_after_s=2)
        async with self._channels.opened(link, "files", {"op": "read", "path": path}) as channel:
            answer = await read_answer(channel)
            if answer.get("op") == "error":
                refusal = _REFUSALS.get(str(answer.get("code")), PathInvalid)
                raise refusal(str(answer.get("message"))[:300])
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


FILES = SandboxFiles()
