"""The process: reads its settings from the environment, and ends in order when it is told to."""

from __future__ import annotations

import asyncio
import gc
import os
import signal

from agent_image.providers import open_provider
from agent_image.runner.greeting import Greeting
from agent_image.runner.runner import Runner, RunnerSettings


async def run_until_signalled(settings: RunnerSettings, greeting: Greeting | None) -> None:
    """Run until SIGTERM or SIGINT, then end the turn at work and flush the journal."""
    runner = Runner(settings, open_provider, greeting=greeting)
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Not `loop.add_signal_handler`: it looks at the function, for which it loads `inspect`.
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(signalled.set))
    linking = asyncio.create_task(runner.run())
    waiting = asyncio.create_task(signalled.wait())
    await asyncio.wait({linking, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if linking.done():
        linking.result()
    await runner.stop()
    linking.cancel()
    await asyncio.wait({linking})


def main(greeting: Greeting | None = None) -> None:
    """Start, with the hello that is said meanwhile. What is loaded by now stays for ever: it need not be collected."""
    os.umask(0o022)
    gc.collect()
    gc.freeze()
    gc.enable()
    asyncio.run(run_until_signalled(RunnerSettings.from_environment(os.environ), greeting))
