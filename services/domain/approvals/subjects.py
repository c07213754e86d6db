"""What each kind of question is about, as closed models, and how it reads in one line."""

from __future__ import annotations

import json
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from services.domain.egress.rules import EgressRule, show_rule
from services.domain.images.packages import Packages
from services.domain.upstreams.names import NAME

EGRESS = "egress"
TOOL_CALL = "tool_call"
PACKAGES = "packages"
MCP_SERVER = "mcp_server"
CREDENTIAL = "credential"
UNKNOWN_SENDER = "unknown_sender"
NEW_CHAT = "new_chat"

MAX_REASON_CHARS = 1_000


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the things that a yes must choose between: what is kept, and what people read."""

    value: str
    label: str


class Subject(BaseModel, ABC):
    """The base of what a question is about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def show(self) -> str:
        """Return it in one line."""

    def stored(self) -> dict[str, Any]:
        """Return it as it is kept in the row."""
        return self.model_dump(mode="json")

    def choices(self) -> list[Choice]:
        """Return what a yes chooses between; empty where a yes says it all."""
        return []


class EgressSubject(Subject):
    """A host that an agent was refused; with `methods`, the method that its list lacks."""

    host: str
    port: int
    methods: list[str] | None = None

    @property
    def rule(self) -> EgressRule:
        """Return the entry that would have let it through."""
        return EgressRule(host=self.host, port=self.port, methods=self.methods)

    def show(self) -> str:
        """Return the entry as it is typed."""
        return show_rule(self.rule)


class ToolsSubject(Subject):
    """The tools of a registered server that are new or have changed."""

    server_id: str
    server: str
    digest: str
    tools: list[str]

    def show(self) -> str:
        """Return the server and its tools."""
        return f"{self.server}: {', '.join(self.tools)}"


class SeenFile(BaseModel):
    """A file of the workspace that a call carries outside, as it was when a person was asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    name: str
    size_bytes: int
    sha256: str


class ToolCallSubject(Subject):
    """One call of a tool, with all its arguments and files; what its schema marks as secret is masked."""

    server: str
    tool: str
    arguments: dict[str, Any]
    files: list[SeenFile] = []

    def show(self) -> str:
        """Return the tool, all files, and the arguments as far as they fit on a line."""
        text = json.dumps(self.arguments, ensure_ascii=False)
        files = ", ".join(f"{file.name} ({file.size_bytes:,} bytes)" for file in self.files)
        with_files = f" with {files}" if files else ""
        return f"{self.server}.{self.tool}{with_files} {text if len(text) <= 200 else text[:199] + '…'}"

    def stored(self) -> dict[str, Any]:
        """Return it as it is kept in the row; a call without files says nothing of any."""
        return self.model_dump(mode="json", exclude=None if self.files else {"files"})


class PackagesSubject(Subject):
    """Packages that an agent wants to have installed."""

    packages: Packages
    reason: str = Field(default="", max_length=MAX_REASON_CHARS)

    def show(self) -> str:
        """Return the packages by their manager."""
        named = self.packages.model_dump()
        return "; ".join(f"{manager}: {', '.join(entries)}" for manager, entries in named.items() if entries)


class McpServerSubject(Subject):
    """An MCP server elsewhere that an agent wants to use. A personal one is for the work of whoever allows it only."""

    name: str = Field(pattern=f"^{NAME}$")
    url: str = Field(max_length=500)
    is_personal: bool = False
    reason: str = Field(default="", max_length=MAX_REASON_CHARS)

    def show(self) -> str:
        """Return the name and the address."""
        return f"{self.name}: {self.url}"


class CredentialSubject(Subject):
    """The use of a credential for one thing: never the credential itself."""

    credential_id: uuid.UUID
    name: str = Field(max_length=120)
    purpose: str = Field(max_length=300, description="What it is used for, such as `POST api.github.com`.")

    def show(self) -> str:
        """Return the credential's name and what for."""
        return f"{self.name} for {self.purpose}"


class UnknownSenderSubject(Subject):
    """Somebody on a platform who is nobody here. `text` is the beginning of what they wrote first."""

    link_id: uuid.UUID
    chat_id: uuid.UUID
    sender_id: str = Field(max_length=120)
    sender_name: str = Field(default="", max_length=200)
    chat_title: str = Field(default="", max_length=200)
    text: str = Field(default="", max_length=1_000)

    def show(self) -> str:
        """Return who it is, where, and what they wrote."""
        who = f"{self.sender_name} ({self.sender_id})" if self.sender_name else self.sender_id
        where = f" in {self.chat_title}" if self.chat_title else ""
        return f"{who}{where}{': ' if self.text else ''}{self.text[:200]}"


class OfferedAgent(BaseModel):
    """An agent that could answer in a chat."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: uuid.UUID
    name: str = Field(max_length=80)


class NewChatSubject(Subject):
    """A chat in which a bot was spoken to and no agent answers; `text` is the beginning of what was said first."""

    link_id: uuid.UUID
    link_name: str = Field(max_length=80)
    chat_id: uuid.UUID
    chat_title: str = Field(default="", max_length=200)
    chat_kind: str = Field(max_length=10)
    message_id: uuid.UUID
    sender_id: str = Field(max_length=120)
    sender_name: str = Field(default="", max_length=200)
    text: str = Field(default="", max_length=1_000)
    agents: list[OfferedAgent] = []

    def show(self) -> str:
        """Return the chat, and who said what there."""
        where = f"{self.chat_kind} {self.chat_title}".strip()
        return f"{where} of {self.link_name}: {self.sender_name or self.sender_id}: {self.text[:200]}"

    def choices(self) -> list[Choice]:
        """Return the agents."""
        return [Choice(str(agent.id), agent.name) for agent in self.agents]
