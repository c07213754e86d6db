"""The Teller tools: each one question to the person's banks."""

from __future__ import annotations

from services.mcp_gateway.accounts import open_account
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.teller.models import (
    AccountsInput,
    AccountsOutput,
    BalanceOutput,
    BankAccountInput,
    BankAccountOutput,
    DetailsOutput,
    EnrollmentOutput,
    EnrollmentsInput,
    EnrollmentsOutput,
    TransactionOutput,
    TransactionsInput,
    TransactionsOutput,
)
from services.mcp_gateway.mcp_servers.tools import Tool

KIND = "teller"


async def _list_enrollments(caller: Caller, given: EnrollmentsInput) -> EnrollmentsOutput:
    async with open_account(caller, KIND, given.account) as account:
        found = await account.client.accounts()
    banks = {each.enrollment_id: each.institution for each in found}
    return EnrollmentsOutput(
        enrollments=[
            EnrollmentOutput(
                enrollment_id=enrollment_id,
                institution=bank,
                accounts=sum(each.enrollment_id == enrollment_id for each in found),
            )
            for enrollment_id, bank in banks.items()
        ]
    )


async def _list_accounts(caller: Caller, given: AccountsInput) -> AccountsOutput:
    async with open_account(caller, KIND, given.account) as account:
        found = await account.client.accounts()
    wanted = [each for each in found if given.enrollment_id in (None, each.enrollment_id)]
    return AccountsOutput(accounts=[BankAccountOutput.of(each) for each in wanted])


async def _get_balance(caller: Caller, given: BankAccountInput) -> BalanceOutput:
    async with open_account(caller, KIND, given.account) as account:
        balance = await account.client.balance(given.account_id)
    return BalanceOutput(account_id=balance.account_id, ledger=balance.ledger, available=balance.available)


async def _list_transactions(caller: Caller, given: TransactionsInput) -> TransactionsOutput:
    async with open_account(caller, KIND, given.account) as account:
        found = await account.client.transactions(given.account_id, given.count, given.from_id)
    return TransactionsOutput(
        transactions=[TransactionOutput.of(each) for each in found],
        next_from_id=found[-1].id if len(found) == given.count else None,
    )


async def _get_account_details(caller: Caller, given: BankAccountInput) -> DetailsOutput:
    async with open_account(caller, KIND, given.account) as account:
        masked = not account.settings.shows_numbers
        numbers = await account.client.numbers(given.account_id, masked=masked)
    return DetailsOutput(
        account_id=given.account_id,
        account_number=numbers.account_number,
        routing_numbers=numbers.routing_numbers,
    )


TOOLS = (
    Tool(
        "teller_list_enrollments",
        "List the banks that the person has enrolled, each with the number of accounts that it shares.",
        EnrollmentsInput,
        EnrollmentsOutput,
        _list_enrollments,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "teller_list_accounts",
        "List the person's bank accounts: bank, name, kind, currency and the last four digits. Their `id` is what the "
        "other tools take.",
        AccountsInput,
        AccountsOutput,
        _list_accounts,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "teller_get_balance",
        "Get one account's balance, asked of the bank now; it may take some seconds.",
        BankAccountInput,
        BalanceOutput,
        _get_balance,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "teller_list_transactions",
        "List one account's transactions, the newest first. Go on with `next_from_id` for older ones.",
        TransactionsInput,
        TransactionsOutput,
        _list_transactions,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "teller_get_account_details",
        "Get one account's number and routing numbers. The number shows its last four digits only, unless the person "
        "has allowed all of it.",
        BankAccountInput,
        DetailsOutput,
        _get_account_details,
        reads_only=True,
        open_world=True,
    ),
)
