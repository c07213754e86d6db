"""The local server is checked with discord.py, a client that others wrote: what it understands we may trust."""

from __future__ import annotations

import asyncio
import warnings

import pytest
import yarl

with warnings.catch_warnings():
    # Its voice part loads a module that Python 3.13 has no more.
    warnings.simplefilter("ignore", DeprecationWarning)
    import discord

from services.adapters.chat.discord.tests import payloads
from tests.fakes.discord_server import BOT_ID, CHANNEL_ID, FakeDiscord

WITHIN_S = 10.0


class _Client(discord.Client):
    """Answers in the channel, and changes, reacts, and takes back what it said."""

    def __init__(self) -> None:
        intents = discord.Intents.none()
        intents.guilds = intents.messages = intents.message_content = True
        super().__init__(intents=intents)
        self.heard: asyncio.Queue[discord.Message] = asyncio.Queue()
        self.presses: asyncio.Queue[discord.Interaction] = asyncio.Queue()
        self.resumed = asyncio.Event()

    async def on_message(self, message: discord.Message) -> None:
        if message.author.id != int(BOT_ID):
            await self.heard.put(message)

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer()
        await self.presses.put(interaction)

    async def on_resumed(self) -> None:
        self.resumed.set()


async def test_another_client_can_use_the_local_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeDiscord(tokens=[payloads.TOKEN]) as server:
        monkeypatch.setattr(discord.http.Route, "BASE", server.api_base)
        monkeypatch.setattr(
            discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(f"{server.gateway_url}/")
        )
        client = _Client()
        async with client:
            await client.login(payloads.TOKEN)
            running = asyncio.create_task(client.connect())
            await asyncio.wait_for(_use(client, server), WITHIN_S)
            await client.close()
            await asyncio.wait_for(running, WITHIN_S)


async def _use(client: _Client, server: FakeDiscord) -> None:
    await client.wait_until_ready()
    assert client.user is not None
    assert client.user.id == int(BOT_ID)

    server.people.write(CHANNEL_ID, f"<@{BOT_ID}> hello")
    message = await client.heard.get()
    assert isinstance(message.channel, discord.TextChannel)
    assert (message.content, message.channel.name) == (f"<@{BOT_ID}> hello", "general")
    assert client.user in message.mentions

    view = discord.ui.View(timeout=None)
    view.add_item(discord.ui.Button(label="Yes", custom_id="yes"))
    answer = await message.reply("It **rains**.", view=view, nonce="1", mention_author=False)
    await message.channel.send("It **rains**.", nonce="1")
    assert [entry["message"]["content"] for entry in server.sent.all()] == ["It **rains**."]
    await answer.edit(content="It snows.")
    await answer.add_reaction("👍")
    async with message.channel.typing():
        pass
    assert server.sent.all()[0]["message"]["content"] == "It snows."

    thread = await message.create_thread(name="Weather")
    await thread.send("in the thread")
    assert thread.id == message.id

    pressed = await asyncio.to_thread(
        server.people.send, server.people.press(server.sent.all()[0]["message"], "Yes")
    )
    assert pressed["type"] in (5, 6)
    assert (await client.presses.get()).data == {"custom_id": "yes", "component_type": 2}
    await answer.delete()

    server.gateway.ask_to_reconnect()
    await client.resumed.wait()
    server.people.write(CHANNEL_ID, "after the pause")
    assert (await client.heard.get()).content == "after the pause"
