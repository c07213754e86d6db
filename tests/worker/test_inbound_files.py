"""Files that people send: fetched from both platforms, kept, read, told of, and put into the workspace."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from PIL import Image
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.domain.agents.actions import AgentFields, create_agent
from services.domain.chats.inbound import all_tenants_find_link
from services.domain.chats.models import InboundMessage
from services.domain.chats.wirings import WiringFields, create_wiring
from services.domain.identity.models import Organisation
from services.domain.llm.actions import update_policy
from services.domain.llm.budgets import BudgetFields, put_budget, state_of
from services.domain.llm.keys import NewKey, create_key
from services.domain.llm.models import KeyStatus, LlmKey, LlmVendor
from services.domain.media import offering
from services.domain.media.models import FileState, InboundFile, InboxFile
from services.domain.metering.queries import get_usage
from services.domain.tasks.models import Task, UsageRecord
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.models import CredentialAccess
from services.kit.clock import now
from services.kit.environment import environment
from services.worker.jobs import inbound_files
from services.worker.jobs.volumes import storage
from services.worker.sweeps import sweep_files
from tests.fakes.chat_places import ChatPlace, SlackPlace, TelegramPlace, chat_place, drain
from tests.fakes.serving import Fault, LocalServer

JOBS = ("message.route", "file.fetch")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Iterator[None]:
    """Keep objects in a folder of the test's own."""
    monkeypatch.setattr(environment(), "storage_dir", tmp_path / "objects")
    storage.cache_clear()
    yield
    storage.cache_clear()


@pytest.fixture(params=["telegram", "slack"])
def place(request, acme, monkeypatch) -> Iterator[ChatPlace]:
    with chat_place(request.param, acme, monkeypatch) as running:
        fields = WiringFields(chat_id=running.chat.id, agent_id=acme.agent.id, engage="always")
        create_wiring(acme.owner, fields)
        yield running


@pytest.fixture
def telegram(acme, monkeypatch) -> Iterator[TelegramPlace]:
    with chat_place("telegram", acme, monkeypatch) as running:
        assert isinstance(running, TelegramPlace)
        create_wiring(
            acme.owner, WiringFields(chat_id=running.chat.id, agent_id=acme.agent.id, engage="always")
        )
        yield running


def receive(place: ChatPlace, text: str, *files: tuple[str, bytes, str], **fields: Any) -> None:
    """Let somebody send a message with files, as its platform does."""
    from services.api.hooks.receive import receive_update
    from services.domain.ports.chat import HookRequest

    if isinstance(place, TelegramPlace):
        update = place.write(text)
        if files:
            media = _telegram_media(place, *files[0])
            update = place.server.message(int(place.chat_id), "", **{**media, "caption": text, **fields})
            del update["message"]["text"]
        body = json.dumps(update).encode()
    else:
        shared = [place.server.extras.share(name, data, kind, **fields) for name, data, kind in files]
        event = place.server.message(
            place.chat_id,
            text,
            thread_ts=place.thread_id,
            **({"files": shared, "subtype": "file_share"} if files else {}),
        )
        body = json.dumps(event).encode()
    request = HookRequest("POST", place.signed(body), {}, body, now())
    assert receive_update(place.kind, place.link.id, request).status == 200


def _telegram_media(place: TelegramPlace, name: str, data: bytes, kind: str) -> dict[str, Any]:
    file = {
        "file_id": place.server.extras.upload(data),
        "file_unique_id": "u",
        "file_size": len(data),
        "mime_type": kind,
    }
    if kind.startswith("audio/ogg"):
        return {"voice": file | {"duration": 3}}
    if kind == "image/jpeg":
        small = {"file_id": "no such file", "file_unique_id": "s", "width": 90, "height": 9, "file_size": 1}
        return {"photo": [small, file | {"width": 3000, "height": 300}]}
    return {"document": file | {"file_name": name}}


