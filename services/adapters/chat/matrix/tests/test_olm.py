"""What is not genuine is not read: forged, repeated, moved or of somebody else's key."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from vodozemac import MegolmDecryptionException

from services.adapters.chat.matrix import olm
from services.adapters.chat.matrix.olm import JSON, Device, Rotation

ALICE, BOT, ROOM = "@alice:local", "@slipway:local", "!room:local"


class Party:
    """Somebody with one device."""

    def __init__(self, user_id: str) -> None:
        self.account: JSON = {}
        self.peer: JSON = {}
        olm.make_account(self.account, user_id, "DEVICE")
        own = olm.own_device(self.account)
        self.device = Device(own.user_id, own.device_id, own.curve25519, own.ed25519)

    def one_time_key(self) -> str:
        """Return a key that another party begins a session by."""
        olm.prepare_keys(self.account, 1)
        (key,) = olm.keys_to_upload(self.account)["one_time_keys"].values()
        assert olm.is_signed(key, self.device.user_id, self.device.device_id, self.device.ed25519)
        return str(key["key"])

    def write(self, other: Party, kind: str, content: JSON) -> JSON:
        """Return an event for another party's device."""
        if not olm.has_session(self.peer):
            olm.begin_session(self.account, self.peer, other.device, other.one_time_key())
        sealed = olm.encrypt_to_device(self.account, self.peer, other.device, kind, content)
        return {"type": "m.room.encrypted", "sender": self.device.user_id, "content": sealed}


@pytest.fixture
def alice() -> Party:
    return Party(ALICE)


@pytest.fixture
def bot() -> Party:
    return Party(BOT)


def said(party: Party, outbound: JSON, text: str, event_id: str = "$1", room_id: str = ROOM) -> JSON:
    """Return an event of a room."""
    content = {"msgtype": "m.text", "body": text}
    sealed = olm.encrypt_in_room(party.account, outbound, room_id, "m.room.message", content)
    return {"event_id": event_id, "sender": party.device.user_id, "content": sealed}


def handed_out(outbound: JSON, other: Party) -> JSON:
    """Return the content in which another party is given the room's key."""
    key = olm.room_key(outbound, [other.device], Rotation())
    ((_, session_key),) = key.missing
    return {
        "algorithm": olm.MEGOLM,
        "room_id": ROOM,
        "session_id": key.session_id,
        "session_key": session_key,
    }


def known_to(bot: Party, content: Mapping[str, Any]) -> JSON:
    known: JSON = {}
    assert olm.take_room_key(known, ALICE, "key of alice", content)
    return known


def test_what_one_device_writes_to_another_is_read_once_and_by_it_alone(alice: Party, bot: Party) -> None:
    first = alice.write(bot, "m.dummy", {"n": 1})
    others = Party("@mallory:local")
    assert olm.decrypt_from_device(others.account, {}, first) is None
    payload = olm.decrypt_from_device(bot.account, bot.peer, first)
    assert payload is not None
    assert (payload["sender"], payload["content"]) == (ALICE, {"n": 1})
    assert olm.decrypt_from_device(bot.account, bot.peer, first) is None
    second = olm.decrypt_from_device(alice.account, alice.peer, bot.write(alice, "m.dummy", {"n": 2}))
    assert second is not None
    assert second["content"] == {"n": 2}


def test_a_letter_under_anothers_name_is_not_read(alice: Party, bot: Party) -> None:
    event = alice.write(bot, "m.dummy", {}) | {"sender": "@mallory:local"}
    assert olm.decrypt_from_device(bot.account, bot.peer, event) is None


@pytest.mark.parametrize(
    "content", [{}, {"ciphertext": "x", "sender_key": 1}, {"ciphertext": {}, "sender_key": "x"}]
)
def test_a_letter_without_sense_is_not_read(bot: Party, content: JSON) -> None:
    assert olm.decrypt_from_device(bot.account, bot.peer, {"sender": ALICE, "content": content}) is None


def test_what_is_said_in_a_room_is_read_by_who_has_its_key_also_again_as_the_same(
    alice: Party, bot: Party
) -> None:
    outbound: JSON = {}
    known = known_to(bot, handed_out(outbound, bot))
    event = said(alice, outbound, "hello")
    assert olm.decrypt_in_room({}, ROOM, event) is None
    for _ in range(2):
        clear = olm.decrypt_in_room(known, ROOM, event)
        assert clear is not None
        assert (clear["type"], clear["content"]["body"]) == ("m.room.message", "hello")


def test_an_old_message_as_a_new_one_in_another_room_or_of_another_sender_is_not_genuine(
    alice: Party, bot: Party
) -> None:
    outbound: JSON = {}
    known = known_to(bot, handed_out(outbound, bot))
    event = said(alice, outbound, "hello")
    olm.decrypt_in_room(known, ROOM, event)
    for changed in ({"event_id": "$2"}, {"sender": "@mallory:local"}):
        with pytest.raises(ValueError, match=r"again|somebody else"):
            olm.decrypt_in_room(known, ROOM, event | changed)
    with pytest.raises(ValueError, match="another room"):
        olm.decrypt_in_room(known, "!other:local", said(alice, outbound, "hello", "$3"))
    broken = copy.deepcopy(said(alice, outbound, "hello", "$4"))
    broken["content"]["ciphertext"] = broken["content"]["ciphertext"][:-4] + "AAAA"
    with pytest.raises(MegolmDecryptionException):
        olm.decrypt_in_room(known, ROOM, broken)


def test_nobody_replaces_the_key_of_somebody_elses_session(alice: Party, bot: Party) -> None:
    content = handed_out({}, bot)
    known = known_to(bot, content)
    before = dict(known)
    assert not olm.take_room_key(known, "@mallory:local", "key of mallory", content)
    assert not olm.take_room_key({}, ALICE, "key of alice", content | {"session_id": "another"})
    assert not olm.take_room_key({}, ALICE, "key of alice", {"session_key": "x"})
    assert known == before


def test_a_device_is_offered_the_same_key_until_it_has_it_and_later_ones_read_no_further_back(
    alice: Party, bot: Party
) -> None:
    outbound: JSON = {}
    first = olm.room_key(outbound, [bot.device], Rotation())
    said(alice, outbound, "one")
    assert olm.room_key(outbound, [bot.device], Rotation()) == first
    olm.note_shared(outbound, first.session_id, [bot.device.curve25519])
    late = Party("@late:local")
    second = olm.room_key(outbound, [bot.device, late.device], Rotation())
    assert second.session_id == first.session_id
    assert [device for device, _ in second.missing] == [late.device]
    known: JSON = {}
    olm.take_room_key(
        known,
        ALICE,
        "key of alice",
        {"algorithm": olm.MEGOLM, "session_id": second.session_id, "session_key": second.missing[0][1]},
    )
    assert known["first"] == 1


def test_a_rooms_key_is_a_new_one_when_it_has_served_or_somebody_is_gone(alice: Party, bot: Party) -> None:
    outbound: JSON = {}
    first = olm.room_key(outbound, [bot.device], Rotation(messages=2))
    said(alice, outbound, "one")
    assert olm.room_key(outbound, [bot.device], Rotation(messages=2)).session_id == first.session_id
    said(alice, outbound, "two")
    second = olm.room_key(outbound, [bot.device], Rotation(messages=2))
    assert second.session_id != first.session_id
    assert olm.room_key(outbound, [], Rotation()).session_id != second.session_id
