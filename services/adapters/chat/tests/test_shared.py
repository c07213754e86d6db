"""What several platforms share: calls and their errors, tokens that are given out for a while, keys of rows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from services.adapters.chat import calls
from services.adapters.chat.minted import EARLY_S, MintedTokens
from services.adapters.chat.wire import short_key
from services.domain.errors import FileTooLarge, PlatformAway, PlatformRefused
from tests.fakes.serving import LocalServer


async def _long(request: Request) -> Response:
    return StreamingResponse(iter([b"x" * 65_536] * 100))


@pytest.fixture
def server() -> Iterator[LocalServer]:
    async def moved(request: Request) -> Response:
        return RedirectResponse("http://127.0.0.1:1/secret")

    with LocalServer(Starlette(routes=[Route("/long", _long), Route("/moved", moved)])) as running:
        yield running


def test_a_download_stops_at_its_limit(server: LocalServer) -> None:
    with pytest.raises(FileTooLarge):
        calls.download("Here", f"{server.url}/long", max_bytes=200_000, translate=_refused)


def test_a_redirect_is_not_followed(server: LocalServer) -> None:
    assert calls.request("Here", "GET", f"{server.url}/moved").status_code == 307
    with pytest.raises(PlatformRefused):
        calls.download("Here", f"{server.url}/moved", max_bytes=10, translate=_refused)


def test_an_error_does_not_name_the_address() -> None:
    with pytest.raises(PlatformAway) as caught:
        calls.request("Here", "GET", "http://127.0.0.1:1/?password=hush")
    assert caught.value.details == {"may_have_arrived": False}
    assert "hush" not in f"{caught.value}{caught.value.__cause__}{caught.value.details}"


def test_an_address_that_is_none_is_away_and_nothing_was_sent() -> None:
    with pytest.raises(PlatformAway) as caught:
        calls.request("Here", "GET", "gopher://127.0.0.1/")
    assert caught.value.details["may_have_arrived"] is False


@pytest.mark.parametrize(
    ("given", "wait_s"), [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("", 5.0), ("soon", 5.0)]
)
def test_when_to_come_back_is_read(given: str, wait_s: float) -> None:
    assert calls.retry_after_s(httpx.Response(429, headers={"Retry-After": given})) == wait_s


def test_when_to_come_back_may_be_a_date() -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 55 <= calls.retry_after_s(httpx.Response(429, headers={"Retry-After": moment})) <= 60


def test_a_token_is_asked_for_once_by_many_threads_and_again_when_it_ends() -> None:
    tokens, minted = MintedTokens(), []

    def mint(life_s: float) -> tuple[str, float]:
        minted.append(life_s)
        return f"token-{len(minted)}", life_s

    threads = [threading.Thread(target=lambda: tokens.get("a", lambda: mint(3_600))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert minted == [3_600]
    assert tokens.get("a", lambda: mint(1)) == "token-1"
    assert tokens.get("a", lambda: mint(1), refused="token-1") == "token-2"
    # A token that ends within two minutes is not used a second time.
    assert tokens.get("a", lambda: mint(EARLY_S)) == "token-3"
    assert tokens.get("b", lambda: mint(3_600)) == "token-4"


def test_a_token_that_is_not_given_leaves_nothing_behind() -> None:
    tokens = MintedTokens()

    def refuse() -> tuple[str, float]:
        raise PlatformRefused("no")

    with pytest.raises(PlatformRefused):
        tokens.get("a", refuse)
    assert tokens.get("a", lambda: ("good", 3_600.0)) == "good"


def test_a_key_fits_its_row_and_stays_its_own() -> None:
    assert short_key("a", "b") == "a:b"
    long = [short_key("x" * 300, str(number)) for number in range(2)]
    assert long[0] != long[1]
    assert all(len(key) <= 200 for key in long)


def _refused(answer: httpx.Response) -> PlatformRefused:
    return PlatformRefused("no", answer=str(answer.status_code))