def prompts(place: ChatPlace) -> list[str]:
    return list(Task.objects.using("operator").order_by("id").values_list("prompt", flat=True))


def files_of(place: ChatPlace) -> list[InboundFile]:
    return list(InboundFile.objects.using("operator").select_related("message").order_by("id"))


def content(key: str) -> bytes:
    with storage().open(key) as stream:
        return stream.read()


def test_a_file_is_kept_and_told_of_by_what_its_bytes_say(place):
    receive(place, "read this", ("täble (1).csv", b"a,b\n1,2\n", "application/pdf"))
    drain(*JOBS)
    (file,) = files_of(place)
    assert (file.state, file.content_type, file.size_bytes) == (FileState.KEPT, "text/csv", 8)
    assert content(file.key) == b"a,b\n1,2\n"
    (prompt,) = prompts(place)
    assert "read this" in prompt
    assert f"[File täble (1).csv: text/csv, 8 bytes, at {file.path}]" in prompt
    (row,) = InboxFile.objects.using("operator").all()
    assert (row.file_id, row.placed_at) == (file.id, None)


def test_a_photo_comes_as_the_largest_there_is_and_is_made_smaller(place):
    out = io.BytesIO()
    Image.new("RGB", (3000, 300), "red").save(out, "JPEG")
    receive(place, "our roof", ("roof.jpg", out.getvalue(), "image/jpeg"))
    drain(*JOBS)
    (file,) = files_of(place)
    with Image.open(io.BytesIO(content(file.key))) as kept:
        assert kept.size == (2048, 205)
    assert "Made smaller, from 3000 × 300 to 2048 × 205 pixels.]" in prompts(place)[0]


def test_a_file_that_is_too_large_is_told_with_its_reason(place, acme):
    Organisation.objects.using("operator").update(max_inbound_file_bytes=1_000)
    receive(place, "", ("big.bin", b"\x00" * 1_001, "application/octet-stream"))
    drain(*JOBS)
    (file,) = files_of(place)
    assert file.state == FileState.FAILED
    assert place.server.calls.all() == [] or all(
        call["method"] not in ("getfile", "files.info") for call in place.server.calls.all()
    )
    assert "[File big.bin: not here: it has 1,001 bytes, and at most 1,000 are taken]" in prompts(place)[0]


def test_a_file_larger_than_its_platform_said_is_cut_off(place, monkeypatch):
    monkeypatch.setattr(environment(), "max_inbound_file_bytes", 1_000)
    receive(place, "", ("big.bin", b"\x00" * 1_001, "application/octet-stream"), **_unsaid(place))
    drain(*JOBS)
    (file,) = files_of(place)
    assert (file.state, file.error) == (FileState.FAILED, "it is larger than the 1,000 bytes that are taken")


def _unsaid(place: ChatPlace) -> dict[str, Any]:
    """Let the platform say another size than the true one."""
    if isinstance(place, SlackPlace):
        return {"size": 10}
    file = {
        "file_id": place.server.extras.upload(b"\x00" * 1_001),
        "file_unique_id": "u",
        "file_name": "big.bin",
    }
    return {"document": file}


def test_a_platform_that_is_away_is_asked_again_and_the_message_waits(place):
    place.server.faults.plan(Fault("error", method="download"))
    receive(place, "first", ("a.txt", b"hello", "text/plain"))
    receive(place, "second")
    drain(*JOBS)
    assert prompts(place) == []
    rows = InboundMessage.objects.using("operator").order_by("id")
    assert [row.outcome for row in rows] == [offering.AWAITING, ""]
    (file,) = files_of(place)
    assert (file.state, file.attempts) == (FileState.AWAITED, 1)
    InboundFile.objects.using("operator").update(next_attempt_at=now())
    sweep_files()
    drain(*JOBS)
    first, second = prompts(place)
    assert "a.txt: text/plain, 5 bytes" in first
    assert "second" in second


