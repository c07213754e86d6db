"""How platforms are found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from services.adapters.chat import registry


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of platforms beside ours, in which tests may make folders."""
    package = tmp_path / "platforms_of_tests"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "__file__", str(package / "registry.py"))
    monkeypatch.setattr(registry, "__package__", package.name)
    monkeypatch.setattr(registry, "_found", registry._found.__wrapped__)
    for name in [name for name in sys.modules if name.startswith(package.name)]:
        monkeypatch.delitem(sys.modules, name)
    return package


def _add(folder: Path, kind: str, source: str) -> None:
    (folder / kind).mkdir()
    (folder / kind / "__init__.py").touch()
    (folder / kind / "adapter.py").write_text(source)


def test_each_folder_with_an_adapter_is_a_platform() -> None:
    kinds = {adapter.manifest.kind for adapter in registry.list_adapters()}
    folders = {path.parent.name for path in Path(registry.__file__).parent.glob("*/adapter.py")}
    assert kinds == folders
    assert {"telegram", "slack"} <= kinds


def test_an_unknown_kind_is_found_to_be_none() -> None:
    assert registry.find_adapter("pigeon") is None


def test_an_adapter_takes_its_address_from_its_own_setting() -> None:
    adapters = registry.build_adapters({"SLACK_API_BASE": "http://127.0.0.1:1/api/", "TELEGRAM_API_BASE": ""})
    assert vars(adapters["slack"])["_base_url"] == "http://127.0.0.1:1/api/"
    assert vars(adapters["telegram"])["_base_url"] == "https://api.telegram.org"


def test_a_broken_adapter_is_an_error(folder: Path) -> None:
    _add(folder, "broken", "import no_such_module_anywhere")
    with pytest.raises(ModuleNotFoundError):
        registry.list_adapters()


def test_a_folder_named_otherwise_than_its_kind_is_an_error(folder: Path) -> None:
    _add(folder, "pigeon", "from services.adapters.chat.slack.adapter import ADAPTER")
    with pytest.raises(ImportError, match="pigeon"):
        registry.list_adapters()


def test_a_new_folder_is_enough(folder: Path) -> None:
    source = (
        "from dataclasses import replace\n"
        "from services.adapters.chat.slack.adapter import SlackAdapter\n"
        "class ADAPTER(SlackAdapter):\n"
        "    manifest = replace(SlackAdapter.manifest, kind='pigeon')\n"
    )
    _add(folder, "pigeon", source)
    assert list(registry.build_adapters({})) == ["pigeon"]
