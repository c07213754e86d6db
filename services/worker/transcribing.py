"""Putting voice messages into text by the rules of every model call: policy, keys in their order, retries, budgets.

The gateway's proxy is not asked: it knows callers by their sandbox's socket and their task's token, and here is no task
yet, for what is said decides what becomes one. What both must do alike is the domain's: rules, plan, reserve, settle.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from dataclasses import dataclass

from services.adapters.models.transcribing import Recording, Transcription, call_for, transcribe
from services.adapters.models.wire import BrokenOff, NotSent
from services.adapters.upstreams.network import Network
from services.domain.errors import BudgetExceeded
from services.domain.llm.attempts import REFUSES_KEY, Plan, may_follow
from services.domain.llm.keys import note_refused
from services.domain.llm.models import LlmVendor
from services.domain.llm.rates import Tokens
from services.domain.llm.rules import Rules, load_rules
from services.domain.llm.sound import most_of_sound, used_of_sound
from services.domain.llm.spending import Charged, Reserved, RulesChanged, reserve, settle
from services.domain.llm.transcribing import Transcriber, note_transcribed, transcriber_of
from services.kit.clock import now
from services.kit.environment import environment

log = logging.getLogger(__name__)

KIND = "transcription"
DEADLINE_S = 40.0
"""All tries together, so that they end before somebody else may fetch the file."""
_MOST_RENEWALS = 5
_NOTHING = Tokens()
_FAILED = "it was not transcribed, because the transcriber failed"


@dataclass(frozen=True, slots=True)
class Heard:
    """What is said in a recording, or why that is not known, in words for the agent."""

    text: str = ""
    note: str = ""


def hear(org_id: uuid.UUID, charged: Charged, recording: Recording) -> Heard:
    """Have a recording transcribed; a budget that is spent, or a server that fails, is told in the note."""
    until = time.monotonic() + DEADLINE_S
    for _ in range(_MOST_RENEWALS):
        try:
            return _Hearing(org_id, load_rules(org_id), charged, recording, until).run()
        except RulesChanged:
            continue
        except BudgetExceeded as error:
            return Heard(note=_no_money(error))
    return Heard(note="it was not transcribed, because the rules for models were changing")


@dataclass(frozen=True, slots=True)
class _Hearing:
    """One recording and the rules that it is judged by."""

    org_id: uuid.UUID
    rules: Rules
    charged: Charged
    recording: Recording
    until: float

    def run(self) -> Heard:
        """Ask one candidate after the other. Raises: RulesChanged, BudgetExceeded."""
        model = self.rules.transcriber
        if not model:
            return Heard(note="it was not transcribed, because no transcriber is set up")
        # The organisation chose the transcriber; an agent's list is for what the agent itself asks.
        if not self.rules.allows(model, None):
            return Heard(note=f"it was not transcribed, because the model {model} is not allowed")
        plan = Plan.of(self.rules, self.rules.models_for(model, None), LlmVendor.OPENAI)
        note = "it was not transcribed, because there is no key for the transcriber"
        env = environment()
        for candidate in plan:
            one = transcriber_of(candidate, env.openai_base_url, env.openai_api_key)
            if one is None:
                plan.skip()
                continue
            found, status = self._ask(one)
            if found is not None and found.said is not None:
                return Heard(found.said, "" if found.said else "nothing was heard in it")
            note = _FAILED
            if status and not may_follow(status):
                break
            delay = plan.fail(status, found.headers if found is not None else {})
            if delay is None or time.monotonic() + delay >= self.until:
                break
            time.sleep(delay)
        return Heard(note=note)

    def _ask(self, one: Transcriber) -> tuple[Transcription | None, int]:
        """Make one paid try; returns the answer, if there is one, and its status, 0 for none.

        Raises: RulesChanged, BudgetExceeded.
        """
        reserved = self._reserve(one)
        used: Tokens | None = None
        try:
            note_transcribed(self.org_id, one)
            found = asyncio.run(self._send(one))
            used = used_of_sound(one.model, found.answer) if found.status == 200 else _NOTHING
        except NotSent as error:
            used = _NOTHING
            log.warning("the transcriber was not reached: %s", error)
            return None, 0
        except (BrokenOff, TimeoutError) as error:
            # It may have been worked on.
            log.warning("the transcriber did not answer: %s", type(error).__name__)
            return None, 0
        finally:
            settle(reserved, used)
        if found.status == REFUSES_KEY and one.llm_key_id is not None:
            note_refused(self.org_id, one.llm_key_id)
        if found.said is None:
            log.warning("the transcriber answers with %s and no words", found.status)
        return found, found.status

    def _reserve(self, one: Transcriber) -> Reserved:
        return reserve(
            self.org_id,
            None,
            kind=KIND,
            model=one.model,
            most=most_of_sound(one.model, len(self.recording.data)),
            price=self.rules.prices.price_of(one.model, now()),
            llm_key_id=one.llm_key_id,
            versions=self.rules.versions,
            charged=self.charged,
        )

    async def _send(self, one: Transcriber) -> Transcription:
        call = call_for(one.base_url, one.key, one.model, self.recording, is_checked=one.is_checked)
        async with asyncio.timeout(max(0.1, self.until - time.monotonic())):
            return await transcribe(call, Network(internal_hosts=environment().internal_hosts()))


def _no_money(error: BudgetExceeded) -> str:
    level, period = error.details.get("level"), error.details.get("period")
    name = f"the budget of the {level}" + (f" for the {period}" if period else "")
    renews_at = error.details.get("renews_at")
    until = f" until {renews_at}" if renews_at else ""
    return f"it was not transcribed, because {name} has no room for it{until}"
