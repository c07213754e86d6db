"""The parts of WhatsApp's JSON that are read: known fields have their types, unknown ones are left out."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

# What files are called that have no name, by the type of their message.
MEDIA = {"image": "jpg", "video": "mp4", "audio": "ogg", "document": "bin", "sticker": "webp"}


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)


class Profile(_Lenient):
    name: str | None = None
    username: str | None = None


class Contact(_Lenient):
    profile: Profile | None = None
    wa_id: str | None = None
    user_id: str | None = None


class Media(_Lenient):
    id: str = ""
    mime_type: str | None = None
    caption: str | None = None
    filename: str | None = None
    voice: bool | None = None


class _Text(_Lenient):
    body: str = ""


class _Location(_Lenient):
    latitude: float
    longitude: float
    name: str | None = None
    address: str | None = None


class _Name(_Lenient):
    formatted_name: str = ""


class _Phone(_Lenient):
    phone: str = ""


class _Card(_Lenient):
    """A person's card."""

    name: _Name = _Name()
    phones: list[_Phone] = []


class _Chosen(_Lenient):
    id: str = ""
    title: str = ""


class _Interactive(_Lenient):
    button_reply: _Chosen | None = None
    list_reply: _Chosen | None = None


class _Button(_Lenient):
    text: str = ""


class _Context(_Lenient):
    """The message that is answered, and the number that wrote it."""

    id: str = ""
    sender: str = Field(default="", alias="from")


class Message(_Lenient):
    """A message. `sender` is a number, which may be missing; `from_user_id` is the id for the business."""

    id: str = Field(min_length=1, max_length=150)
    sender: str = Field(default="", alias="from", max_length=100)
    from_user_id: str = Field(default="", max_length=120)
    timestamp: str
    type: str
    group_id: str | None = None
    context: _Context | None = None
    text: _Text | None = None
    image: Media | None = None
    video: Media | None = None
    audio: Media | None = None
    document: Media | None = None
    sticker: Media | None = None
    location: _Location | None = None
    contacts: list[_Card] | None = None
    interactive: _Interactive | None = None
    button: _Button | None = None

    def media(self) -> Media | None:
        """Return the file that came with it, if it is a message of one."""
        found: Media | None = getattr(self, self.type) if self.type in MEDIA else None
        return found

    def pressed(self) -> str | None:
        """Return what a press of one of our buttons brought back, if it is one."""
        if self.type != "interactive" or self.interactive is None:
            return None
        chosen = self.interactive.button_reply or self.interactive.list_reply
        return chosen.id if chosen is not None and chosen.id else None

    def words(self) -> str:
        """Return what it says, in words also for what is no text."""
        media = self.media()
        if media is not None:
            named = f": {media.filename}" if media.filename else ""
            kind = "voice" if media.voice else self.type
            return f"[{kind}{named}] {media.caption or ''}".strip()
        if self.text is not None:
            return self.text.body.strip()
        if self.button is not None:
            return self.button.text.strip()
        if self.location is not None:
            where = ", ".join(filter(None, (self.location.name, self.location.address)))
            return f"[location: {self.location.latitude}, {self.location.longitude}] {where}".strip()
        if self.contacts:
            return " ".join(
                f"[contact: {card.name.formatted_name} {' '.join(each.phone for each in card.phones)}]"
                for card in self.contacts
            )
        return f"[{self.type} message, which cannot be read here]"


class _Problem(_Lenient):
    code: int = -1


class Status(_Lenient):
    id: str = Field(min_length=1, max_length=150)
    status: str = ""
    timestamp: str
    errors: list[_Problem] = []
    biz_opaque_callback_data: str = Field(default="", max_length=512)


class _Metadata(_Lenient):
    display_phone_number: str = ""
    phone_number_id: str = ""

    def digits(self) -> str:
        """Return the number as people's mentions have it."""
        return re.sub(r"\D", "", self.display_phone_number)

    def is_number(self, text: str) -> bool:
        """Say whether this is the number, however it is written."""
        return bool(self.digits()) and re.sub(r"\D", "", text) == self.digits()


class Value(_Lenient):
    metadata: _Metadata
    contacts: list[Contact] = []
    messages: list[dict[str, Any]] = []
    statuses: list[Status] = []


class _Change(_Lenient):
    field: str = ""
    value: dict[str, Any] = {}


class _Entry(_Lenient):
    changes: list[_Change] = []


class Call(_Lenient):
    entry: list[_Entry] = []
