"""Banks behind Teller's API: TLS with a client certificate, an access token for each enrollment."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.certificates import Authority, Signed
from tests.fakes.serving import Faults, Journal, LocalServer

TOKEN, OTHER_TOKEN = "test_token_first", "test_token_second"


def account(account_id: str, enrollment_id: str, bank: str, number: str) -> dict[str, Any]:
    return {
        "id": account_id,
        "enrollment_id": enrollment_id,
        "institution": {"id": bank.lower(), "name": bank},
        "name": "Everyday",
        "type": "depository",
        "subtype": "checking",
        "currency": "USD",
        "last_four": number[-4:],
        "status": "open",
        "links": {"self": f"https://api.teller.io/accounts/{account_id}"},
    }


class TellerServer:
    """Two enrollments, each behind a token of its own."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder, "authority of banks")
        self.client: Signed = self.authority.sign("application")
        self.calls, self.faults = Journal(), Faults()
        self.tokens = {TOKEN: "enr_1", OTHER_TOKEN: "enr_2"}
        self.disconnected: set[str] = set()
        self.numbers = {"acc_1": "9988776655", "acc_2": "1122334455"}
        self.accounts = [
            account("acc_1", "enr_1", "Security Credit Union", "9988776655"),
            account("acc_2", "enr_2", "Other Bank", "1122334455"),
        ]
        self.transactions = [
            {
                "id": f"txn_{number}",
                "account_id": "acc_1",
                "date": f"2026-07-{number:02d}",
                "amount": f"-{number}.50",
                "description": f"Shop {number}",
                "status": "posted",
                "type": "card_payment",
                "running_balance": None,
                "details": {"category": "shopping", "counterparty": {"name": "Shop", "type": "organization"}},
            }
            for number in range(28, 0, -1)
        ]
        self.server = LocalServer(
            Starlette(
                routes=[
                    Route("/accounts", self._answered(self._accounts)),
                    Route("/accounts/{id}/balances", self._answered(self._balances)),
                    Route("/accounts/{id}/details", self._answered(self._details)),
                    Route("/accounts/{id}/transactions", self._answered(self._transactions)),
                ]
            ),
            tls=self.authority.server(demands_client=True),
        )

    @property
    def url(self) -> str:
        return self.server.url

    def __enter__(self) -> TellerServer:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    def _answered(self, answer: Any) -> Any:
        async def endpoint(request: Request) -> Response:
            token = _token_of(request)
            enrollment = self.tokens.get(token)
            self.calls.add({"path": request.url.path, "query": dict(request.query_params), "token": token})
            if enrollment is None:
                return _error(403, "forbidden", "Authorization token is invalid")
            if enrollment in self.disconnected:
                return _error(404, "enrollment.disconnected.user_action.mfa_required", "MFA is needed")
            fault = self.faults.take(request.url.path)
            if fault is not None:
                headers = {"Retry-After": str(fault.retry_after_s)}
                return _error(429 if fault.how == "throttle" else 502, "fault", "as planned", headers)
            if "id" in request.path_params and not self._owns(enrollment, request.path_params["id"]):
                return _error(404, "not_found", "The requested resource does not exist")
            return JSONResponse(answer(request, enrollment))

        return endpoint

    def _owns(self, enrollment: str, account_id: str) -> bool:
        return any(each["id"] == account_id and each["enrollment_id"] == enrollment for each in self.accounts)

    def _accounts(self, request: Request, enrollment: str) -> list[dict[str, Any]]:
        return [each for each in self.accounts if each["enrollment_id"] == enrollment]

    def _balances(self, request: Request, enrollment: str) -> dict[str, Any]:
        return {"account_id": request.path_params["id"], "ledger": "28575.02", "available": "28500.00"}

    def _details(self, request: Request, enrollment: str) -> dict[str, Any]:
        number = self.numbers[request.path_params["id"]]
        return {
            "account_id": request.path_params["id"],
            "account_number": number,
            "routing_numbers": {"ach": "864952590", "wire": None},
        }

    def _transactions(self, request: Request, enrollment: str) -> list[dict[str, Any]]:
        found = [each for each in self.transactions if each["account_id"] == request.path_params["id"]]
        before = request.query_params.get("from_id")
        if before:
            ids = [each["id"] for each in found]
            found = found[ids.index(before) + 1 :]
        return found[: int(request.query_params.get("count", "100"))]


def _token_of(request: Request) -> str:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    try:
        name, _, password = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, ValueError):
        return ""
    return name if scheme == "Basic" and password == "" else ""


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)
