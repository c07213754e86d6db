"""Making and changing an agent."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django import forms
from pydantic import ValidationError

from services.api.dashboard.forms.base import DomainForm, lines_of
from services.domain.agents.models import DEFAULT_MCP_SERVERS, Agent, Provider, WhenBusy
from services.domain.egress.rules import EgressRule, parse_rule, read_rules, show_rule
from services.domain.images.packages import PACKAGE_KINDS, is_package, packages_of
from services.domain.integrations.names import ACCOUNT_SERVERS

MICRO = Decimal(1_000_000)
_PROVIDERS = {
    Provider.SHELL: "Shell: runs the prompt's commands, no model",
    Provider.CLAUDE: "Claude: the Claude Agent SDK",
    Provider.SCRIPTED: "Scripted: fixed answers, for trying things",
}
_WHEN_BUSY = {
    WhenBusy.STEER: "Goes into the turn at work",
    WhenBusy.QUEUE: "Waits until that is done",
    WhenBusy.INTERRUPT: "Cancels that, and is worked on instead",
    WhenBusy.REJECT: "Is not taken, which its writer is told",
}
_MCP_SERVERS = {
    "memory": "Memory: remembers notes between tasks",
    "notify": "Notify: sends a notice to people",
    "chat": "Chat: writes to its destinations, and asks questions",
    "platform": "Platform: submits tasks to other agents and waits for them",
    "github": "GitHub: issues and pull requests of a connected account",
    "gmail": "Gmail: reads, labels and sends mail of a connected account",
    "mail": "Mail: reads, drafts and sends mail of a connected IMAP account",
    "composio": "Composio: runs hosted tools in accounts that were connected there",
    "calendar": "Calendar: reads and writes calendars of a connected CalDAV account",
    "teller": "Teller: reads bank accounts, balances and transactions of a connected account",
}


def _why(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        return str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
    return str(error)


def _package_field(label: str, help_text: str) -> forms.CharField:
    return forms.CharField(
        label=label,
        max_length=30_000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "code"}),
        help_text=help_text,
    )


class AgentForm(DomainForm):
    """What a person may set on an agent. Money is typed in dollars, kept in micro-dollars."""

    name = forms.CharField(max_length=80, help_text="What people see.")
    description = forms.CharField(
        max_length=300, required=False, help_text="What it is for, in one sentence."
    )
    provider = forms.ChoiceField(choices=[(value.value, label) for value, label in _PROVIDERS.items()])
    model = forms.CharField(
        max_length=100, required=False, help_text="Empty for the provider's default. The shell has no model."
    )
    instructions = forms.CharField(
        max_length=100_000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 8, "class": "code"}),
        help_text="What the agent is told before each task.",
    )
    tools = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "code"}),
        help_text="Names of the tools that it may use, one a line. Empty for all.",
    )
    mcp_servers = forms.MultipleChoiceField(
        label="MCP servers",
        required=False,
        choices=[(name, _MCP_SERVERS.get(name, name)) for name in (*DEFAULT_MCP_SERVERS, *ACCOUNT_SERVERS)],
        widget=forms.CheckboxSelectMultiple,
        initial=DEFAULT_MCP_SERVERS,
    )
    egress = forms.CharField(
        label="May reach",
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "class": "code"}),
        help_text="Hosts outside, one a line: api.github.com, *.python.org, example.com:80 GET,HEAD. Empty for none.",
    )
    timeout_s = forms.IntegerField(
        label="Time limit (seconds)", min_value=1, max_value=86_400, initial=900, help_text="For one task."
    )
    max_turns = forms.IntegerField(
        label="Most turns", min_value=1, max_value=10_000, required=False, help_text="Empty for no limit."
    )
    max_budget_usd = forms.DecimalField(
        label="Budget for a task (US$)",
        min_value=Decimal(0),
        max_value=Decimal(1_000_000),
        decimal_places=6,
        required=False,
        help_text="Model calls beyond it are refused. Empty for no limit.",
    )
    memory_mb = forms.IntegerField(label="Memory (MB)", min_value=64, max_value=65_536, initial=1024)
    cpus = forms.FloatField(label="CPUs", min_value=0.1, max_value=64, initial=1.0)
    idle_stop_s = forms.IntegerField(
        label="Stop when idle for (seconds)",
        min_value=0,
        max_value=604_800,
        initial=600,
        help_text="How long the sandbox stays warm after a task. Its files are kept.",
    )

    is_shared = forms.BooleanField(
        label="Shared",
        required=False,
        initial=True,
        help_text="Everybody in the organisation sees and uses it.",
    )
    reads_all_memories = forms.BooleanField(
        label="Reads all memories",
        required=False,
        help_text="It may search what all agents remember of the person it works for.",
    )
    installs_packages = forms.BooleanField(
        label="Installs packages", required=False, help_text="It may add packages to itself without asking."
    )

    when_busy = forms.ChoiceField(
        label="A message while it works",
        choices=[(value.value, label) for value, label in _WHEN_BUSY.items()],
        initial=WhenBusy.STEER,
        help_text="What a message in a chat does while an earlier one is worked on there.",
    )

    apt_packages = _package_field("Debian packages", "One a line, such as `ffmpeg` or `jq=1.6-2.1`.")
    pip_packages = _package_field("Python packages", "One a line, such as `requests==2.32.3`. Wheels only.")
    npm_packages = _package_field(
        "Node packages", "One a line, such as `typescript@5`. Their install scripts do not run."
    )

    basics = ("name", "description", "provider", "model", "instructions")
    abilities = (
        "mcp_servers",
        "tools",
        "egress",
        "is_shared",
        "reads_all_memories",
        "installs_packages",
        "when_busy",
    )
    packages = tuple(f"{kind}_packages" for kind in PACKAGE_KINDS)
    limits = ("timeout_s", "max_turns", "max_budget_usd", "memory_mb", "cpus", "idle_stop_s")

    def clean(self) -> dict[str, Any]:
        """Check the packages of each kind, and say which line is wrong."""
        values = super().clean() or {}
        for kind in PACKAGE_KINDS:
            lines = lines_of(values.get(f"{kind}_packages", ""))
            wrong = [line for line in lines if not is_package(kind, line)]
            if wrong:
                self.add_error(f"{kind}_packages", f"{wrong[0]}: a name and a version, and nothing else.")
            values[f"{kind}_packages"] = lines
        return values

    def clean_egress(self) -> list[EgressRule]:
        """Read the entries, and say which line is wrong."""
        rules = []
        for line in lines_of(self.cleaned_data["egress"]):
            try:
                rules.append(parse_rule(line))
            except ValueError as error:
                raise forms.ValidationError(f"{line}: {_why(error)}") from error
        return rules

    def __init__(self, *args: Any, servers: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        listed = self.fields["mcp_servers"]
        if isinstance(listed, forms.MultipleChoiceField):
            # What the agent has stays choosable, also somebody else's personal server.
            kept = self.initial.get("mcp_servers", ())
            names = dict.fromkeys([*DEFAULT_MCP_SERVERS, *ACCOUNT_SERVERS, *servers, *kept])
            listed.choices = [(name, _MCP_SERVERS.get(name, name)) for name in names]

    @classmethod
    def initial_of(cls, agent: Agent) -> dict[str, Any]:
        """Return the form's values for an agent."""
        initial = {name: getattr(agent, name) for name in cls.base_fields if hasattr(agent, name)}
        initial["egress"] = "\n".join(show_rule(rule) for rule in read_rules(agent.egress))
        initial["tools"] = "\n".join(agent.tools or [])
        packages = packages_of(agent.packages).model_dump()
        initial |= {f"{kind}_packages": "\n".join(packages[kind]) for kind in PACKAGE_KINDS}
        budget = agent.max_budget_microusd
        initial["max_budget_usd"] = None if budget is None else f"{Decimal(budget) / MICRO:f}"
        return initial

    def values(self) -> dict[str, Any]:
        """Return the fields of `AgentFields`."""
        values = super().values()
        budget = values.pop("max_budget_usd")
        values["max_budget_microusd"] = None if budget is None else int(budget * MICRO)
        values["egress"] = [rule.model_dump() for rule in values["egress"]]
        values["tools"] = lines_of(values["tools"]) or None
        values["packages"] = {kind: values.pop(f"{kind}_packages") for kind in PACKAGE_KINDS}
        return values

    def groups(self) -> list[tuple[str, list[forms.BoundField]]]:
        """Return the fields in the groups of the page."""
        rows = (
            ("Agent", self.basics),
            ("Abilities", self.abilities),
            ("Packages", self.packages),
            ("Limits", self.limits),
        )
        return [(title, [self[name] for name in names]) for title, names in rows]
