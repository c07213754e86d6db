"""What the Teller tools take and give. Amounts are decimal strings in the account's currency."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from services.adapters.accounts.teller.client import BankAccount, Transaction
from services.mcp_gateway.mcp_servers.tools import ToolInput, ToolOutput

Account = Annotated[
    str | None,
    Field(
        max_length=80,
        description="Which connected Teller account, by its name. Leave out where there is only one.",
    ),
]
_Id = StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")
AccountId = Annotated[
    str, _Id, Field(description="A bank account's `id`, as `teller_list_accounts` gave it.")
]


class EnrollmentsInput(ToolInput):
    account: Account = None


class AccountsInput(ToolInput):
    enrollment_id: Annotated[str, _Id] | None = Field(
        default=None, description="Only the accounts of this enrollment; leave out for all."
    )
    account: Account = None


class BankAccountInput(ToolInput):
    account_id: AccountId
    account: Account = None


class TransactionsInput(ToolInput):
    account_id: AccountId
    count: int = Field(default=50, ge=1, le=250, description="The most to return.")
    from_id: Annotated[str, _Id] | None = Field(
        default=None, description="`next_from_id` of the page before: only transactions older than it."
    )
    account: Account = None


class EnrollmentOutput(ToolOutput):
    enrollment_id: str = Field(
        description="Give it to `teller_list_accounts` for the accounts of this bank alone."
    )
    institution: str = Field(description="The bank's name.")
    accounts: int = Field(description="How many accounts it shares.")


class EnrollmentsOutput(ToolOutput):
    enrollments: list[EnrollmentOutput] = Field(description="One for each sign-in at a bank.")


class BankAccountOutput(ToolOutput):
    id: str = Field(description="Give it as `account_id`.")
    enrollment_id: str = Field(description="The sign-in at the bank that shares it.")
    institution: str = Field(description="The bank's name.")
    name: str = Field(description="What the bank calls the account.")
    type: str = Field(description="`depository` or `credit`.")
    subtype: str = Field(description="For example `checking`, `savings`, `credit_card`.")
    currency: str = Field(description="ISO 4217 code, such as USD: all amounts are in it.")
    last_four: str = Field(description="The last four digits of its number; may be empty.")
    status: str = Field(description="`open` or `closed`.")

    @classmethod
    def of(cls, account: BankAccount) -> BankAccountOutput:
        names = (
            "id",
            "enrollment_id",
            "institution",
            "name",
            "type",
            "subtype",
            "currency",
            "last_four",
            "status",
        )
        return cls(**{name: getattr(account, name) for name in names})


class AccountsOutput(ToolOutput):
    accounts: list[BankAccountOutput] = Field(
        description="The accounts of all banks, or of the one asked for."
    )


class BalanceOutput(ToolOutput):
    account_id: str = Field(description="The bank account.")
    ledger: str | None = Field(description="What is booked; null where the bank does not say.")
    available: str | None = Field(description="What may be spent; null where the bank does not say.")


class TransactionOutput(ToolOutput):
    id: str = Field(description="The transaction's id at Teller.")
    date: str = Field(description="The day: 2026-07-01.")
    amount: str = Field(description="Signed: as the bank books it.")
    description: str = Field(description="What the bank writes of it.")
    status: str = Field(description="`posted` or `pending`.")
    type: str = Field(description="The bank's own kind, such as `card_payment` or `ach`.")
    category: str = Field(description="Teller's guess of what it was for, such as `groceries`; may be empty.")
    counterparty: str = Field(description="With whom, as far as Teller knows; may be empty.")
    running_balance: str | None = Field(
        description="The balance after it; null where the bank does not say, as while it is pending."
    )

    @classmethod
    def of(cls, transaction: Transaction) -> TransactionOutput:
        names = (
            "id",
            "date",
            "amount",
            "description",
            "status",
            "type",
            "category",
            "counterparty",
            "running_balance",
        )
        return cls(**{name: getattr(transaction, name) for name in names})


class TransactionsOutput(ToolOutput):
    transactions: list[TransactionOutput] = Field(description="The newest first.")
    next_from_id: str | None = Field(
        description="Give it as `from_id` for older ones; null when there are none."
    )


class DetailsOutput(ToolOutput):
    account_id: str = Field(description="The bank account.")
    account_number: str = Field(
        description="All but the last four digits are dots unless the person shows them."
    )
    routing_numbers: dict[str, str] = Field(description="By their kind: `ach`, `wire`, `bacs`.")
