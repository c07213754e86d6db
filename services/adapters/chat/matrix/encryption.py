"""Encrypted rooms: keeping our device known, reading what is said there, writing to every device that is there.

Any process of the link may do this: what it goes by is in the drawer, and no ciphertext leaves before that is written.
Devices are trusted as their homeserver names them, and as they were first named: there is nobody here who could compare
emoji. Entries beside those of `olm.py`: `user:<id>`, somebody's devices, with how often they changed and as of which
change they are known; `lists`, how often nobody listened to such changes.

Source: https://spec.matrix.org/v1.11/client-server-api/#end-to-end-encryption
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from services.adapters.chat.matrix import olm
from services.adapters.chat.matrix.client import Conversation, path
from services.adapters.chat.matrix.keeping import Sheet, change
from services.adapters.chat.matrix.olm import JSON, Device, Own, RoomKey, Rotation
from services.domain.errors import PlatformRefused
from services.domain.ports.chat_abilities import Drawer

ENCRYPTED = "m.room.encrypted"
TO_DEVICE = "/_matrix/client/v3/sendToDevice"
_MOST_TRIES = 5
_PER_REQUEST = 100
_QUERY_MS = 10_000
# A session that broke is begun anew; not more often than this, or two broken devices would do nothing else.
_RENEWED_AFTER_S = 3_600.0
_OTHER_KEYS = (
    "The access token is of a session that has encrypted before, with keys that are not here. "
    "Sign in as the bot anew, and enter the new token in the link."
)


class Encryption:
    """The encryption of one link, in one conversation with its homeserver."""

    def __init__(self, talk: Conversation, drawer: Drawer) -> None:
        self._talk, self._drawer = talk, drawer
        token = talk.config.access_token.get_secret_value()
        # Each sign-in is a device of its own; with another token everything begins anew.
        self._mark = hashlib.sha256(token.encode()).hexdigest()[:16]

    # --- Our device ----------------------------------------------------------------------------------------

    async def begin(self) -> Own:
        """Make our device, and make it known, where that has not been done yet.

        Raises: PlatformRefused when the device has keys that are not ours.
        """
        account = await Sheet(self._drawer).entry(self._name("account"))
        if not account:
            who = await self._talk.get(path("account", "whoami"))
            user_id, device_id = str(who.get("user_id", "")), str(who.get("device_id", ""))
            if not device_id:
                raise PlatformRefused(
                    "The access token is of no session that could encrypt.", answer="no_device"
                )

            async def make(sheet: Sheet) -> None:
                olm.make_account(await sheet.entry(self._name("account")), user_id, device_id)

            await change(self._drawer, make)
            account = await Sheet(self._drawer).entry(self._name("account"))
        own = olm.own_device(account)
        if not account["is_published"]:
            await self._check_is_ours(own)
            await self.top_up(0)
        return own

    async def top_up(self, there: int) -> None:
        """Upload one-time keys when the homeserver has only so many left."""
        if there >= olm.ONE_TIME_KEYS // 2:
            return

        async def prepare(sheet: Sheet) -> JSON:
            account = await sheet.entry(self._name("account"))
            olm.prepare_keys(account, olm.ONE_TIME_KEYS - there)
            return olm.keys_to_upload(account)

        body = await change(self._drawer, prepare)
        await self._talk.post(path("keys", "upload"), body)

        async def note(sheet: Sheet) -> None:
            olm.note_uploaded(await sheet.entry(self._name("account")), body)

        await change(self._drawer, note)

    async def _check_is_ours(self, own: Own) -> None:
        answer = await self._query([own.user_id])
        known = answer.get(own.user_id, {}).get(own.device_id)
        if isinstance(known, dict) and _device(own.user_id, own.device_id, known) != Device(
            own.user_id, own.device_id, own.curve25519, own.ed25519
        ):
            raise PlatformRefused(_OTHER_KEYS, answer="other_keys")

    # --- Reading -------------------------------------------------------------------------------------------

    async def take_to_device(self, events: Iterable[Mapping[str, Any]]) -> set[str]:
        """Take what other devices wrote to ours; returns the ids of the sessions whose keys came."""
        came: set[str] = set()
        for event in events:
            content = event.get("content")
            if event.get("type") != ENCRYPTED or not isinstance(content, dict):
                continue
            session_id = await self._take_one(dict(event))
            if session_id:
                came.add(session_id)
        return came

    async def _take_one(self, event: JSON) -> str | None:
        sender, sender_key = str(event.get("sender")), str(event["content"].get("sender_key"))

        async def take(sheet: Sheet) -> tuple[bool, str | None]:
            account, peer = await sheet.entries([self._name("account"), self._peer(sender_key)])
            payload = olm.decrypt_from_device(account, peer, event)
            if payload is None or payload.get("type") != olm.ROOM_KEY:
                return payload is not None, None
            content = payload.get("content")
            content = content if isinstance(content, dict) else {}
            session_id = str(content.get("session_id"))
            known = await sheet.entry(self._session(str(content.get("room_id")), session_id))
            return True, session_id if olm.take_room_key(known, sender, sender_key, content) else None

        is_read, session_id = await change(self._drawer, take)
        if not is_read:
            await self._renew_session(sender, sender_key)
        return session_id

    async def note_changes(self, user_ids: Iterable[str]) -> None:
        """Note that the devices of these people have changed."""
        names = [self._user(user_id) for user_id in user_ids]

        async def note(sheet: Sheet) -> None:
            for known in await sheet.entries(names):
                if known:
                    known["changes"] += 1

        await change(self._drawer, note)

    async def note_gap(self) -> None:
        """Note that anybody's devices may have changed: nobody listened."""

        async def note(sheet: Sheet) -> None:
            lists = await sheet.entry(self._name("lists"))
            lists["gaps"] = lists.get("gaps", 0) + 1

        await change(self._drawer, note)

    async def decrypt(self, room_id: str, event: Mapping[str, Any]) -> JSON | None:
        """Return an event in clear; None while its key is not there. Raises: ValueError for one that is not genuine."""

        name = self._session(room_id, str(event["content"].get("session_id")))

        async def read(sheet: Sheet) -> JSON | None:
            return olm.decrypt_in_room(await sheet.entry(name), room_id, event)

        return await change(self._drawer, read)

    async def _renew_session(self, user_id: str, curve25519: str) -> None:
        """Begin a new session with a device whose words cannot be read, and say so: it then uses the new one."""

        async def is_due(sheet: Sheet) -> bool:
            peer = await sheet.entry(self._peer(curve25519))
            if time.time() - peer.get("renewed_at", 0.0) < _RENEWED_AFTER_S:
                return False
            peer["renewed_at"] = time.time()
            return True

        # Of somebody's own device only: anybody may write anything under any key.
        devices = [one for one in await self._devices([user_id]) if one.curve25519 == curve25519]
        if not devices:
            return
        if await change(self._drawer, is_due):
            await self._begin_sessions(devices)
            await self._write_to([(device, {}) for device in devices], "m.dummy")

    # --- Writing -------------------------------------------------------------------------------------------

    async def encrypt(self, room_id: str, rules: Mapping[str, Any], kind: str, content: JSON) -> JSON:
        """Return an event as the content of `m.room.encrypted`, once every device in the room can read it.

        `rules` is the content of the room's `m.room.encryption`.
        """
        if rules.get("algorithm") != olm.MEGOLM:
            raise PlatformRefused(
                "The room is encrypted in a way that is not known here.", answer="algorithm"
            )
        own = await self.begin()
        members = await self._members(room_id)
        devices = [one for one in await self._devices(members) if one.device_id != own.device_id]
        rotation = _rotation(rules)
        for _ in range(_MOST_TRIES):
            key = await self._room_key(room_id, devices, rotation)
            if key.missing:
                await self._hand_out(room_id, key)
            encrypted = await self._encrypt(room_id, key.session_id, kind, content)
            if encrypted is not None:
                return encrypted
        raise PlatformRefused("The room's key changes faster than one can write.", answer="rotating")

    async def _room_key(self, room_id: str, devices: Sequence[Device], rotation: Rotation) -> RoomKey:
        async def find(sheet: Sheet) -> RoomKey:
            return olm.room_key(await sheet.entry(self._out(room_id)), devices, rotation)

        return await change(self._drawer, find)

    async def _hand_out(self, room_id: str, key: RoomKey) -> None:
        """Give the room's key to those who do not have it. Who cannot be reached now gets the next one."""
        devices = [device for device, _ in key.missing]
        await self._begin_sessions(await self._without_session(devices))
        about = {"algorithm": olm.MEGOLM, "room_id": room_id, "session_id": key.session_id}
        letters = [(device, about | {"session_key": offer}) for device, offer in key.missing]
        await self._write_to(letters, olm.ROOM_KEY)

        async def note(sheet: Sheet) -> None:
            keys = {device.curve25519 for device in devices}
            olm.note_shared(await sheet.entry(self._out(room_id)), key.session_id, keys)

        await change(self._drawer, note)

    async def _encrypt(self, room_id: str, session_id: str, kind: str, content: JSON) -> JSON | None:
        """Encrypt with the key that was handed out; None when another process has made a new one meanwhile."""

        async def act(sheet: Sheet) -> JSON | None:
            account, outbound = await sheet.entries([self._name("account"), self._out(room_id)])
            before = dict(outbound)
            encrypted = olm.encrypt_in_room(account, outbound, room_id, kind, content)
            if encrypted["session_id"] == session_id:
                return encrypted
            outbound.update(before)
            return None

        return await change(self._drawer, act)

    async def _without_session(self, devices: Sequence[Device]) -> list[Device]:
        peers = await Sheet(self._drawer).entries(self._peer(device.curve25519) for device in devices)
        return [device for device, peer in zip(devices, peers, strict=True) if not olm.has_session(peer)]

    async def _begin_sessions(self, devices: Sequence[Device]) -> None:
        """Take a one-time key of each device and begin a session by it."""
        for begin in range(0, len(devices), _PER_REQUEST):
            asked: dict[str, dict[str, str]] = {}
            for device in devices[begin : begin + _PER_REQUEST]:
                asked.setdefault(device.user_id, {})[device.device_id] = "signed_curve25519"
            answer = await self._talk.post(
                path("keys", "claim"), {"one_time_keys": asked, "timeout": _QUERY_MS}
            )
            claimed = answer.get("one_time_keys")
            for device in devices[begin : begin + _PER_REQUEST]:
                key = _one_time_key(claimed, device)
                if key is not None:
                    await self._begin_session(device, key)

    async def _begin_session(self, device: Device, key: str) -> None:
        async def begin(sheet: Sheet) -> None:
            account, peer = await sheet.entries([self._name("account"), self._peer(device.curve25519)])
            try:
                olm.begin_session(account, peer, device, key)
            except ValueError:
                return

        await change(self._drawer, begin)

    async def _write_to(self, letters: Sequence[tuple[Device, JSON]], kind: str) -> None:
        """Write to those devices with which there is a session."""
        for begin in range(0, len(letters), _PER_REQUEST):
            some = letters[begin : begin + _PER_REQUEST]

            async def write(sheet: Sheet, some: Sequence[tuple[Device, JSON]] = some) -> JSON:
                names = [self._name("account"), *(self._peer(device.curve25519) for device, _ in some)]
                account, *peers = await sheet.entries(names)
                messages: JSON = {}
                for (device, content), peer in zip(some, peers, strict=True):
                    if olm.has_session(peer):
                        event = olm.encrypt_to_device(account, peer, device, kind, content)
                        messages.setdefault(device.user_id, {})[device.device_id] = event
                return messages

            messages = await change(self._drawer, write)
            if messages:
                await self._talk.put(f"{TO_DEVICE}/{ENCRYPTED}/{uuid4().hex}", {"messages": messages})

    # --- Who is there --------------------------------------------------------------------------------------

    async def _members(self, room_id: str) -> list[str]:
        """Return who reads what is written now: those who are in the room, and those who are invited."""
        answer = await self._talk.get(path("rooms", room_id, "members"))
        return sorted(
            {
                str(event.get("state_key"))
                for event in answer.get("chunk") or []
                if event.get("content", {}).get("membership") in ("join", "invite")
            }
        )

    async def _devices(self, user_ids: Sequence[str]) -> list[Device]:
        """Return people's devices, asked for where they may have changed."""
        lists, known = self._name("lists"), [self._user(user_id) for user_id in user_ids]
        gaps, *entries = await Sheet(self._drawer).entries([lists, *known])
        outdated = {
            user_id: [gaps.get("gaps", 0), entry.get("changes", 0)]
            for user_id, entry in zip(user_ids, entries, strict=True)
            if entry.get("as_of") != [gaps.get("gaps", 0), entry.get("changes", 0)]
        }
        if outdated:
            answer = await self._query(list(outdated))

            async def keep(sheet: Sheet) -> None:
                for user_id in answer.keys() & outdated.keys():
                    entry = await sheet.entry(self._user(user_id))
                    _keep_devices(entry, user_id, answer[user_id])
                    entry |= {"as_of": outdated[user_id], "changes": entry.get("changes", 0)}

            await change(self._drawer, keep)
            entries = await Sheet(self._drawer).entries(known)
        return [
            Device(user_id, device_id, *keys)
            for user_id, entry in zip(user_ids, entries, strict=True)
            for device_id, keys in sorted(entry.get("devices", {}).items())
        ]

    async def _query(self, user_ids: Sequence[str]) -> dict[str, JSON]:
        found: dict[str, JSON] = {}
        for begin in range(0, len(user_ids), _PER_REQUEST):
            asked: dict[str, list[str]] = {user_id: [] for user_id in user_ids[begin : begin + _PER_REQUEST]}
            answer = await self._talk.post(
                path("keys", "query"), {"device_keys": asked, "timeout": _QUERY_MS}
            )
            keys = answer.get("device_keys")
            for user_id, devices in (keys if isinstance(keys, dict) else {}).items():
                if user_id in asked and isinstance(devices, dict):
                    found[user_id] = devices
        return found

    # --- Names of entries ----------------------------------------------------------------------------------

    def _name(self, kind: str, *of: str) -> str:
        digest = hashlib.sha256("\n".join(of).encode("utf-8", "replace")).hexdigest()[:40] if of else ""
        return f"{self._mark}:{kind}:{digest}"

    def _peer(self, curve25519: str) -> str:
        return self._name("peer", curve25519)

    def _user(self, user_id: str) -> str:
        return self._name("user", user_id)

    def _out(self, room_id: str) -> str:
        return self._name("out", room_id)

    def _session(self, room_id: str, session_id: str) -> str:
        return self._name("in", room_id, session_id)


