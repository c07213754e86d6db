"""What an agent may reach outside: entries of hosts, ports and methods, and whether they allow a request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.kit.addresses import HostInvalid, find_address, is_public, normalise_host

MAX_RULES = 200
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
_WILDCARD = "*."
# `*.com` would be half of the internet.
_LEAST_LABELS = 2


class EgressRule(BaseModel):
    """One entry of an agent's allowlist. `*.example.com` is every host below example.com, not example.com itself.

    `port` None is every port, `methods` None every method. For https an entry with methods has TLS ended at the proxy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(min_length=1, max_length=255)
    port: int | None = Field(default=443, ge=1, le=65_535)
    methods: list[str] | None = Field(default=None, min_length=1, max_length=len(METHODS))

    @field_validator("host")
    @classmethod
    def _checked_host(cls, host: str) -> str:
        host = host.strip()
        is_wildcard = host.startswith(_WILDCARD)
        name = host.removeprefix(_WILDCARD)
        if "*" in name:
            raise ValueError("a * stands for whole parts at the beginning, as in *.example.com")
        try:
            name = normalise_host(name)
        except HostInvalid as error:
            raise ValueError(str(error)) from error
        address = find_address(name)
        if address is not None and (is_wildcard or not is_public(address)):
            raise ValueError("an address must be a public one")
        if is_wildcard and name.count(".") + 1 < _LEAST_LABELS:
            raise ValueError("*. needs a name of two parts at least, as in *.example.com")
        return f"{_WILDCARD}{name}" if is_wildcard else name

    @field_validator("methods")
    @classmethod
    def _checked_methods(cls, methods: list[str] | None) -> list[str] | None:
        if methods is None:
            return None
        wanted = {method.strip().upper() for method in methods}
        unknown = sorted(wanted - set(METHODS))
        if unknown:
            raise ValueError(f"unknown methods: {', '.join(unknown)}")
        return [method for method in METHODS if method in wanted]

    def matches(self, host: str, port: int) -> bool:
        """Say whether the entry is about this host, in its normal form, and port."""
        if self.port is not None and self.port != port:
            return False
        if self.host.startswith(_WILDCARD):
            return host.endswith(self.host[1:]) and len(host) > len(self.host) - 1
        return host == self.host


@dataclass(frozen=True, slots=True)
class Grant:
    """What the entries together allow at one host and port. `methods` None is all of them."""

    methods: frozenset[str] | None

    def allows(self, method: str) -> bool:
        """Say whether a method may be used."""
        return self.methods is None or method in self.methods


def find_grant(rules: Iterable[EgressRule], host: str, port: int) -> Grant | None:
    """Return what the entries allow at a host and port; None when no entry is about it."""
    matching = [rule for rule in rules if rule.matches(host, port)]
    if not matching:
        return None
    if any(rule.methods is None for rule in matching):
        return Grant(None)
    return Grant(frozenset(method for rule in matching for method in rule.methods or ()))


def read_rules(stored: Iterable[object]) -> list[EgressRule]:
    """Read entries as they are stored."""
    return [EgressRule.model_validate(entry) for entry in stored]


def parse_rule(line: str) -> EgressRule:
    """Read an entry as a person types it: `api.github.com`, `*.python.org:443`, `example.com:80 GET,HEAD`, `host:*`.

    Raises: ValueError.
    """
    place, _, methods = line.strip().partition(" ")
    host, separator, port = place.rpartition(":")
    if not separator or (":" in host and not host.endswith("]")):
        host, port = place, "443"  # no port, or an IPv6 address without brackets
    if port != "*" and not (port.isascii() and port.isdigit()):
        raise ValueError(f"{port!r} is no port")
    return EgressRule(
        host=host,
        port=None if port == "*" else int(port),
        methods=[name for name in methods.replace(",", " ").split() if name] or None,
    )


def show_rule(rule: EgressRule) -> str:
    """Return an entry as `parse_rule` reads it."""
    host = f"[{rule.host}]" if ":" in rule.host else rule.host
    port = "" if rule.port == 443 else f":{rule.port or '*'}"
    return f"{host}{port}{' ' + ','.join(rule.methods) if rule.methods else ''}"
