"""What a build is given beside its recipe: the machine's CA bundle, proxies and mirrors, for the time of the build."""

from __future__ import annotations

import io
import re
import shlex
import tarfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from services.domain.ports.images import Recipe

FOLDER = "slipway-build"
SCRIPT = Path(__file__).with_name("install.sh")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_MIRRORS = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
    "NPM_CONFIG_REGISTRY",
    "npm_config_registry",
)
_SYSTEM_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_USERINFO = re.compile(r"://[^/\s@]+@")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


class BuildContext:
    """The files of one build, and what of them its log must not say."""

    def __init__(self, recipe: Recipe, environ: Mapping[str, str]) -> None:
        self._recipe = recipe
        self._settings = {name: environ[name] for name in (*_PROXIES, *_MIRRORS) if environ.get(name)}
        # The machine's own bundle holds the authority of a company's mirror or proxy, if there is one.
        bundle = Path(environ.get("SSL_CERT_FILE") or _SYSTEM_BUNDLE)
        self._ca = bundle.read_bytes() if bundle.is_file() else b""
        self._private = sorted(self._private_words(), key=len, reverse=True)

    def archive(self) -> bytes:
        """Return the folder of the build as a tar."""
        recipe = self._recipe
        files = {
            "install.sh": SCRIPT.read_bytes(),
            "environment": self._environment().encode(),
            "apt.conf": self._apt_conf().encode(),
            "ca.pem": self._ca,
            **{name: "\n".join(getattr(recipe, name)).encode() for name in ("apt", "pip", "npm")},
        }
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            folder = tarfile.TarInfo(FOLDER)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
            for name, content in files.items():
                member = tarfile.TarInfo(f"{FOLDER}/{name}")
                member.size, member.mode = len(content), 0o644
                archive.addfile(member, io.BytesIO(content))
        return packed.getvalue()

    def cleaned(self, output: bytes) -> str:
        """Return output as its owner may read it: no control characters, no credentials, no mirrors of this host."""
        text = _ESCAPES.sub("", output.decode("utf-8", "replace"))
        for word in self._private:
            text = text.replace(word, "mirror")
        return _USERINFO.sub("://", text)

    def _environment(self) -> str:
        named = dict(self._settings) | {"PIP_CONFIG_FILE": "/dev/null"}
        if self._ca:
            path = f"/{FOLDER}/ca.pem"
            named |= dict.fromkeys(("PIP_CERT", "NPM_CONFIG_CAFILE", "NODE_EXTRA_CA_CERTS"), path)
        return "".join(f"{name}={shlex.quote(value)}\n" for name, value in named.items())

    def _apt_conf(self) -> str:
        ca = f'Acquire::https::CAInfo "/{FOLDER}/ca.pem";\n' if self._ca else ""
        return f'{ca}Acquire::Retries "3";\nAcquire::Languages "none";\nDpkg::Options {{ "--force-unsafe-io"; }};\n'

    def _private_words(self) -> set[str]:
        values = [value for name, value in self._settings.items() if name.lower() != "no_proxy"]
        hosts = {urlsplit(word).netloc for value in values for word in value.split()}
        return {word for host in hosts for word in (host, host.rpartition("@")[2]) if word}
