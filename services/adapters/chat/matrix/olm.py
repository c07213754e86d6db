"""Olm and Megolm over entries: our device's account, its sessions with other devices, the keys of rooms. No network.

The ciphers are vodozemac's. Entries, each a JSON object: `account`; `peer:<key>`, the sessions with one device;
`in:<room and session>`, a key with which somebody encrypts there; `out:<room>`, ours, and who has it. The drawer seals
what they hold, so that vodozemac's own sealing of it has a key that is no secret.

Source: https://spec.matrix.org/v1.11/client-server-api/#end-to-end-encryption
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vodozemac import (
    Account,
    AnyOlmMessage,
    Curve25519PublicKey,
    Ed25519PublicKey,
    Ed25519Signature,
    GroupSession,
    InboundGroupSession,
    MegolmMessage,
    PreKeyMessage,
    Session,
    SessionKey,
)

OLM = "m.olm.v1.curve25519-aes-sha2"
MEGOLM = "m.megolm.v1.aes-sha2"
ROOM_KEY = "m.room_key"
_KEY = bytes(32)
_MOST_SESSIONS, _MOST_SEEN = 5, 500
# After the last message that it read. What is older is only looked at again where a gap is filled.
ROOM_KEY_DAYS = 60
# Until others have taken them, keys lie at the homeserver; a device that finds none cannot write to us.
ONE_TIME_KEYS = 50
JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Device:
    """One of somebody's devices, by its own keys."""

    user_id: str
    device_id: str
    curve25519: str
    ed25519: str


@dataclass(frozen=True, slots=True)
class Own:
    """This link's own device."""

    user_id: str
    device_id: str
    curve25519: str
    ed25519: str


