"""Passing what changes something on to the api service: this service itself changes nothing durable."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlsplit

import httpx

from services.domain.errors import SlipwayError, Temporary
from services.domain.identity.handover import TRACE_HEADER, sign_traceparent
from services.kit import tracing
from services.kit.environment import environment
from services.realtime.access import Visitor
from services.realtime.messages import Answer

_TIMEOUT = httpx.Timeout(30.0, connect=2.0)


class Refused(SlipwayError):
    """The api service's own refusal, with its code."""

    def __init__(self, code: str, message: str, details: dict[str, Any]) -> None:
        super().__init__(message)
        self.details = details
        self.code = code  # type: ignore[misc]  # the code is the other service's, not this class's


class Forwarder:
    """A client of the api service on this machine. The caller's identity goes along; permission is decided there.

    So does the span of what the client asked for: the task that comes of it is part of that trace.
    """

    def __init__(self, base_url: str | None = None) -> None:
        env = environment()
        self._client = httpx.AsyncClient(
            base_url=base_url or f"http://127.0.0.1:{env.api_port}",
            timeout=_TIMEOUT,
            trust_env=False,
            headers={"Host": urlsplit(env.public_url).netloc},
        )

    async def submit(self, visitor: Visitor, body: dict[str, Any], key: str | None) -> dict[str, Any]:
        """Submit a task as `POST /v1/tasks` does. Raises: Refused, Temporary."""
        headers = {"Idempotency-Key": key} if key else {}
        return await self._post("submit", visitor, "/v1/tasks", body, headers)

    async def cancel(self, visitor: Visitor, task_id: uuid.UUID) -> dict[str, Any]:
        """Cancel a task as `POST /v1/tasks/{id}/cancel` does. Raises: Refused, Temporary."""
        return await self._post("cancel", visitor, f"/v1/tasks/{task_id}/cancel", {}, {})

    async def steer(self, visitor: Visitor, task_id: uuid.UUID, text: str, key: str | None) -> dict[str, Any]:
        """Send a message as `POST /v1/tasks/{id}/messages` does. Raises: Refused, Temporary."""
        headers = {"Idempotency-Key": key} if key else {}
        return await self._post("steer", visitor, f"/v1/tasks/{task_id}/messages", {"text": text}, headers)

    async def answer(self, visitor: Visitor, message: Answer) -> tuple[str, dict[str, Any]]:
        """Answer as `POST /v1/questions/{id}/answer` or `/v1/tasks/{id}/answer` does; says which of both came back.

        Raises: Refused, Temporary.
        """
        if message.question_id is not None:
            path = f"/v1/questions/{message.question_id}/answer"
            body: dict[str, Any] = {"text": message.text, "option": message.option}
            return "question", await self._post("answer", visitor, path, body, {})
        path = f"/v1/tasks/{message.task_id}/answer"
        return "task", await self._post("answer", visitor, path, {"text": message.text}, {})

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _post(
        self, op: str, visitor: Visitor, path: str, body: dict[str, Any], headers: dict[str, str]
    ) -> dict[str, Any]:
        with tracing.span(f"ws.{op}"):
            if traceparent := tracing.traceparent():
                headers = {**headers, TRACE_HEADER: sign_traceparent(traceparent)}
            identity = visitor.credential.headers_for_api(visitor.actor)
            try:
                answer = await self._client.post(path, json=body, headers={**identity, **headers})
                content = answer.json()
            except (httpx.HTTPError, ValueError) as error:
                raise Temporary("The api service does not answer. Try again.") from error
            if answer.is_success and isinstance(content, dict):
                return content
            shown = content.get("error") if isinstance(content, dict) else None
            if not isinstance(shown, dict):
                raise Temporary("The api service does not answer as expected. Try again.")
            raise Refused(str(shown.get("code")), str(shown.get("message")), shown.get("details") or {})
