"""What Teams takes for a message: its text, its markup, its cards."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring
from starlette.responses import JSONResponse, Response

_TAGS = {"b", "strong", "i", "em", "s", "strike", "code", "pre", "blockquote", "br"}
_CARD = "application/vnd.microsoft.card.adaptive"
JSON = dict[str, Any]


class Refused(Exception):
    """An answer with an error."""

    def __init__(
        self, status: int, code: str, message: str = "", *, retry_after_s: int | None = None
    ) -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.retry_after_s = status, code, message, retry_after_s

    def answer(self) -> Response:
        """Make the answer."""
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        body = {"error": {"code": self.code, "message": self.message or self.code}}
        return JSONResponse(body, status_code=self.status, headers=headers)


def read_markup(text: str) -> str:
    """Read markup strictly, and return what people see. Raises: ValueError."""
    try:
        root = fromstring(f"<message>{text}</message>")
    except ParseError as error:
        raise ValueError("not well-formed") from error
    return _seen(root)


def check_message(activity: JSON) -> None:
    """Refuse what Teams refuses."""
    if activity.get("type") != "message":
        raise Refused(400, "BadSyntax", "unknown activity type")
    if activity.get("textFormat", "markdown") not in ("markdown", "plain", "xml"):
        raise Refused(400, "BadSyntax", "unknown text format")
    attachments = activity.get("attachments") or []
    if not str(activity.get("text", "")).strip() and not attachments:
        raise Refused(400, "BadSyntax", "an empty message")
    if activity.get("text") and attachments:
        # Teams takes it, shows two messages, and answers without the id of either: nobody wants that.
        raise Refused(400, "BadSyntax", "a text and a card are two messages")
    shown_text(activity)
    for attachment in attachments:
        _check_card(attachment)


def shown_text(activity: JSON) -> str:
    """Return the text as people see it."""
    text = str(activity.get("text", ""))
    for attachment in activity.get("attachments") or []:
        body = (attachment.get("content") or {}).get("body") or []
        text = "\n\n".join(str(block.get("text", "")) for block in body)
    if activity.get("textFormat") != "xml":
        return text
    try:
        return read_markup(text)
    except ValueError as error:
        raise Refused(400, "BadSyntax", str(error)) from error


def _seen(element: Element) -> str:
    parts = [element.text or ""]
    for child in element:
        if child.tag not in _TAGS and not _is_link(child):
            raise ValueError(f"<{child.tag}> is not shown")
        if child.attrib and child.tag != "a":
            raise ValueError(f"<{child.tag}> has attributes")
        parts.append("\n" if child.tag == "br" else _seen(child))
        parts.append(child.tail or "")
    return "".join(parts)


def _is_link(element: Element) -> bool:
    href = element.attrib.get("href", "")
    return (
        element.tag == "a"
        and list(element.attrib) == ["href"]
        and href[:4].lower() in ("http", "mail", "tel:")
    )


def _check_card(attachment: JSON) -> None:
    content = attachment.get("content") or {}
    is_card = attachment.get("contentType") == _CARD and content.get("type") == "AdaptiveCard"
    if not is_card or content.get("version") not in ("1.0", "1.2", "1.3", "1.4", "1.5"):
        raise Refused(400, "BadSyntax", "not a card")
    actions = content.get("actions", [])
    if not isinstance(content.get("body"), list) or len(actions) > 6:
        raise Refused(400, "BadSyntax", "too many actions")
    for action in actions:
        is_submit = action["type"] == "Action.Submit" and isinstance(action.get("data"), dict)
        is_link = action["type"] == "Action.OpenUrl" and str(action.get("url", "")).startswith("https://")
        if not action.get("title") or not (is_submit or is_link):
            raise Refused(400, "BadSyntax", "not an action")