def canonical(value: Mapping[str, Any]) -> bytes:
    """Return JSON as it is signed. Source: https://spec.matrix.org/v1.11/appendices/#canonical-json"""
    signed = {name: part for name, part in value.items() if name not in ("signatures", "unsigned")}
    return json.dumps(signed, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def is_signed(value: Mapping[str, Any], user_id: str, device_id: str, ed25519: str) -> bool:
    """Say whether a device has signed this."""
    try:
        signature = value["signatures"][user_id][f"ed25519:{device_id}"]
        key = Ed25519PublicKey.from_base64(ed25519)
        key.verify_signature(canonical(value), Ed25519Signature.from_base64(signature))
    except (KeyError, TypeError, ValueError):
        return False
    return True


# --- Our device --------------------------------------------------------------------------------------------


def make_account(entry: JSON, user_id: str, device_id: str) -> None:
    """Make the device's keys, where it has none yet."""
    if not entry:
        entry |= {"user_id": user_id, "device_id": device_id, "is_published": False}
        _keep(entry, Account())


def own_device(entry: Mapping[str, Any]) -> Own:
    """Return what others know of our device."""
    account = _account(entry)
    keys = account.curve25519_key.to_base64(), account.ed25519_key.to_base64()
    return Own(entry["user_id"], entry["device_id"], *keys)


def prepare_keys(entry: JSON, missing: int) -> None:
    """Make one-time keys, so that with those that wait to be uploaded there are as many as are missing."""
    account = _account(entry)
    needed = missing - len(account.one_time_keys)
    if needed > 0:
        account.generate_one_time_keys(needed)
        _keep(entry, account)


def keys_to_upload(entry: Mapping[str, Any]) -> JSON:
    """Return what tells the homeserver of our device and its one-time keys; the same until `note_uploaded`."""
    account, own = _account(entry), own_device(entry)
    device: JSON = {
        "algorithms": [OLM, MEGOLM],
        "device_id": own.device_id,
        "user_id": own.user_id,
        "keys": {f"curve25519:{own.device_id}": own.curve25519, f"ed25519:{own.device_id}": own.ed25519},
    }
    keys = {
        f"signed_curve25519:{key_id}": _signed(account, own, {"key": key.to_base64()})
        for key_id, key in account.one_time_keys.items()
    }
    body = {} if entry["is_published"] else {"device_keys": _signed(account, own, device)}
    return body | ({"one_time_keys": keys} if keys else {})


def note_uploaded(entry: JSON, uploaded: Mapping[str, Any]) -> None:
    """Note that the homeserver has these keys."""
    if keys_to_upload(entry) == uploaded:
        account = _account(entry)
        account.mark_keys_as_published()
        _keep(entry, account)
        entry["is_published"] = True


# --- One device to another ---------------------------------------------------------------------------------


def has_session(peer: Mapping[str, Any]) -> bool:
    """Say whether we can write to a device."""
    return bool(peer.get("sessions"))


def begin_session(account: Mapping[str, Any], peer: JSON, device: Device, one_time_key: str) -> None:
    """Begin a session with a device by one of its one-time keys. Raises: ValueError."""
    keys = [Curve25519PublicKey.from_base64(key) for key in (device.curve25519, one_time_key)]
    _add_session(peer, _account(account).create_outbound_session(*keys))


def encrypt_to_device(
    account: Mapping[str, Any], peer: JSON, device: Device, kind: str, content: JSON
) -> JSON:
    """Return an event for one device, as the content of `m.room.encrypted`."""
    own = own_device(account)
    payload = {
        "type": kind,
        "content": content,
        "sender": own.user_id,
        "sender_device": own.device_id,
        "keys": {"ed25519": own.ed25519},
        "recipient": device.user_id,
        "recipient_keys": {"ed25519": device.ed25519},
    }
    session = Session.from_pickle(peer["sessions"][0], _KEY)
    number, body = session.encrypt(canonical(payload)).to_parts()
    peer["sessions"][0] = session.pickle(_KEY)
    return {
        "algorithm": OLM,
        "sender_key": own.curve25519,
        "ciphertext": {
            device.curve25519: {"type": number, "body": base64.b64encode(body).decode().rstrip("=")}
        },
    }


def decrypt_from_device(account: JSON, peer: JSON, event: Mapping[str, Any]) -> JSON | None:
    """Return what another device has written to ours, with its sender checked; None for what cannot be read."""
    own = own_device(account)
    content = event["content"]
    try:
        part = content["ciphertext"][own.curve25519]
        message = AnyOlmMessage.from_parts(part["type"], base64.b64decode(part["body"] + "=="))
        plain = _decrypt(account, peer, content["sender_key"], message)
        payload = json.loads(plain) if plain is not None else None
        is_for_us = payload is not None and (
            payload["sender"],
            payload["recipient"],
            payload["recipient_keys"]["ed25519"],
        ) == (event["sender"], own.user_id, own.ed25519)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return payload if is_for_us else None


def _decrypt(account: JSON, peer: JSON, sender_key: str, message: AnyOlmMessage) -> bytes | None:
    first = message.to_pre_key()
    sessions = peer.get("sessions", [])
    for place, kept in enumerate(sessions):
        session = Session.from_pickle(kept, _KEY)
        is_of_this = first is not None and session.session_matches(first)
        if first is not None and not is_of_this:
            continue
        try:
            plain = session.decrypt(message)
        except ValueError:
            if is_of_this:
                return None
            continue
        # The one that others use is the one to answer in.
        peer["sessions"] = [session.pickle(_KEY), *sessions[:place], *sessions[place + 1 :]]
        return plain
    return _begin(account, peer, sender_key, first) if first is not None else None


def _begin(account: JSON, peer: JSON, sender_key: str, first: PreKeyMessage) -> bytes | None:
    ours = _account(account)
    try:
        session, plain = ours.create_inbound_session(Curve25519PublicKey.from_base64(sender_key), first)
    except ValueError:
        return None
    _keep(account, ours)
    _add_session(peer, session)
    return plain


# --- Rooms -------------------------------------------------------------------------------------------------


def take_room_key(known: JSON, sender: str, sender_key: str, content: Mapping[str, Any]) -> bool:
    """Keep a key with which somebody encrypts in a room, over what is known of its session; says whether it is one."""
    try:
        session = InboundGroupSession(SessionKey(content["session_key"]))
    except (KeyError, TypeError, ValueError):
        return False
    if session.session_id != content.get("session_id") or content.get("algorithm") != MEGOLM:
        return False
    if known and (known["sender"], known["sender_key"]) != (sender, sender_key):
        return False
    # What was handed out earlier reads more.
    if not known or session.first_known_index < known["first"]:
        known |= {
            "key": session.pickle(_KEY),
            "sender": sender,
            "sender_key": sender_key,
            "first": session.first_known_index,
            "seen": known.get("seen", {}),
            "keep_days": ROOM_KEY_DAYS,
        }
    return True


def decrypt_in_room(known: JSON, room_id: str, event: Mapping[str, Any]) -> JSON | None:
    """Return an event of a room in clear, by what is known of its session; None while that is nothing.

    Raises: ValueError for one that is forged, or an old one that comes again as another.
    """
    if not known:
        return None
    if known["sender"] != event["sender"]:
        raise ValueError("the key is somebody else's")
    session = InboundGroupSession.from_pickle(known["key"], _KEY)
    found = session.decrypt(MegolmMessage.from_base64(str(event["content"].get("ciphertext"))))
    index, event_id = str(found.message_index), _digest(event["event_id"])
    if known["seen"].setdefault(index, event_id) != event_id:
        raise ValueError("an old message comes again")
    for old in sorted(known["seen"], key=int)[:-_MOST_SEEN]:
        del known["seen"][old]
    payload: JSON = json.loads(found.plaintext)
    if payload.get("room_id") != room_id or not isinstance(payload.get("content"), dict):
        raise ValueError("it was said in another room")
    return _in_clear(event, payload)


def _in_clear(event: Mapping[str, Any], payload: JSON) -> JSON:
    # What an event belongs to stands outside, where the homeserver reads it too.
    relates = event["content"].get("m.relates_to")
    content = payload["content"] | ({"m.relates_to": relates} if relates is not None else {})
    return {**event, "type": str(payload.get("type")), "content": content}


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a room's key is to be another one."""

    messages: int = 100
    age_s: float = 604_800.0

    def is_due(self, outbound: Mapping[str, Any]) -> bool:
        """Say whether a key has served long enough."""
        age_s = time.time() - outbound["made_at"]
        return outbound["count"] >= self.messages or not 0 <= age_s < self.age_s


@dataclass(frozen=True, slots=True)
class RoomKey:
    """Our key in a room: its session, and who does not have it yet, each with the key from where they read on."""

    session_id: str
    missing: tuple[tuple[Device, str], ...]


def room_key(outbound: JSON, devices: Iterable[Device], rotation: Rotation) -> RoomKey:
    """Return our key in a room; a new one when it has served long enough, or somebody who has it is gone.

    What a device is offered stays the same until it has it. Of two processes that hand it out the second would else
    give it a key that reads less, and some clients keep the last one that they get.
    """
    present = {device.curve25519: device for device in devices}
    if not outbound or rotation.is_due(outbound) or not _holders(outbound) <= set(present):
        new = {
            "key": GroupSession().pickle(_KEY),
            "made_at": time.time(),
            "count": 0,
            "shared": [],
            "offers": {},
        }
        outbound |= new
    session = GroupSession.from_pickle(outbound["key"], _KEY)
    fresh = [key for key in present if key not in _holders(outbound)]
    if fresh:
        from_here = session.session_key.to_base64()
        outbound["offers"][from_here] = [*outbound["offers"].get(from_here, []), *fresh]
    missing = [(present[key], offer) for offer, keys in outbound["offers"].items() for key in keys]
    return RoomKey(session.session_id, tuple(missing))


def note_shared(outbound: JSON, session_id: str, keys: Collection[str]) -> None:
    """Note that devices have our key, or that it was tried in vain. One that was replaced meanwhile stays as it is."""
    if outbound and GroupSession.from_pickle(outbound["key"], _KEY).session_id == session_id:
        outbound["shared"] = sorted({*outbound["shared"], *keys})
        left = {
            offer: [key for key in offered if key not in keys]
            for offer, offered in outbound["offers"].items()
        }
        outbound["offers"] = {offer: offered for offer, offered in left.items() if offered}


def _holders(outbound: Mapping[str, Any]) -> set[str]:
    """Return who has our key, or may have it."""
    return {*outbound["shared"], *(key for keys in outbound["offers"].values() for key in keys)}


def encrypt_in_room(
    account: Mapping[str, Any], outbound: JSON, room_id: str, kind: str, content: JSON
) -> JSON:
    """Return an event for a room, as the content of `m.room.encrypted`. The key moves on by one."""
    own = own_device(account)
    session = GroupSession.from_pickle(outbound["key"], _KEY)
    payload = {"type": kind, "content": content, "room_id": room_id}
    body = session.encrypt(canonical(payload)).to_base64()
    outbound |= {"key": session.pickle(_KEY), "count": outbound["count"] + 1}
    relates = content.get("m.relates_to")
    return {
        "algorithm": MEGOLM,
        "sender_key": own.curve25519,
        "device_id": own.device_id,
        "session_id": session.session_id,
        "ciphertext": body,
    } | ({"m.relates_to": relates} if relates is not None else {})


# --- Inside ------------------------------------------------------------------------------------------------


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def _account(entry: Mapping[str, Any]) -> Account:
    return Account.from_pickle(entry["account"], _KEY)


def _keep(entry: JSON, account: Account) -> None:
    entry["account"] = account.pickle(_KEY)


def _add_session(peer: JSON, session: Session) -> None:
    peer["sessions"] = [session.pickle(_KEY), *peer.get("sessions", [])][:_MOST_SESSIONS]


def _signed(account: Account, own: Own, value: JSON) -> JSON:
    signature = account.sign(canonical(value)).to_base64()
    return value | {"signatures": {own.user_id: {f"ed25519:{own.device_id}": signature}}}
