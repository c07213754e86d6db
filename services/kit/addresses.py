"""Which addresses belong to the public internet, and what a host name is when it is written down properly."""

from __future__ import annotations

import ipaddress
import re

import idna

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# What inet_aton takes for a number: decimal, octal, hexadecimal.
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
MAX_HOST_CHARS = 253

# Source: IANA's registries of special-purpose addresses, and the clouds' own documents. Written out, because what
# Python calls global changes with its version, and because a few of these are public on paper.
_CLOSED_V4 = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and Alibaba's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's platform address, public on paper
        "169.254.0.0/16",  # link-local, and the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
# Everything outside of 2000::/3 is closed as it is: mapped and compatible IPv4, NAT64, local, multicast.
_OPEN_V6 = ipaddress.ip_network("2000::/3")
_CLOSED_V6 = tuple(
    ipaddress.ip_network(text)
    for text in (
        "2001::/23",  # Teredo, which embeds IPv4, benchmarking, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4, which embeds IPv4
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)


class HostInvalid(ValueError):
    """The text is no host name and no address in its usual form. The message is safe to show."""


def is_public(address: IPAddress) -> bool:
    """Say whether an address is a plain one of the public internet. One that embeds another is not."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    if address.scope_id is not None or address not in _OPEN_V6:
        return False
    return not any(address in network for network in _CLOSED_V6)


def find_address(host: str) -> IPAddress | None:
    """Return the address that a normal host is, or None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def normalise_host(text: str) -> str:
    """Return a host in its one form: a lower-case ASCII name without a last dot, or an address as usually written.

    Raises: HostInvalid, also for the other ways to write an address: 2130706433, 0x7f.1, 0177.0.0.1, 127.1.
    """
    host = text.strip().removesuffix(".").lower()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if ":" in host:
        return _normalise_v6(host)
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode()
        except idna.IDNAError as error:
            raise HostInvalid("This is no host name.") from error
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # A name whose last part is a number is an address to most resolvers.
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise HostInvalid("An address has four decimal numbers.") from error
    if len(host) > MAX_HOST_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        raise HostInvalid("This is no host name.")
    return host


def _normalise_v6(host: str) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError as error:
        raise HostInvalid("This is no address.") from error
    if address.scope_id is not None:
        raise HostInvalid("An address has no zone here.")
    return str(address)
