"""The generated parts of the client are those that the API of today would give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deploy.clients import generated

ROOT = Path(__file__).parents[2]


def test_the_client_is_as_the_api_is():
    behind = [str(path.relative_to(ROOT)) for path, text in generated().items() if path.read_text() != text]
    assert not behind, "run `python -m deploy.clients`, and commit what it writes"


def test_the_client_stands_alone():
    code = (
        "import sys; sys.path.insert(0, 'clients/python');"
        "import slipway_client, slipway_cli.main;"
        "ours = {name.partition('.')[0] for name in sys.modules};"
        "assert not ours & {'services', 'django', 'pydantic', 'deploy'}, ours"
    )
    subprocess.run([sys.executable, "-I", "-c", code], cwd=ROOT, check=True, timeout=60)