def _keep_devices(entry: JSON, user_id: str, answered: Mapping[str, Any]) -> None:
    """Keep somebody's devices. One that shows other keys than before is not it."""
    before = entry.get("devices", {})
    entry["devices"] = {}
    for device_id, value in answered.items():
        device = _device(user_id, device_id, value if isinstance(value, dict) else {})
        if device is None:
            continue
        known = before.get(device_id)
        if known is None or known[1] == device.ed25519:
            entry["devices"][device_id] = [device.curve25519, device.ed25519]
        else:
            entry["devices"][device_id] = known


def _device(user_id: str, device_id: str, value: Mapping[str, Any]) -> Device | None:
    """Return a device as its keys are signed by itself; None for one that is not, or cannot be written to."""
    keys, algorithms = value.get("keys"), value.get("algorithms")
    if not isinstance(keys, dict) or not isinstance(algorithms, list):
        return None
    curve25519, ed25519 = keys.get(f"curve25519:{device_id}"), keys.get(f"ed25519:{device_id}")
    is_sound = (
        isinstance(curve25519, str)
        and isinstance(ed25519, str)
        and {olm.OLM, olm.MEGOLM} <= {str(name) for name in algorithms}
        and (value.get("user_id"), value.get("device_id")) == (user_id, device_id)
        and olm.is_signed(value, user_id, device_id, ed25519)
    )
    return Device(user_id, device_id, str(curve25519), str(ed25519)) if is_sound else None


def _one_time_key(claimed: Any, device: Device) -> str | None:
    """Return the one-time key that was claimed of a device, if it is signed by it."""
    try:
        (value,) = claimed[device.user_id][device.device_id].values()
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    if not isinstance(value, dict) or not olm.is_signed(
        value, device.user_id, device.device_id, device.ed25519
    ):
        return None
    key = value.get("key")
    return key if isinstance(key, str) else None


def _rotation(rules: Mapping[str, Any]) -> Rotation:
    """Return when the room wants a new key; never later than usual."""
    usual = Rotation()
    messages, age_ms = rules.get("rotation_period_msgs"), rules.get("rotation_period_ms")
    return Rotation(
        min(messages, usual.messages) if isinstance(messages, int) and messages > 0 else usual.messages,
        min(age_ms / 1000, usual.age_s) if isinstance(age_ms, int) and age_ms > 0 else usual.age_s,
    )
