"""Brokered secrets of one sandbox: which of a request's placeholders get their value, whether, and what was used."""

from __future__ import annotations

import asyncio
import dataclasses
import time
import uuid
from dataclasses import dataclass, field

from services.domain.egress.policy import Policy
from services.domain.vault.bindings import Binding
from services.domain.vault.brokered import (
    ASKED,
    Credential,
    CredentialRefused,
    FindStanding,
    Opened,
    OpenForUse,
    Use,
    find_standing,
    open_for_use,
)
from services.domain.vault.models import SecretApproval
from services.kit.clock import now
from services.mcp_gateway.access_log import ACCESS_LOG, AccessLog
from services.mcp_gateway.egress.failures import (
    CREDENTIAL_ELSEWHERE,
    CREDENTIAL_NEEDS_TLS,
    CREDENTIAL_PATH,
    Refused,
)
from services.mcp_gateway.egress.injection import (
    Filling,
    Headers,
    find_stray,
    inject,
    is_below,
    is_wanted,
    made_safe,
    path_of,
)
from services.mcp_gateway.egress.scrub import Scrubber
from services.mcp_gateway.threads import run_in_thread

FRESH_S = 1.0
HELD_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Vault:
    """What the proxy asks the vault for; tests put their own in place."""

    find_standing: FindStanding = find_standing
    open: OpenForUse = open_for_use
    accesses: AccessLog = ACCESS_LOG


@dataclass(frozen=True, slots=True)
class Plan:
    """What one request is to get: each credential with the bindings that matched, and the use that it is."""

    uses: tuple[tuple[Credential, Use], ...] = ()
    is_bound: bool = False


@dataclass(frozen=True, slots=True)
class Filled:
    """A request with its values, and what to blot out of its answer; None when there is nothing to look for."""

    headers: Headers = field(repr=False)
    target: bytes = field(repr=False)
    scrubber: Scrubber | None


class Broker:
    """One for each sandbox. It holds values for a moment, and those used in a task for as long as that is at work."""

    def __init__(self, vault: Vault, *, hold_s: float, look_s: float) -> None:
        self._vault = vault
        self._hold_s = hold_s
        self._look_s = look_s
        self._held = 0
        self._task_id: uuid.UUID | None = None
        self._opened: dict[uuid.UUID, tuple[Opened, float]] = {}
        self._used: dict[uuid.UUID, set[str]] = {}

    def plan(
        self,
        policy: Policy,
        place: tuple[str, int],
        method: str,
        headers: Headers,
        target: bytes,
        *,
        is_tls: bool,
    ) -> Plan:
        """Say what a request gets. A placeholder that stands where it is not bound is refused. Raises: Refused."""
        placeholders = [credential.placeholder.encode() for credential in policy.credentials]
        if not placeholders or policy.task_id is None:
            return Plan()
        if not is_tls:
            if find_stray(headers, target, placeholders):
                raise Refused(CREDENTIAL_NEEDS_TLS)
            return Plan()
        path = path_of(target)
        uses: list[tuple[Credential, Use]] = []
        fillings: list[Filling] = []
        is_bound = has_unclear_path = False
        for credential in policy.credentials:
            here = [binding for binding in credential.bindings if binding.is_at(*place)]
            is_bound = is_bound or bool(here)
            matched: list[Binding] = []
            for binding in here:
                if not binding.allows(method):
                    continue
                if not is_below(path, binding.path):
                    has_unclear_path = True
                elif is_wanted(binding, credential.placeholder.encode(), headers, target):
                    matched.append(binding)
            if matched:
                fillings += [Filling(binding, credential.placeholder.encode(), b"") for binding in matched]
                use = Use(
                    policy.org_id, policy.task_id, credential.secret_id, tuple(matched),
                    place[0], method, path.decode("ascii", "replace"),
                )  # fmt: skip
                uses.append((credential, use))
        if find_stray(*inject(headers, target, fillings), placeholders):
            raise Refused(CREDENTIAL_PATH if has_unclear_path else CREDENTIAL_ELSEWHERE)
        return Plan(tuple(uses), is_bound)

    async def wait(self, plan: Plan) -> None:
        """Hold a request for a bounded time while somebody has to allow it. Raises: Refused."""
        for credential, use in plan.uses:
            if credential.approval != SecretApproval.NEVER:
                await self._wait_for(use)

    async def fill(self, policy: Policy, plan: Plan, headers: Headers, target: bytes) -> Filled:
        """Open what a request gets, and put it in its place. Raises: Refused."""
        self._begin(policy)
        fillings = []
        for credential, use in plan.uses:
            opened = await self._open(credential, use)
            self._used.setdefault(credential.secret_id, set()).add(opened.value)
            for binding in use.bindings:
                fillings.append(Filling(binding, credential.placeholder.encode(), opened.value.encode()))
        if not plan.is_bound or not self._used:
            return Filled(headers, target, None)
        # Also an answer to a request without a value may repeat what an earlier one brought.
        scrubber = Scrubber([value for values in self._used.values() for value in values])
        headers, target = inject(made_safe(headers), target, fillings)
        return Filled(headers, target, scrubber)

    def _begin(self, policy: Policy) -> None:
        """Forget the values of another task."""
        if self._task_id == policy.task_id:
            return
        self._task_id = policy.task_id
        self._opened, self._used = {}, {}

    async def _wait_for(self, use: Use) -> None:
        until = time.monotonic() + self._hold_s
        is_room = self._held < HELD_AT_ONCE
        self._held += is_room
        try:
            while await self._ask(use) == "asked":
                if not is_room or time.monotonic() >= until:
                    raise Refused(ASKED)
                await asyncio.sleep(self._look_s)
        finally:
            self._held -= is_room

    async def _ask(self, use: Use) -> str:
        try:
            return await run_in_thread(self._vault.find_standing, use)
        except CredentialRefused as refused:
            raise Refused(refused.reason) from refused

    async def _open(self, credential: Credential, use: Use) -> Opened:
        """Open a value. One that was opened a moment ago for the same place is counted and not asked for again."""
        opened, at = self._opened.get(credential.secret_id, (None, 0.0))
        is_counted = credential.approval != SecretApproval.EACH_USE
        if opened is not None and is_counted and time.monotonic() - at < FRESH_S:
            again = dataclasses.replace(
                opened.access,
                host=use.host, method=use.method, path=use.path, first_at=(moment := now()), last_at=moment,
            )  # fmt: skip
            if self._vault.accesses.repeat(use.org_id, again):
                return opened
        begun = time.monotonic()
        try:
            opened = await run_in_thread(self._vault.open, use)
        except CredentialRefused as refused:
            raise Refused(refused.reason) from refused
        self._opened[credential.secret_id] = (opened, begun)
        if is_counted:
            self._vault.accesses.keep(use.org_id, opened.access)
        return opened
