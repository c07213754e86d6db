"""Puts values where placeholders stand: in the bound header, the password of basic, or a parameter of the query.

Pure: headers and target in, headers and target out. Source: RFC 7617 section 2, RFC 3986 sections 2.3 and 3.3.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_to_bytes

from services.domain.vault.bindings import VALUE, Binding

Headers = list[tuple[bytes, bytes]]

PLACEHOLDER = re.compile(rb"swp_[0-9a-f]{48}")
# A value that a host repeats must come back whole and as it is, so that it is found; and the method and the path that
# were matched must be those that the host goes by.
_NOT_WITH_A_VALUE = frozenset(
    {
        b"accept-encoding", b"range", b"if-range", b"x-http-method", b"x-http-method-override", b"x-method-override",
        b"x-original-url", b"x-rewrite-url",
    }
)  # fmt: skip
_PLAIN_PART = re.compile(rb"(?:[A-Za-z0-9_.~!$&'()*+,=:@-]|%[0-9A-Fa-f]{2})+")
# What a server may read as the end of a part, or take away: / \ . ; % and controls.
_UNCLEAR = re.compile(rb"%(?:2[eEfF5]|5[cC]|3[bB]|[01][0-9A-Fa-f]|7[fF])")
_BASIC = re.compile(rb"basic +([A-Za-z0-9+/=_-]+)", re.IGNORECASE)
_STANDARD = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True, slots=True)
class Filling:
    """One binding of a request, what stands for the value, and the value."""

    binding: Binding
    placeholder: bytes
    value: bytes = field(repr=False)


def path_of(target: bytes) -> bytes:
    """Return the path of a request's target."""
    return target.partition(b"?")[0]


def is_below(path: bytes, prefix: str | None) -> bool:
    """Say whether a path is at or below a prefix, part by part, as it is written and however a server reads it."""
    if prefix is None:
        return True
    start = prefix.encode()
    if path != start and not path.startswith(start + b"/"):
        return False
    return is_clear(path)


def is_clear(path: bytes) -> bool:
    """Say whether a path can be read in one way only: no dots alone, nothing empty, no `;`, no hidden separators."""
    parts = path.split(b"/")[1:]
    if parts and parts[-1] == b"":
        parts.pop()
    return all(map(_is_plain, parts))


def _is_plain(part: bytes) -> bool:
    if not _PLAIN_PART.fullmatch(part) or _UNCLEAR.search(part):
        return False
    try:
        text = unicodedata.normalize("NFKC", unquote_to_bytes(part).decode())
    except UnicodeDecodeError:  # also a dot that is written in too many bytes
        return False
    return bool(text.strip(".")) and not set(text) & set("/\\;%")


def is_wanted(binding: Binding, placeholder: bytes, headers: Headers, target: bytes) -> bool:
    """Say whether a request has the placeholder where the binding puts the value, or is to get it always."""
    if binding.always:
        return True
    probe = Filling(binding, placeholder, b"")
    return inject(headers, target, [probe]) != (headers, target)


def inject(headers: Headers, target: bytes, fillings: Sequence[Filling]) -> tuple[Headers, bytes]:
    """Return the headers and the target with the values in their places."""
    for filling in fillings:
        match filling.binding.into:
            case "header":
                headers = _in_header(headers, filling)
            case "basic":
                headers = _in_basic(headers, filling)
            case "query":
                target = _in_query(target, filling)
    return headers, target


def made_safe(headers: Headers) -> Headers:
    """Return the headers so that the request is what was matched, and the answer comes whole and as it is."""
    kept = [(name, value) for name, value in headers if name not in _NOT_WITH_A_VALUE]
    return [*kept, (b"accept-encoding", b"identity")]


def find_stray(headers: Headers, target: bytes, placeholders: Iterable[bytes]) -> bytes | None:
    """Return a placeholder that stands anywhere in a request's head; None when there is none."""
    texts = [target, unquote_to_bytes(target)]
    for name, value in headers:
        texts += [name, value]
        if (found := _BASIC.fullmatch(value.strip())) and (decoded := _decode(found[1])) is not None:
            texts.append(decoded)
    return next((text for text in placeholders if any(text in place for place in texts)), None)


def _in_header(headers: Headers, filling: Filling) -> Headers:
    name = filling.binding.name.lower().encode()
    found = [
        (key, value.replace(filling.placeholder, filling.value) if key == name else value)
        for key, value in headers
    ]
    if found == headers and filling.binding.always:
        text = filling.binding.template.encode().replace(VALUE.encode(), filling.value)
        return [*(pair for pair in headers if pair[0] != name), (name, text)]
    return found


def _in_basic(headers: Headers, filling: Filling) -> Headers:
    found = [(key, _filled(value, filling) if key == b"authorization" else value) for key, value in headers]
    if found == headers and filling.binding.always:
        pair = filling.binding.user.encode() + b":" + filling.value
        text = b"Basic " + base64.b64encode(pair)
        return [*(pair for pair in headers if pair[0] != b"authorization"), (b"authorization", text)]
    return found


def _filled(value: bytes, filling: Filling) -> bytes:
    found = _BASIC.fullmatch(value.strip())
    decoded = _decode(found[1]) if found else None
    if decoded is None or filling.placeholder not in decoded:
        return value
    user, separator, password = decoded.partition(b":")
    if filling.binding.user and user != filling.binding.user.encode():
        return value
    if not separator or filling.placeholder not in password:
        return value
    password = password.replace(filling.placeholder, filling.value)
    return b"Basic " + base64.b64encode(user + b":" + password)


def _in_query(target: bytes, filling: Filling) -> bytes:
    path, mark, query = target.partition(b"?")
    name, value = filling.binding.name.encode(), quote(filling.value, safe="").encode()
    pairs = query.split(b"&") if mark else []
    found = []
    for pair in pairs:
        key, separator, text = pair.partition(b"=")
        is_it = key == name and separator and filling.placeholder in text
        found.append(key + b"=" + text.replace(filling.placeholder, value) if is_it else pair)
    if found == pairs and filling.binding.always:
        found = [pair for pair in pairs if pair and pair.partition(b"=")[0] != name]
        found.append(name + b"=" + value)
    return path + b"?" + b"&".join(found) if found or mark else target


def _decode(text: bytes) -> bytes | None:
    try:
        return base64.b64decode(
            text + b"=" * (-len(text) % 4), altchars=b"-_" if b"-" in text or b"_" in text else None
        )
    except (binascii.Error, ValueError):
        return None
