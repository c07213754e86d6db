"""Where a brokered secret may go: host, path and methods, and the place in the request that it is put into."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from services.domain.egress.rules import METHODS, EgressRule, parse_rule, show_rule

MAX_BINDINGS = 20
VALUE = "{value}"
_HEADER = re.compile(r"[A-Za-z0-9-]{1,60}")
# Those that frame a message, say where it goes, or are of one hop.
_TAKEN_HEADERS = frozenset(
    {
        "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "forwarded",
        "host", "if-range", "keep-alive", "proxy-authorization", "proxy-connection", "range", "te", "trailer",
        "transfer-encoding", "upgrade", "via",
    }
)  # fmt: skip
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_USER = re.compile(r"[\x21-\x39\x3b-\x7e]{1,200}")  # a colon would end it
_PARAMETER = re.compile(r"[A-Za-z0-9_.~-]{1,100}")
_PATH = re.compile(r"(?:/[A-Za-z0-9_.~!$&'()*+,=:@-]+)+/?|/")
_LINE = re.compile(
    r"(?P<place>[^\s/]+)(?P<path>/\S*)?(?:\s+(?P<methods>[A-Za-z, ]+?))?\s*(?P<arrow>->|=>)\s*(?P<into>.+)"
)

Into = Literal["header", "basic", "query"]


class Binding(BaseModel):
    """One place. The host is written as in an agent's list of hosts; `path` None is every path.

    `into` header: `name` and `template`, in which `{value}` stands for the secret. `basic`: the password of `user`.
    `query`: the parameter `name`. `always` puts it there also when the placeholder is not in the request.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(min_length=1, max_length=255)
    port: int | None = Field(default=443, ge=1, le=65_535)
    path: str | None = Field(default=None, max_length=500)
    methods: list[str] | None = Field(default=None, min_length=1, max_length=len(METHODS))
    into: Into = "header"
    name: str = Field(default="", max_length=100)
    template: str = Field(default="", max_length=200)
    user: str = Field(default="", max_length=200)
    always: bool = False

    @field_validator("path")
    @classmethod
    def _checked_path(cls, path: str | None) -> str | None:
        if path is None:
            return None
        if not _PATH.fullmatch(path) or any(part in (".", "..") for part in path.split("/")):
            raise ValueError("a path begins with / and holds neither empty parts, dots alone, nor %")
        return path.rstrip("/") or None

    @model_validator(mode="after")
    def _whole(self) -> Binding:
        rule = EgressRule(host=self.host, port=self.port, methods=self.methods)
        object.__setattr__(self, "host", rule.host)
        object.__setattr__(self, "methods", rule.methods)
        if self.into == "header":
            self._check_header()
        elif self.into == "basic":
            if self.name or self.template or (self.user and not _USER.fullmatch(self.user)):
                raise ValueError("basic takes a user, without a colon, and nothing else")
            if self.always and not self.user:
                raise ValueError("to be put there always, basic needs a user")
        elif self.template or self.user or not _PARAMETER.fullmatch(self.name):
            raise ValueError("query takes the name of a parameter and nothing else")
        return self

    def _check_header(self) -> None:
        name, template = (
            self.name or "Authorization",
            self.template or ("" if self.name else f"Bearer {VALUE}"),
        )
        if self.user or not _HEADER.fullmatch(name) or name.lower() in _TAKEN_HEADERS:
            raise ValueError("this header cannot carry a credential")
        template = template or VALUE
        if template.count(VALUE) != 1 or not _PRINTABLE.fullmatch(template) or template != template.strip():
            raise ValueError("a template is printable text that holds {value} once")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "template", template)

    @property
    def rule(self) -> EgressRule:
        """Return the place as an entry of an agent's list."""
        return EgressRule(host=self.host, port=self.port, methods=self.methods)

    def is_at(self, host: str, port: int) -> bool:
        """Say whether the binding is about a host, in its normal form, and port."""
        return self.rule.matches(host, port)

    def allows(self, method: str) -> bool:
        """Say whether a request of this method gets the value. TRACE and unknown ones never do."""
        return method in (METHODS if self.methods is None else self.methods)


def read_bindings(stored: Iterable[object]) -> tuple[Binding, ...]:
    """Read bindings as they are stored."""
    return tuple(Binding.model_validate(entry) for entry in stored)


def parse_binding(line: str) -> Binding:
    """Read a binding as a person types it; `=>` for `->` puts it there always. Raises: ValueError.

    `api.github.com/repos/acme GET,POST -> header Authorization: Bearer {value}`, `git.example.com -> basic bot`,
    `maps.example.com => query key`.
    """
    found = _LINE.fullmatch(line.strip())
    if found is None:
        raise ValueError(
            "a binding is host/path METHODS -> header Name: template, -> basic user or -> query name"
        )
    rule = parse_rule(f"{found['place']} {found['methods'] or ''}")
    into, _, rest = found["into"].strip().partition(" ")
    fields: dict[str, str] = {}
    if into == "header":
        name, _, template = rest.partition(":")
        fields = {"name": name.strip(), "template": template.strip()}
    elif into == "basic":
        fields = {"user": rest.strip()}
    else:
        fields = {"name": rest.strip()}
    try:
        return Binding.model_validate(
            {
                **rule.model_dump(),
                "path": found["path"],
                "into": into,
                "always": found["arrow"] == "=>",
                **{name: value for name, value in fields.items() if value},
            }
        )
    except ValidationError as error:
        raise ValueError(
            "; ".join(str(found["msg"]) for found in error.errors(include_input=False))
        ) from error


def show_binding(binding: Binding) -> str:
    """Return a binding as `parse_binding` reads it."""
    place, _, methods = show_rule(binding.rule).partition(" ")
    arrow = "=>" if binding.always else "->"
    head = " ".join(filter(None, [f"{place}{binding.path or ''}", methods, arrow]))
    match binding.into:
        case "header":
            return f"{head} header {binding.name}: {binding.template}"
        case "basic":
            return f"{head} basic {binding.user}".rstrip()
        case "query":
            return f"{head} query {binding.name}"
