"""A thousand messages in fifty chats of several platforms while workers are killed: each answered once, in its order.

`SLIPWAY_BENCH_MESSAGES` and `SLIPWAY_BENCH_CHATS` change how many, `SLIPWAY_BENCH_PATIENCE_S` how long answers are
waited for; what is missing then is counted.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from benchmarks.rows import Row, row
from benchmarks.saboteur import Saboteur
from benchmarks.stacks import running_stack
from benchmarks.talk_places import Place, places
from tests.stack.running import RunningStack, until

MESSAGES = int(os.environ.get("SLIPWAY_BENCH_MESSAGES", "1000"))
CHATS = int(os.environ.get("SLIPWAY_BENCH_CHATS", "50"))
PATIENCE_S = float(os.environ.get("SLIPWAY_BENCH_PATIENCE_S", "1800"))
KILL_EVERY_S = 8.0
VICTIMS = ("worker", "worker", "gateway", "relay", "listen", "api", "realtime")
SEED = 20_261_128
_WORD = re.compile(r"word-(\d+)")


def _talk(place: Place, chat: int, count: int) -> None:
    """Write a chat's messages one after the other, without waiting for answers; each until it is taken."""
    for number in range(count):
        is_taken = place.write(chat, f"echo word-{number}")
        until(is_taken, within_s=600, what="a message is taken")


def _words(place: Place, chat: int) -> list[int]:
    """Return the numbers of the answers in a chat, in the order in which they came."""
    return [int(word) for text in place.read(chat) for word in _WORD.findall(text)]


def run() -> list[Row]:
    """Write all, kill meanwhile, wait for all answers, and look at each chat."""
    with places() as all_places:
        settings = {name: value for place in all_places for name, value in place.settings().items()}
        with running_stack(driver="docker", slots=CHATS + 10, others=settings) as stack:
            body = {"name": "echo", "provider": "shell", "when_busy": "queue"}
            made = stack.http.post("/v1/agents", json=body)
            assert made.status_code == 201, made.text
            for first, place in enumerate(all_places):
                place.link(stack, made.json()["id"], range(first, CHATS, len(all_places)))
            return _measure(stack, all_places)


def _measure(stack: RunningStack, all_places: list[Place]) -> list[Row]:
    chats = [(all_places[number % len(all_places)], number) for number in range(CHATS)]
    each = MESSAGES // CHATS
    saboteur = Saboteur(stack.kill, VICTIMS, every_s=KILL_EVERY_S, seed=SEED, is_back=stack.is_ready)
    started = time.perf_counter()

    def all_answered() -> bool:
        return all(set(_words(place, chat)) == set(range(each)) for place, chat in chats)

    try:
        with ThreadPoolExecutor(CHATS) as pool:
            for talk in [pool.submit(_talk, place, chat, each) for place, chat in chats]:
                talk.result()
        with contextlib.suppress(AssertionError):
            until(all_answered, within_s=PATIENCE_S, what="every message is answered")
    finally:
        saboteur.stop()
    elapsed = time.perf_counter() - started
    time.sleep(10)
    seen = {(place.name, chat): _words(place, chat) for place, chat in chats}
    wanted = list(range(each))
    once = sum(Counter(words)[number] == 1 for words in seen.values() for number in wanted)
    ordered = sum(list(dict.fromkeys(words)) == wanted for words in seen.values())
    twice = Counter(name for (name, _), words in seen.items() for n in Counter(words).values() if n > 1)
    names = ", ".join(place.name for place in all_places)
    repeated = ", ".join(f"{count} on {name}" for name, count in sorted(twice.items())) or "none"
    detail = f"{names}; {elapsed:.0f} s; killed: {saboteur.summary()}; answered more than once: {repeated}"
    return [
        row("messages answered exactly once", once, "", "written", CHATS * each, detail),
        row("chats whose answers came in order", ordered, "", "chats", CHATS, "each by its own words"),
    ]
