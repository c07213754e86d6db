"""The installation's certificate authority, with which TLS is ended at the proxy for entries that name methods."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import ssl
import tempfile
from collections import OrderedDict
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.kit.addresses import find_address
from services.kit.clock import now
from services.kit.environment import environment

FILE_NAME = "egress-authority.pem"
_AUTHORITY_LIFETIME = timedelta(days=3650)
_LEAF_LIFETIME = timedelta(days=7)
_LEAF_RENEWED_AFTER = timedelta(days=1)
_BACKDATED = timedelta(hours=1)  # for clocks that are behind
_KEPT = 256


class Authority:
    """Signs a certificate for each host. Its key lies in one file that only the gateway's user may read."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._contexts: OrderedDict[str, tuple[ssl.SSLContext, x509.Certificate]] = OrderedDict()

    @property
    def pem(self) -> str:
        """Return the public certificate."""
        return self._certificate.public_bytes(Encoding.PEM).decode()

    def context_for(self, host: str) -> ssl.SSLContext:
        """Return what ends TLS for a host: HTTP/1.1 only, as that is what the proxy reads."""
        found = self._contexts.get(host)
        if found is None or found[1].not_valid_before_utc + _BACKDATED + _LEAF_RENEWED_AFTER < now():
            leaf = self._sign(host)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.set_alpn_protocols(["http/1.1"])
            _load(context, _pem_of(self._leaf_key) + leaf.public_bytes(Encoding.PEM))
            found = self._contexts[host] = (context, leaf)
        self._contexts.move_to_end(host)
        while len(self._contexts) > _KEPT:
            self._contexts.popitem(last=False)
        return found[0]

    def _sign(self, host: str) -> x509.Certificate:
        address = find_address(host)
        name = x509.DNSName(host) if address is None else x509.IPAddress(address)
        # A common name has 64 characters at most; the alternative name is the one that counts.
        builder = _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])]), _LEAF_LIFETIME)
        builder = (
            builder.issuer_name(self._certificate.subject)
            .public_key(self._leaf_key.public_key())
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        return builder.sign(self._key, hashes.SHA256())


def open_authority(data_dir: Path, installation: str) -> Authority:
    """Return the authority of this host's gateway, making it when it is first needed.

    Two that make one at once end with the same: the file appears whole, and once.
    """
    path = data_dir / FILE_NAME
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=data_dir, prefix=".authority-"
        ) as file:  # mkstemp's mode is 0600
            file.write(_make(installation))
            file.flush()
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(file.name)
    pem = path.read_bytes()
    key = load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} holds no key of ours")
    return Authority(key, x509.load_pem_x509_certificate(pem))


class AuthorityDoor:
    """Opens the authority when it is first needed: most agents never do."""

    def __init__(self, data_dir: Path, installation: str) -> None:
        self._data_dir = data_dir
        self._installation = installation
        self._opening = asyncio.Lock()
        self._authority: Authority | None = None

    async def open(self) -> Authority:
        """Return the authority."""
        async with self._opening:
            if self._authority is None:
                self._authority = await asyncio.to_thread(open_authority, self._data_dir, self._installation)
            return self._authority


@functools.cache
def door_of_this_process() -> AuthorityDoor:
    """Return the door to the authority of this process's settings."""
    env = environment()
    return AuthorityDoor(env.data_dir, env.installation)


async def add_authority(turn: dict[str, Any]) -> None:
    """Put the public certificate into a turn whose agent has TLS ended at the proxy."""
    if egress := turn.get("options", {}).get("egress"):
        egress["ca_pem"] = (await door_of_this_process().open()).pem


def _make(installation: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Slipway egress {installation}")])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        _builder(name, _AUTHORITY_LIFETIME)
        .issuer_name(name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pem_of(key) + certificate.public_bytes(Encoding.PEM)


def _builder(subject: x509.Name, lifetime: timedelta) -> x509.CertificateBuilder:
    moment = now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _BACKDATED)
        .not_valid_after(moment + lifetime)
    )


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """Give a context its key and certificate. It reads files only: this one is in memory and has no name."""
    handle = os.memfd_create("leaf")
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{handle}")
