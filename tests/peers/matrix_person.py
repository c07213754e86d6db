"""Somebody with a client that encrypts: matrix-nio, an implementation of Matrix's encryption that is not ours."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

from nio import AsyncClient, AsyncClientConfig, MegolmEvent, RoomEncryptedFile, RoomMessage, RoomMessageText
from nio.crypto.attachments import decrypt_attachment

T = TypeVar("T")

MEGOLM = "m.megolm.v1.aes-sha2"
_SYNC_MS = 1_000


class EncryptingPerson:
    """Somebody who is signed in with a device of their own, whose keys lie in a folder."""

    def __init__(self, url: str, user_id: str, folder: Path) -> None:
        self._runner = asyncio.Runner()
        self.user_id = user_id
        self._url, self._folder = url, folder

    def __enter__(self) -> Self:
        self._folder.mkdir(exist_ok=True)
        self._client = self._run(self._sign_in())
        self.heard: list[RoomMessage | MegolmEvent] = []
        self._client.add_event_callback(
            lambda room, event: self.heard.append(event), (RoomMessage, MegolmEvent, RoomEncryptedFile)
        )
        self.sync()
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._client.close())
        self._runner.close()

    def make_room(self, *invited: str) -> str:
        """Make an encrypted room and invite people into it."""
        state = [{"type": "m.room.encryption", "state_key": "", "content": {"algorithm": MEGOLM}}]
        made = self._run(self._client.room_create(invite=list(invited), initial_state=state, is_direct=True))
        self.sync()
        return str(made.room_id)

    def say(self, room_id: str, text: str, **content: Any) -> str:
        """Say something, encrypted for every device in the room."""
        return self.send(room_id, {"msgtype": "m.text", "body": text} | content)

    def send(self, room_id: str, content: dict[str, Any]) -> str:
        """Send an encrypted message."""
        self.sync()
        sending = self._client.room_send(room_id, "m.room.message", content, ignore_unverified_devices=True)
        return str(self._run(sending).event_id)

    def send_file(self, room_id: str, name: str, data: bytes) -> str:
        """Send an encrypted file."""
        uploading = self._client.upload(
            io.BytesIO(data), "application/zip", name, encrypt=True, filesize=len(data)
        )
        answer, opening = self._run(uploading)
        file = opening | {"url": answer.content_uri}
        return self.send(room_id, {"msgtype": "m.file", "body": name, "file": file})

    def wait_for(self, holds: Callable[[RoomMessage], bool], *, tries: int = 60) -> RoomMessage:
        """Wait for a message of somebody else's that could be decrypted. Raises: TimeoutError."""
        for _ in range(tries):
            for event in self.heard:
                if event.sender != self.user_id and isinstance(event, RoomMessage) and holds(event):
                    return event
            self.sync()
        raise TimeoutError(f"heard: {self.heard}")

    def wait_for_text(self, text: str) -> RoomMessageText:
        """Wait until somebody else says this. Raises: TimeoutError."""
        found = self.wait_for(lambda event: event.source["content"].get("body") == text)
        assert isinstance(found, RoomMessageText)
        assert found.decrypted
        return found

    def open_file(self, event: RoomMessage) -> bytes:
        """Return the bytes of an encrypted file."""
        file = event.source["content"]["file"]
        answer = self._run(self._client.download(file["url"]))
        opened: bytes = decrypt_attachment(
            answer.body, file["key"]["k"], file["hashes"]["sha256"], file["iv"]
        )
        return opened

    def sync(self) -> None:
        """Take what is new, and keep our own keys known."""
        self._run(self._step())

    async def _sign_in(self) -> AsyncClient:
        config = AsyncClientConfig(encryption_enabled=True, store_sync_tokens=False)
        client = AsyncClient(self._url, self.user_id, store_path=str(self._folder), config=config)
        await client.login("a password")
        return client

    async def _step(self) -> None:
        await self._client.sync(timeout=_SYNC_MS, sync_filter={"room": {"timeline": {"limit": 50}}})
        if self._client.should_upload_keys:
            await self._client.keys_upload()
        if self._client.should_query_keys:
            await self._client.keys_query()

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)
