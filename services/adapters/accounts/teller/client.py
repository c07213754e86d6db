"""Teller's API for the enrollments of one person.

Each enrollment, the person's sign-in at one bank, has an access token of its own; which one an account belongs to is
asked of Teller each time, so that what the person no longer shares is not reached.
Source: https://teller.io/docs/api
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx2

from services.adapters.accounts.teller.failures import failure_of
from services.domain.errors import AccountRefused, ItemMissing

READ_S = 60.0  # some banks are asked while the caller waits
_AT_ONCE = 4
_DIGIT = re.compile(r"[0-9]")


@dataclass(frozen=True, slots=True)
class BankAccount:
    """One account at a bank. `subtype` is for example `checking`; `last_four` are digits of its number."""

    id: str
    enrollment_id: str
    institution: str
    name: str
    type: str
    subtype: str
    currency: str
    last_four: str
    status: str


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account holds, as decimal strings; None where the bank does not say."""

    account_id: str
    ledger: str | None
    available: str | None


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction. `amount` is a signed decimal string, `date` is ISO 8601."""

    id: str
    date: str
    amount: str
    description: str
    status: str
    type: str
    category: str
    counterparty: str
    running_balance: str | None


@dataclass(frozen=True, slots=True)
class Numbers:
    """What an account is addressed by."""

    account_number: str
    routing_numbers: dict[str, str]


class TellerClient:
    """A person's banks. Its calls raise the errors of accounts, and ItemMissing."""

    def __init__(self, http: httpx2.AsyncClient, base: str, tokens: Sequence[str]) -> None:
        self._http, self._base, self._tokens = http, base, tokens

    async def accounts(self) -> list[BankAccount]:
        """Return all accounts of all enrollments."""
        return [account for account, _ in await self._with_tokens()]

    async def balance(self, account_id: str) -> Balance:
        """Return an account's balance, asked of the bank now."""
        found = await self._ask_for(account_id, "/balances")
        return Balance(account_id, _text_or_none(found, "ledger"), _text_or_none(found, "available"))

    async def transactions(self, account_id: str, count: int, from_id: str | None) -> list[Transaction]:
        """Return transactions, the newest first; with `from_id` those before it."""
        params = {"count": str(count)} | ({"from_id": from_id} if from_id else {})
        found = await self._ask_for(account_id, "/transactions", params)
        if not isinstance(found, list):
            raise AccountRefused("Teller's answer is not a list of transactions.")
        return [_transaction(entry) for entry in found[:count]]

    async def numbers(self, account_id: str, *, masked: bool) -> Numbers:
        """Return an account's number and routing numbers; masked but for the last four digits."""
        found = await self._ask_for(account_id, "/details")
        routing = found.get("routing_numbers") if isinstance(found.get("routing_numbers"), dict) else {}
        numbers = {str(name): str(value) for name, value in routing.items() if value}
        number = str(found.get("account_number") or "")
        return Numbers(_mask(number), numbers) if masked else Numbers(number, numbers)

    # --- requests --------------------------------------------------------------------------------------

    async def _with_tokens(self) -> list[tuple[BankAccount, str]]:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def of(token: str) -> list[tuple[BankAccount, str]]:
            async with gate:
                found = await self._ask("/accounts", token)
            if not isinstance(found, list):
                raise AccountRefused("Teller's answer is not a list of accounts.")
            return [(_account(entry), token) for entry in found]

        return [pair for found in await asyncio.gather(*map(of, self._tokens)) for pair in found]

    async def _ask_for(self, account_id: str, path: str, params: dict[str, str] | None = None) -> Any:
        for account, token in await self._with_tokens():
            if account.id == account_id:
                return await self._ask(f"/accounts/{quote(account_id, safe='')}{path}", token, params)
        raise ItemMissing("There is no such bank account. Take ids from teller_list_accounts.")

    async def _ask(self, path: str, token: str, params: dict[str, str] | None = None) -> Any:
        answer = await self._http.get(f"{self._base}{path}", params=params, auth=httpx2.BasicAuth(token, ""))
        if not answer.is_success:
            raise failure_of(answer, answer.content)
        try:
            return json.loads(answer.content)
        except ValueError as error:
            raise AccountRefused("Teller's answer is not JSON.") from error


def _account(entry: Any) -> BankAccount:
    try:
        return BankAccount(
            id=str(entry["id"]),
            enrollment_id=str(entry["enrollment_id"]),
            institution=str((entry.get("institution") or {}).get("name", "")),
            name=str(entry.get("name", "")),
            type=str(entry.get("type", "")),
            subtype=str(entry.get("subtype", "")),
            currency=str(entry.get("currency", "")),
            last_four=str(entry.get("last_four") or ""),
            status=str(entry.get("status", "")),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise AccountRefused("Teller's answer is not a list of accounts.") from error


def _transaction(entry: Any) -> Transaction:
    try:
        details = entry.get("details") or {}
        return Transaction(
            id=str(entry["id"]),
            date=str(entry["date"]),
            amount=str(entry["amount"]),
            description=str(entry.get("description", "")),
            status=str(entry.get("status", "")),
            type=str(entry.get("type", "")),
            category=str(details.get("category") or ""),
            counterparty=str((details.get("counterparty") or {}).get("name") or ""),
            running_balance=_text_or_none(entry, "running_balance"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise AccountRefused("Teller's answer is not a list of transactions.") from error


def _text_or_none(entry: Any, name: str) -> str | None:
    value = entry.get(name) if isinstance(entry, dict) else None
    return None if value is None else str(value)


def _mask(number: str) -> str:
    return _DIGIT.sub("•", number[:-4]) + number[-4:] if len(number) > 4 else _DIGIT.sub("•", number)