def test_a_file_that_never_comes_is_given_up_and_its_message_goes_on(place):
    place.server.faults.plan(Fault("error", count=99, method="download"))
    receive(place, "look", ("a.txt", b"hello", "text/plain"))
    drain(*JOBS)
    past = now() - timedelta(seconds=1)
    InboundFile.objects.using("operator").update(next_attempt_at=past, give_up_at=past)
    sweep_files()
    drain(*JOBS)
    (file,) = files_of(place)
    assert file.state == FileState.FAILED
    assert "[File a.txt: not here:" in prompts(place)[0]


def test_a_file_that_nobody_reads_is_not_fetched_until_somebody_asks(acme, monkeypatch):
    with chat_place("slack", acme, monkeypatch) as place:
        create_wiring(
            acme.owner, WiringFields(chat_id=place.chat.id, agent_id=acme.agent.id, engage="mention")
        )
        receive(place, "for later", ("plan.txt", b"the plan", "text/plain"))
        drain(*JOBS)
        assert [file.state for file in files_of(place)] == [FileState.OFFERED]
        assert place.server.calls.all() == []
        receive(place, "<@U0001SLIP> what is the plan?")
        drain(*JOBS)
        (prompt,) = prompts(place)
        assert prompt.index("plan.txt: text/plain, 8 bytes") < prompt.index("what is the plan?")
        assert InboxFile.objects.using("operator").count() == 1


def test_a_slack_file_elsewhere_is_not_fetched_with_the_token(acme, monkeypatch):
    with chat_place("slack", acme, monkeypatch) as place:
        create_wiring(
            acme.owner, WiringFields(chat_id=place.chat.id, agent_id=acme.agent.id, engage="always")
        )
        url = "http://127.0.0.1:9/steal"
        receive(place, "", ("a.txt", b"x", "text/plain"), url_private=url)
        drain(*JOBS)
        assert files_of(place)[0].error == "The file lies outside of Slack, and is not fetched from there"


def test_an_app_that_may_not_read_files_says_so(acme, monkeypatch):
    with chat_place("slack", acme, monkeypatch) as place:
        create_wiring(
            acme.owner, WiringFields(chat_id=place.chat.id, agent_id=acme.agent.id, engage="always")
        )
        receive(place, "", ("a.txt", b"x", "text/plain"))
        place.server.tokens = []
        monkeypatch.setattr(type(place.server), "_check_token", lambda self, token: None)
        drain(*JOBS)
        assert "files:read" in files_of(place)[0].error


def test_voice_without_a_transcriber_says_that_it_was_not_transcribed(telegram):
    receive(telegram, "", ("voice.ogg", b"OggS" + b"\x00" * 60, "audio/ogg"))
    drain(*JOBS)
    assert "It was not transcribed, because no transcriber is set up.]" in prompts(telegram)[0]


class Transcriber:
    """A strict server of transcriptions, as the OpenAI API has them."""

    def __init__(self) -> None:
        self.status = 200
        self.statuses: list[int] = []
        self.usage: dict[str, Any] | None = {"type": "duration", "seconds": 3}
        self.seen: list[dict[str, Any]] = []
        self.app = Starlette(routes=[Route("/v1/audio/transcriptions", self._answer, methods=["POST"])])

    async def _answer(self, request: Request) -> Response:
        if request.headers.get("authorization") != "Bearer sk-own-key-of-acme":
            return JSONResponse({"error": {}}, status_code=401)
        async with request.form() as form:
            file, model = form.get("file"), form.get("model")
            if not model or file is None or isinstance(file, str):
                return JSONResponse({"error": {}}, status_code=400)
            self.seen.append({"model": model, "name": file.filename, "data": await file.read()})
        answer: dict[str, Any] = {"text": " Please call me back. "}
        if self.usage is not None:
            answer["usage"] = self.usage
        return JSONResponse(answer, status_code=self.statuses.pop(0) if self.statuses else self.status)


