"""Files to and from WhatsApp.

Source: https://developers.facebook.com/docs/whatsapp/cloud-api/reference/media
"""

from __future__ import annotations

from urllib.parse import urlsplit

from services.adapters.chat.calls import download
from services.adapters.chat.whatsapp.client import ask, authorization
from services.adapters.chat.whatsapp.config import WhatsappConfig
from services.adapters.chat.whatsapp.failures import LABEL, translate
from services.adapters.chat.whatsapp.outbound import post, send
from services.domain.errors import FileTooLarge, PlatformRefused
from services.domain.ports.chat import Place, Receipt
from services.domain.ports.chat_abilities import OutgoingFile

# A document may have 100 MB; what we hold in memory is less.
MAX_FILE_BYTES = 50_000_000
MAX_CAPTION = 1024
_OFFICE = "application/vnd.openxmlformats-officedocument"
_DOCUMENTS = {
    "application/pdf",
    "application/msword",
    "application/vnd.ms-excel",
    "application/vnd.ms-powerpoint",
    f"{_OFFICE}.wordprocessingml.document",
    f"{_OFFICE}.spreadsheetml.sheet",
    f"{_OFFICE}.presentationml.presentation",
}
_MEDIA = {
    "image": ({"image/jpeg", "image/png"}, 5_000_000),
    "audio": ({"audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"}, 16_000_000),
    "video": ({"video/mp4", "video/3gpp"}, 16_000_000),
}
# Where WhatsApp keeps what people send. The access token goes nowhere else.
_HOSTS = ("facebook.com", "fbsbx.com", "fbcdn.net", "whatsapp.net")


def send_file(
    base_url: str,
    config: WhatsappConfig,
    place: Place,
    file: OutgoingFile,
    caption: str,
    *,
    reply_to: str | None = None,
) -> Receipt:
    """Upload a file and send it as what it is. A sound has no caption, so that its words go before it."""
    kind, content_type = _kind_of(file)
    if kind == "audio" and caption:
        send(base_url, config, place, caption, reply_to=reply_to)
        caption = ""
    uploaded = ask(
        base_url,
        config,
        "POST",
        f"{config.phone_number_id}/media",
        data={"messaging_product": "whatsapp", "type": content_type},
        files={"file": (file.name, file.data, content_type)},
    )
    media = {"id": str(uploaded.get("id", ""))}
    if caption:
        media["caption"] = caption
    if kind == "document":
        media["filename"] = file.name
    return post(base_url, config, place, {"type": kind, kind: media}, reply_to=reply_to)


def fetch_file(base_url: str, config: WhatsappConfig, ref: str, max_bytes: int) -> bytes:
    """Return the bytes of what a person sent. Its address is good for five minutes, and for the access token only."""
    if not (ref.isascii() and ref.isalnum()):
        raise PlatformRefused("WhatsApp has no such file.")
    found = ask(base_url, config, "GET", ref, params={"phone_number_id": config.phone_number_id})
    size = found.get("file_size")
    if isinstance(size, int) and size > max_bytes:
        raise FileTooLarge(f"The file has more than {max_bytes:,} bytes.")
    url = str(found.get("url", ""))
    if not _is_theirs(url, base_url):
        raise PlatformRefused("The file is not where WhatsApp keeps files.")
    return download(LABEL, url, max_bytes=max_bytes, translate=translate, headers=authorization(config))


def _kind_of(file: OutgoingFile) -> tuple[str, str]:
    """Return the type of message for a file, and what is said of its content. Raises: PlatformRefused."""
    content_type = file.content_type.partition(";")[0].strip().lower()
    for kind, (types, max_bytes) in _MEDIA.items():
        if content_type in types:
            if len(file.data) > max_bytes:
                raise PlatformRefused(f"WhatsApp takes {kind}s of at most {max_bytes:,} bytes.")
            return kind, content_type
    if content_type.startswith("text/") or content_type in ("application/json", "application/xml"):
        return "document", "text/plain"
    if content_type in _DOCUMENTS:
        return "document", content_type
    raise PlatformRefused(
        f"WhatsApp takes no files of the type {content_type}: only texts, PDF, office documents, JPEG, PNG, "
        "sounds and videos."
    )


def _is_theirs(url: str, base_url: str) -> bool:
    """Say whether an address is one of WhatsApp's, or of the server that stands in for it."""
    parts, base = urlsplit(url), urlsplit(base_url)
    host = (parts.hostname or "").lower()
    is_known = any(host == known or host.endswith(f".{known}") for known in _HOSTS)
    return (parts.scheme == "https" and is_known) or (parts.scheme, parts.netloc) == (
        base.scheme,
        base.netloc,
    )
