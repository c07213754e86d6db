"""A chat without an agent: an admin is asked which one answers there, and what was said is kept until then."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from conftest import Tenant, recorded
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.approvals.actions import all_tenants_expire_approvals, decide_approval
from services.domain.approvals.models import Approval
from services.domain.chats.models import Delivery, InboundMessage, Wiring
from services.domain.chats.registering import MAX_WAITING
from services.domain.contacts.models import LinkSender, PlatformAccount
from services.domain.errors import AgentMissing, ApprovalClosed, Invalid, NotTheDecider, RoleMissing
from services.domain.outbox.models import OutboxJob
from services.domain.ports.chat import ChatKind
from services.domain.questions.cards import list_approval_cards
from services.kit.clock import now
from tests.domain.chat_bot import Bot, bot_of

GROUP = ChatKind.GROUP


@pytest.fixture
def bot(acme: Tenant) -> Bot:
    return bot_of(acme, default_agent_id=None, unknown_senders="public")


def chooses(bot: Bot, agent_id: uuid.UUID | None = None, actor=None) -> None:
    choice = str(agent_id or bot.tenant.agent.id)
    decide_approval(actor or bot.tenant.owner, bot.question().id, "allow", choice=choice)
    bot.routes()


def test_a_chat_where_the_bot_is_spoken_to_is_asked_about_once(acme: Tenant, bot: Bot):
    with recorded() as seen:
        bot.hears("hello", "anybody?", kind=GROUP)
    assert bot.outcomes() == ["held: unknown_chat"] * 2
    approval = bot.question()
    assert Approval.objects.using("operator").count() == 1
    assert (approval.kind, approval.decider_role, approval.agent_id) == ("new_chat", "admin", None)
    assert approval.subject["text"] == "hello"
    assert [agent["name"] for agent in approval.subject["agents"]] == ["Shell"]
    assert "approval.requested" in seen.event_types
    (words,) = bot.said()
    assert "keep your message" in words


def test_where_it_is_not_spoken_to_nobody_is_asked(bot: Bot):
    bot.hears("among us", kind=GROUP, mention=False)
    bot.hears("beep", kind=GROUP, who="B1", is_bot=True)
    assert bot.outcomes() == ["no_wiring", "no_wiring"]
    assert (bot.question(), bot.said()) == (None, [])


def test_the_choice_wires_the_chat_and_replays_what_waits_in_order(acme: Tenant, bot: Bot):
    other = create_agent(acme.owner, AgentFields(name="Other"))
    bot.hears("first", "second", kind=GROUP)
    bot.hears("among us", kind=GROUP, mention=False)
    chooses(bot, other.id)
    assert bot.outcomes() == ["task:", "task:", "no_wiring"]
    assert bot.prompts() == ["first", "second"]
    wiring = Wiring.objects.using("operator").get()
    assert (wiring.agent_id, wiring.engage, wiring.session_mode) == (other.id, "mention", "per-thread")
    assert (bot.question().status, bot.question().choice) == ("allowed", str(other.id))
    bot.hears("third", kind=GROUP)
    assert bot.outcomes()[-1] == "task:"


def test_a_yes_needs_its_choice_and_only_admins_give_it(acme: Tenant, bot: Bot):
    bot.hears("hello")
    approval = bot.question()
    for choice in ("", "Shell"):
        with pytest.raises(Invalid):
            decide_approval(acme.owner, approval.id, "allow", choice=choice)
    with pytest.raises(AgentMissing):
        decide_approval(acme.owner, approval.id, "allow", choice=str(uuid.uuid4()))
    with pytest.raises((RoleMissing, NotTheDecider)):
        chooses(bot, actor=acme.people["bob"])
    assert bot.question().status == "pending"
    chooses(bot)
    chooses(bot)  # saying the same again is fine
    with pytest.raises(ApprovalClosed):
        decide_approval(acme.owner, approval.id, "deny")


def test_a_choice_where_there_is_nothing_to_choose_is_refused(acme: Tenant):
    bot = bot_of(acme)
    bot.hears("let me in")
    with pytest.raises(Invalid):
        decide_approval(acme.owner, bot.question().id, "allow", choice=str(acme.agent.id))


def test_a_refusal_is_remembered_told_and_may_become_a_yes(acme: Tenant, bot: Bot):
    bot.hears("hello", kind=GROUP)
    bot.decides("deny")
    bot.hears("hello again", kind=GROUP)
    bot.hears("and again", kind=GROUP)
    assert bot.outcomes() == [
        f"refused: unknown_chat {bot.question().id}".partition(" 0")[0],
        "refused: unknown_chat",
        "refused: unknown_chat",
    ]
    assert Approval.objects.using("operator").count() == 1
    assert sum("An admin has decided so" in words for words in bot.said()) == 2
    chooses(bot)
    assert bot.prompts() == ["hello"]
    bot.hears("now?", kind=GROUP)
    assert bot.outcomes()[-1] == "task:"


def test_a_question_that_nobody_answers_refuses_what_waits_and_is_asked_anew(bot: Bot):
    bot.hears("hello", kind=GROUP)
    Approval.objects.using("operator").update(expires_at=now() - timedelta(seconds=1))
    assert all_tenants_expire_approvals() == 1
    assert bot.outcomes() == ["refused: unknown_chat_expired"]
    assert "Nobody has decided in time" in bot.said()[-1]
    bot.hears("hello again", kind=GROUP)
    assert bot.outcomes()[-1] == "held: unknown_chat"
    assert Approval.objects.using("operator").count() == 2


def test_wiring_the_chat_by_hand_hears_what_waits_and_asks_nobody_any_more(acme: Tenant, bot: Bot):
    bot.hears("hello", kind=GROUP)
    bot.wires(engage="mention")
    bot.routes()
    assert bot.prompts() == ["hello"]
    assert (bot.question().status, bot.question().choice) == ("allowed", str(acme.agent.id))


def test_a_flood_waits_no_further(bot: Bot):
    bot.hears(*[f"message {number}" for number in range(MAX_WAITING + 2)], kind=GROUP)
    assert bot.outcomes()[-3:] == ["held: unknown_chat", *["refused: unknown_chat_flood"] * 2]
    assert len(bot.said()) == 1


def test_whom_the_gate_refuses_asks_nothing(bot: Bot):
    bot.becomes("strict")
    bot.hears("hello")
    assert bot.outcomes() == ["refused: unknown_sender_strict"]
    assert bot.question() is None


def test_in_a_direct_chat_the_choice_lets_its_person_in(bot: Bot):
    bot.becomes("request_approval")
    bot.hears("hello", who="7")
    chooses(bot)
    assert bot.outcomes() == ["task:"]
    assert LinkSender.objects.using("operator").get().standing == "allowed"
    assert Wiring.objects.using("operator").get().engage == "always"


def test_in_a_group_people_are_asked_about_one_by_one(bot: Bot):
    bot.becomes("request_approval")
    bot.hears("hello", kind=GROUP)
    chooses(bot)
    assert bot.outcomes() == ["held: unknown_sender"]
    bot.decides("allow")
    assert bot.prompts() == ["hello"]


def test_the_card_has_a_button_for_each_agent_and_says_which_was_chosen(acme: Tenant, bot: Bot):
    create_agent(acme.owner, AgentFields(name="Private", is_shared=False))
    bot.hears("hi", chat="1")
    own = InboundMessage.objects.using("operator").get()
    PlatformAccount.objects.using("operator").create(
        org_id=own.org_id,
        user_id=acme.owner.user_id,
        link_id=own.link_id,
        platform_user_id="1",
        chat_id=own.chat_id,
    )
    bot.hears("hello", kind=GROUP, chat="2")
    approval = bot.question()
    assert "approval.show" in OutboxJob.objects.using("operator").values_list("type", flat=True)
    (card,) = list_approval_cards(approval.org_id, approval.id)
    assert [choice.label for choice in card.choices] == ["Shell", "Deny"]
    assert card.choices[0].value == f"a:{approval.id.hex}:pick0"
    assert len(card.choices[0].value.encode()) <= 64
    chooses(bot)
    (card,) = list_approval_cards(approval.org_id, approval.id)
    assert "✅ Shell by" in card.closing


def test_what_waits_and_is_deleted_meanwhile_is_not_replayed(bot: Bot):
    bot.hears("oops", kind=GROUP)
    bot.sees_change("u1", None)
    chooses(bot)
    assert bot.outcomes() == ["deleted"]
    assert Delivery.objects.using("operator").count() == 1