@pytest.fixture
def transcriber(acme, monkeypatch) -> Iterator[Transcriber]:
    fake = Transcriber()
    with LocalServer(fake.app) as server:
        monkeypatch.setattr(environment(), "upstream_internal_hosts", "127.0.0.1")
        key = NewKey(
            name="ours",
            vendor=LlmVendor.OPENAI,
            key=SecretStr("sk-own-key-of-acme"),
            base_url=server.url,
        )
        create_key(acme.owner, key, KeyStatus.OK)
        update_policy(acme.owner, {"transcriber": "whisper-1"})
        yield fake


def test_voice_is_transcribed_with_the_organisations_key(telegram, transcriber):
    voice = b"OggS" + b"\x00" * 60
    receive(telegram, "", ("voice.ogg", voice, "audio/ogg"))
    drain(*JOBS)
    assert transcriber.seen == [{"model": "whisper-1", "name": "voice.ogg", "data": voice}]
    (prompt,) = prompts(telegram)
    assert "[What is said in voice.ogg: Please call me back.]" in prompt
    (file,) = files_of(telegram)
    assert content(file.text_key) == b"Please call me back."
    used = CredentialAccess.objects.using("operator").get()
    assert (used.credential_name, used.path) == ("ours", "/v1/audio/transcriptions")


def voice_of(seconds: int) -> bytes:
    """Return a recording that may be as long as this, at the thinnest."""
    return b"OggS" + b"\x00" * (590 * seconds - 4)


def records() -> list[UsageRecord]:
    return list(UsageRecord.objects.using("operator").order_by("id"))


def test_a_voice_message_is_paid_for_by_its_agent_and_counted_for_its_chat(telegram, transcriber, acme):
    budget = put_budget(
        acme.owner, BudgetFields(level="agent", period="day", subject_id=acme.agent.id, limit_microusd=10_000)
    )
    receive(telegram, "", ("voice.ogg", voice_of(60), "audio/ogg"))
    drain(*JOBS)
    (record,) = records()
    # A minute may be said in it: 60 seconds at $100 per million. It was three.
    assert (record.reserved_microusd, record.cost_microusd, record.input_tokens) == (6_000, 300, 3)
    assert (record.kind, record.model, record.task_id) == ("transcription", "whisper-1", None)
    assert (record.agent_id, record.chat_id) == (acme.agent.id, telegram.chat.id)
    key = LlmKey.objects.using("operator").get()
    assert record.llm_key_id == key.id
    with tenant_transaction(acme.organisation.id):
        state = state_of(budget)
        assert (state.spent_microusd, state.reserved_microusd) == (300, 0)
        hour = timedelta(hours=1)
        for group, name in (("agent", acme.agent.id), ("chat", telegram.chat.id)):
            report = get_usage(acme.owner, since=now() - hour, until=now() + hour, group_by=group)
            assert [(key, used.cost_microusd) for key, used in report.groups] == [(str(name), 300)]


def test_a_budget_set_later_counts_what_voice_has_cost(telegram, transcriber, acme):
    receive(telegram, "", ("voice.ogg", voice_of(1), "audio/ogg"))
    drain(*JOBS)
    budget = put_budget(
        acme.owner, BudgetFields(level="agent", period="month", subject_id=acme.agent.id, limit_microusd=1)
    )
    with tenant_transaction(acme.organisation.id):
        assert state_of(budget).spent_microusd == 300


@pytest.mark.parametrize("level", ["organisation", "agent"])
def test_a_spent_budget_lets_no_voice_be_transcribed_and_says_why(telegram, transcriber, acme, level):
    subject = {"subject_id": acme.agent.id} if level == "agent" else {}
    put_budget(acme.owner, BudgetFields(level=level, period="day", limit_microusd=5_999, **subject))
    receive(telegram, "", ("voice.ogg", voice_of(60), "audio/ogg"))
    drain(*JOBS)
    assert (transcriber.seen, records()) == ([], [])
    (prompt,) = prompts(telegram)
    assert "[Voice message voice.ogg: audio/ogg, 35.4 kB, at inbox/" in prompt
    assert (
        f"It was not transcribed, because the budget of the {level} for the day has no room for it until"
        in prompt
    )


