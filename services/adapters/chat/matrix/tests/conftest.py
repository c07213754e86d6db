"""One homeserver for all tests of the adapter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.synapse import Synapse


@pytest.fixture(scope="package")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    with Synapse(tmp_path_factory.mktemp("synapse")) as server:
        yield server
