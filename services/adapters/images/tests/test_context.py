"""What a build is given, and what its log does not say."""

from __future__ import annotations

import io
import shlex
import tarfile
from pathlib import Path

from services.adapters.images.context import FOLDER, BuildContext
from services.domain.ports.images import Recipe

RECIPE = Recipe("sha256:base", "derived:1", apt=("tree",), pip=("six==1.16.0", "idna"), npm=())


def files_of(context: BuildContext) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(context.archive())) as archive:
        found = {}
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                found[member.name.removeprefix(f"{FOLDER}/")] = content.read().decode()
        return found


def test_mirrors_proxies_and_the_bundle_of_the_machine_go_in_and_nothing_else(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("certificates")
    files = files_of(
        BuildContext(
            RECIPE,
            {
                "SSL_CERT_FILE": str(bundle),
                "HTTPS_PROXY": "http://proxy.internal:3128",
                "PIP_INDEX_URL": "https://me:pa'ss@pypi.internal/simple",
                "SLIPWAY_SECRET_KEY": "hush",
                "PIP_FIND_LINKS": "/opt/wheels",
            },
        )
    )
    assert (files["apt"], files["pip"], files["npm"], files["ca.pem"]) == (
        "tree",
        "six==1.16.0\nidna",
        "",
        "certificates",
    )
    settings = dict(shlex.split(line)[0].split("=", 1) for line in files["environment"].splitlines())
    assert settings["PIP_INDEX_URL"] == "https://me:pa'ss@pypi.internal/simple"
    assert settings["PIP_CERT"] == f"/{FOLDER}/ca.pem"
    assert set(settings) == {
        "HTTPS_PROXY", "PIP_INDEX_URL", "PIP_CONFIG_FILE", "PIP_CERT", "NPM_CONFIG_CAFILE", "NODE_EXTRA_CA_CERTS",
    }  # fmt: skip
    assert "CAInfo" in files["apt.conf"]


def test_without_a_bundle_nothing_points_to_one() -> None:
    files = files_of(BuildContext(RECIPE, {"SSL_CERT_FILE": "/nowhere/bundle.pem"}))
    assert "ca.pem" not in files["environment"] + files["apt.conf"]
    assert files["ca.pem"] == ""


def test_the_log_names_no_credentials_no_mirrors_and_no_controls() -> None:
    context = BuildContext(RECIPE, {"PIP_INDEX_URL": "https://me:secret@pypi.internal:8443/simple"})
    said = b"\x1b[31mLooking at https://me:secret@pypi.internal:8443/simple, http://a:b@other/\x1b[0m\x00\r\n"
    assert context.cleaned(said) == "Looking at https://mirror/simple, http://other/\n"