def test_a_server_that_does_not_say_what_it_used_costs_the_whole_estimate(telegram, transcriber):
    transcriber.usage = None
    receive(telegram, "", ("voice.ogg", voice_of(60), "audio/ogg"))
    drain(*JOBS)
    (record,) = records()
    assert record.cost_microusd == record.reserved_microusd == 6_000


def test_a_transcriber_that_stumbles_is_asked_again_as_often_as_the_rules_say(telegram, transcriber, acme):
    update_policy(acme.owner, {"retries": 1})
    transcriber.statuses = [503]
    receive(telegram, "", ("voice.ogg", voice_of(1), "audio/ogg"))
    drain(*JOBS)
    assert "[What is said in voice.ogg: Please call me back.]" in prompts(telegram)[0]
    assert [record.cost_microusd for record in records()] == [0, 300]


def test_a_refused_key_is_taken_out_of_use_and_the_next_one_asked(telegram, transcriber, acme):
    ours = LlmKey.objects.using("operator").get()
    bad = NewKey(
        name="old",
        vendor=LlmVendor.OPENAI,
        key=SecretStr("sk-revoked-key"),
        base_url=ours.base_url,
        priority=1,
    )
    create_key(acme.owner, bad, KeyStatus.OK)
    receive(telegram, "", ("voice.ogg", voice_of(1), "audio/ogg"))
    drain(*JOBS)
    assert "[What is said in voice.ogg: Please call me back.]" in prompts(telegram)[0]
    statuses = LlmKey.objects.using("operator").order_by("priority").values_list("name", "status")
    assert list(statuses) == [("old", KeyStatus.REFUSED), ("ours", KeyStatus.OK)]


def test_a_transcriber_that_fails_does_not_keep_the_message(telegram, transcriber):
    transcriber.status = 500
    receive(telegram, "", ("voice.ogg", b"OggS" + b"\x00" * 60, "audio/ogg"))
    drain(*JOBS)
    assert "It was not transcribed, because the transcriber failed.]" in prompts(telegram)[0]
    assert [record.cost_microusd for record in records()] == [0]


def test_the_same_update_again_brings_no_second_file(place):
    handle = all_tenants_find_link(place.link.id, place.kind)
    assert handle is not None
    receive(place, "x", ("a.txt", b"hello", "text/plain"))
    drain(*JOBS)
    (file,) = files_of(place)
    inbound_files.fetch_file(inbound_files.FetchFile(org_id=file.org_id, file_id=file.id))
    assert len(files_of(place)) == 1
    assert len(prompts(place)) == 1


def test_another_tenant_sees_no_file(place, globex):
    receive(place, "x", ("a.txt", b"hello", "text/plain"))
    drain(*JOBS)
    with tenant_transaction(globex.organisation.id):
        assert not InboundFile.objects.exists()
        assert not InboxFile.objects.exists()


def test_old_bytes_are_removed_and_new_ones_stay(place, monkeypatch):
    receive(place, "x", ("a.txt", b"hello", "text/plain"))
    drain(*JOBS)
    (file,) = files_of(place)
    storage().put("incoming/20200101/x/y", io.BytesIO(b"old"))
    inbound_files.forget_old_files()
    assert list(storage().list("incoming/")) == [file.key]


def test_two_agents_that_answer_both_get_the_file(place, acme):
    other = create_agent(acme.owner, AgentFields(name="Second"))
    create_wiring(acme.owner, WiringFields(chat_id=place.chat.id, agent_id=other.id, engage="always"))
    receive(place, "x", ("a.txt", b"hello", "text/plain"))
    drain(*JOBS)
    assert InboxFile.objects.using("operator").count() == len(prompts(place)) == 2
