"""What the local Slack server knows beyond texts: deletions, reactions, files, blocks, ephemeral words, presses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
from starlette.requests import Request
from starlette.responses import Response

from tests.fakes.serving import Journal

if TYPE_CHECKING:
    from tests.fakes.slack_server import FakeSlack

JSON = dict[str, Any]


class SlackExtras:
    """The methods, over the state of the server. The journals have what came of them."""

    def __init__(self, server: FakeSlack, refused: Callable[[str], Exception]) -> None:
        self._server = server
        self._refused = refused
        self._uploads: dict[str, JSON] = {}
        self.shared: dict[str, JSON] = {}
        self.files, self.reactions, self.deleted, self.ephemeral = Journal(), Journal(), Journal(), Journal()

    def methods(self) -> dict[str, Callable[[JSON], JSON]]:
        """Return the methods by their names."""
        return {
            "chat.delete": self._delete,
            "chat.postEphemeral": self._post_ephemeral,
            "reactions.add": self._react,
            "files.getUploadURLExternal": self._upload_url,
            "files.completeUploadExternal": self._complete_upload,
            "files.delete": self._delete_file,
            "files.info": self._file_info,
            "conversations.history": self._history,
            "conversations.replies": self._history,
        }

    def share(self, name: str, data: bytes, mimetype: str, **fields: Any) -> JSON:
        """Keep a file that somebody shares; returns it as events show it."""
        file_id = f"F{self._server.next_number():08d}"
        url = f"{self._server.url}/files-pri/{file_id}/{name}"
        shown = {
            "id": file_id,
            "name": name,
            "mimetype": mimetype,
            "size": len(data),
            "url_private": url,
        } | fields
        self.shared[file_id] = shown | {"data": data}
        return shown

    async def download(self, request: Request) -> Response:
        """Give a file's bytes to who shows the app's token; whoever does not is led to a page to sign in."""
        file = self.shared.get(request.path_params["file_id"])
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        tokens = self._server.tokens
        if scheme.lower() != "bearer" or not token or (tokens is not None and token not in tokens):
            return Response("<html>Sign in to Slack</html>", media_type="text/html")
        if self._server.faults.take("download") is not None:
            return Response("upstream failure", status_code=503)
        if file is None:
            return Response("not found", status_code=404)
        return Response(file["data"], media_type=file["mimetype"])

    def _file_info(self, params: JSON) -> JSON:
        file = self.shared.get(str(params.get("file", "")))
        if file is None:
            raise self._refused("file_not_found")
        return {"file": {name: value for name, value in file.items() if name != "data"}}

    def press(self, message: JSON, channel: str, label: str, person_id: str) -> tuple[bytes, str]:
        """Make the form of somebody who presses the button with this label below a message of the app's."""
        payload = self.press_payload(message, channel, label, person_id)
        return urlencode({"payload": json.dumps(payload)}).encode(), "application/x-www-form-urlencoded"

    def press_payload(self, message: JSON, channel: str, label: str, person_id: str) -> JSON:
        """Make what such a press brings, without its form."""
        buttons = [
            element
            for block in message["blocks"]
            if block["type"] == "actions"
            for element in block["elements"]
        ]
        (button,) = [button for button in buttons if button["text"]["text"] == label]
        return {
            "type": "block_actions",
            "user": {"id": person_id, "username": "bob", "name": "bob", "team_id": "T0001ACME"},
            "api_app_id": "A0001SLIP",
            "token": "verification",
            "container": {
                "type": "message",
                "message_ts": message["ts"],
                "channel_id": channel,
                "is_ephemeral": False,
                **({"thread_ts": message["thread_ts"]} if "thread_ts" in message else {}),
            },
            "trigger_id": "1.2.3",
            "team": {"id": "T0001ACME", "domain": "acme"},
            "channel": {"id": channel, "name": "general"},
            "message": message,
            "response_url": "https://hooks.slack.com/actions/T0001ACME/1/x",
            "actions": [
                {
                    "type": "button",
                    "action_id": button["action_id"],
                    "block_id": "b",
                    "value": button["value"],
                    "text": button["text"],
                    "action_ts": f"{time.time():.6f}",
                }
            ],
        }

    def deliver_press(self, message: JSON, channel: str, label: str, person_id: str) -> httpx.Response:
        """Post a press, signed, to the subscribed address."""
        body, content_type = self.press(message, channel, label, person_id)
        return self._server.post_signed(body, content_type)

    def read_blocks(self, params: JSON) -> list[JSON] | None:
        """Read a message's blocks as strictly as Slack does."""
        blocks = _json(params.get("blocks"))
        if blocks is None:
            return None
        if not isinstance(blocks, list) or len(blocks) > 50:
            raise self._refused("invalid_blocks")
        for block in blocks:
            if block.get("type") == "section":
                self._require(1 <= len(block["text"]["text"]) <= 3000)
            elif block.get("type") == "actions":
                self._require(1 <= len(block["elements"]) <= 25)
                self._check_buttons(block["elements"])
            else:
                raise self._refused("invalid_blocks")
        return blocks

    def _check_buttons(self, elements: list[JSON]) -> None:
        self._require(len({button["action_id"] for button in elements}) == len(elements))
        for button in elements:
            self._require(button["type"] == "button" and button["text"]["type"] == "plain_text")
            self._require(1 <= len(button["text"]["text"]) <= 75)
            self._require(len(button.get("value", "")) <= 2000 and len(button.get("url", "")) <= 3000)

    def _require(self, is_so: bool) -> None:
        if not is_so:
            raise self._refused("invalid_blocks")

    async def upload(self, request: Request) -> Response:
        """Take the bytes of a file at the address that was given out for it."""
        upload = self._uploads.get(request.path_params["file_id"])
        data = await request.body()
        if upload is None or len(data) != upload["length"]:
            return Response("bad upload", status_code=400)
        upload["data"] = data
        return Response(f"OK - {len(data)}")

    def _upload_url(self, params: JSON) -> JSON:
        length = int(params.get("length", 0))
        if not params.get("filename") or length <= 0:
            raise self._refused("invalid_arguments")
        file_id = f"F{self._server.next_number():08d}"
        self._uploads[file_id] = {"name": params["filename"], "length": length}
        return {"file_id": file_id, "upload_url": f"{self._server.url}/upload/{file_id}"}

    def _complete_upload(self, params: JSON) -> JSON:
        channel = self._server.channel_of(params | {"channel": params.get("channel_id", "")})
        shared = []
        for given in _json(params.get("files")) or []:
            upload = self._uploads.get(given["id"])
            if upload is None or "data" not in upload:
                raise self._refused("file_not_found")
            self.files.add(
                {
                    "channel": channel,
                    "name": upload["name"],
                    "data": upload["data"],
                    "comment": params.get("initial_comment", ""),
                    "thread_ts": params.get("thread_ts"),
                }
            )
            shared.append({"id": given["id"], "title": given.get("title")})
        return {"files": shared}

    def _delete_file(self, params: JSON) -> JSON:
        if self._uploads.pop(str(params.get("file", "")), None) is None:
            raise self._refused("file_not_found")
        self.deleted.add({"file": params["file"]})
        return {}

    def _delete(self, params: JSON) -> JSON:
        channel, message = self._server.channel_of(params), self._server.message_of(params)
        self._server.forget_message(channel, message)
        self.deleted.add({"message": message})
        return {"channel": channel, "ts": message["ts"]}

    def _react(self, params: JSON) -> JSON:
        message = self._server.message_of(params | {"ts": params.get("timestamp")})
        name = str(params.get("name", ""))
        if not name or not name.replace("_", "").replace("-", "").replace("+", "").isalnum():
            raise self._refused("invalid_name")
        if name in message.setdefault("reactions", []):
            raise self._refused("already_reacted")
        message["reactions"].append(name)
        self.reactions.add({"message": message, "name": name})
        return {}

    def _post_ephemeral(self, params: JSON) -> JSON:
        channel = self._server.channel_of(params)
        if not params.get("user") or not params.get("text"):
            raise self._refused("invalid_arguments")
        self.ephemeral.add({"channel": channel, "user": params["user"], "text": params["text"]})
        return {"message_ts": "1.000001"}

    def _history(self, params: JSON) -> JSON:
        channel = self._server.channel_of(params)
        thread_ts = params.get("ts")
        found = [
            message
            for message in self._server.messages_in(channel)
            if (thread_ts is None or thread_ts in (message.get("thread_ts"), message["ts"]))
            and str(params.get("oldest", "")) <= message["ts"] <= str(params.get("latest", "~"))
        ]
        return {"messages": found[-int(params.get("limit", 100)) :][::-1], "has_more": False}


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return json.loads(value)
