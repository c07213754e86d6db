"""The tools by which an agent asks for more: packages, MCP servers, a rebuild of its image."""

from __future__ import annotations

from pydantic import Field

from services.domain.approvals.asking import Asked, ask_for_packages, ask_for_server
from services.domain.approvals.subjects import MAX_REASON_CHARS
from services.domain.images.actions import rebuild_own_image
from services.domain.images.packages import MAX_PACKAGES, AptPackage, NpmPackage, Packages, PipPackage
from services.domain.upstreams.names import NAME
from services.domain.upstreams.urls import MAX_URL_CHARS
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.tools import Tool, ToolInput, ToolOutput
from services.mcp_gateway.threads import run_in_thread

_WORDS = {
    "there": "It is there already.",
    "granted": "It is granted; it is there from your next task on, once it is built.",
    "waiting": "A person has been asked. Go on without it, or end and say that you wait for it.",
    "denied": "A person has denied this. Do without it.",
}


class PackagesInput(ToolInput):
    apt: list[AptPackage] = Field(
        default_factory=list,
        max_length=MAX_PACKAGES,
        description="Debian packages.",
        examples=[["ffmpeg", "jq"]],
    )
    pip: list[PipPackage] = Field(
        default_factory=list,
        max_length=MAX_PACKAGES,
        description="Python packages; wheels only.",
        examples=[["pandas==2.2.3"]],
    )
    npm: list[NpmPackage] = Field(
        default_factory=list,
        max_length=MAX_PACKAGES,
        description="Node packages; their install scripts do not run.",
        examples=[["typescript@5"]],
    )
    reason: str = Field(
        min_length=1,
        max_length=MAX_REASON_CHARS,
        description="What you need them for, in one sentence: a person reads it.",
        examples=["To cut the recording that you sent."],
    )


class ServerInput(ToolInput):
    name: str = Field(
        pattern=f"^{NAME}$",
        description="A short name for the server: small letters, digits, - and _.",
        examples=["weather"],
    )
    url: str = Field(
        min_length=1,
        max_length=MAX_URL_CHARS,
        description="The server's address (streamable HTTP), without any credential: the person adds that.",
        examples=["https://mcp.example.com/mcp"],
    )
    reason: str = Field(
        min_length=1,
        max_length=MAX_REASON_CHARS,
        description="What you need it for, in one sentence: a person reads it.",
        examples=["To look up the weather for your trips."],
    )


class NothingInput(ToolInput):
    pass


class AskedOutput(ToolOutput):
    state: str = Field(description="there, granted, waiting for a person, or denied.")
    approval_id: str | None = Field(description="The question that a person answers, if one is asked.")
    what_now: str = Field(description="What this means for you.")

    @classmethod
    def of(cls, asked: Asked) -> AskedOutput:
        """Describe what became of a wish."""
        return cls(
            state=asked.state,
            approval_id=str(asked.approval_id) if asked.approval_id else None,
            what_now=_WORDS[asked.state],
        )


class RebuildOutput(ToolOutput):
    image_id: str = Field(description="The build's id.")
    status: str = Field(description="queued or building; your sandbox has it from a later task on.")


def _install_now(caller: Caller, given: PackagesInput) -> AskedOutput:
    packages = Packages(apt=given.apt, pip=given.pip, npm=given.npm)
    return AskedOutput.of(ask_for_packages(caller.actor, packages, given.reason))


def _add_now(caller: Caller, given: ServerInput) -> AskedOutput:
    return AskedOutput.of(ask_for_server(caller.actor, given.name, given.url, given.reason))


async def _install(caller: Caller, given: PackagesInput) -> AskedOutput:
    return await run_in_thread(_install_now, caller, given)


async def _add(caller: Caller, given: ServerInput) -> AskedOutput:
    return await run_in_thread(_add_now, caller, given)


async def _rebuild(caller: Caller, given: NothingInput) -> RebuildOutput:
    image = await run_in_thread(rebuild_own_image, caller.actor)
    return RebuildOutput(image_id=str(image.id), status=image.status)


ASKING_TOOLS = (
    Tool(
        "install_packages",
        "Have packages installed into your sandbox for good. A person is asked, unless your owner lets you; call again "
        "with the same packages to see what became of it. They are there from a later task on.",
        PackagesInput,
        AskedOutput,
        _install,
    ),
    Tool(
        "add_mcp_server",
        "Ask for another MCP server, with more tools. A person always decides, and accepts its tools before you see "
        "them; call again with the same name and address to see what became of it.",
        ServerInput,
        AskedOutput,
        _add,
    ),
    Tool(
        "request_rebuild",
        "Have your packages installed anew in their latest versions. Use it when one is broken or too old.",
        NothingInput,
        RebuildOutput,
        _rebuild,
    ),
)
