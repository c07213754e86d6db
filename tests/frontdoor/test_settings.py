"""settings.env: made once, kept, edited by people, fed by the environment."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from deploy.local import envfile, settings_env
from deploy.local.envfile import LineRefused
from deploy.local.layout import Layout
from deploy.local.ports import is_free


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout.at(tmp_path / "stack")
    made.make_folders()
    return made


def test_settings_are_the_same_on_the_second_start(layout: Layout) -> None:
    first = settings_env.keep(layout, {})
    text = layout.settings_env.read_text()
    assert settings_env.keep(layout, {}) == first
    assert layout.settings_env.read_text() == text


def test_two_stacks_share_no_secret_and_no_port(tmp_path: Path) -> None:
    kept = []
    for name in ("one", "two"):
        layout = Layout.at(tmp_path / name)
        layout.make_folders()
        kept.append(settings_env.keep(layout, {}))
    assert not set(kept[0].values()) & set(kept[1].values())


def test_settings_are_readable_by_their_owner_only(layout: Layout) -> None:
    settings_env.keep(layout, {})
    assert stat.S_IMODE(layout.settings_env.stat().st_mode) == 0o600
    layout.settings_env.chmod(0o644)
    settings_env.keep(layout, {})
    assert stat.S_IMODE(layout.settings_env.stat().st_mode) == 0o600


def test_ports_are_free_distinct_and_below_the_outgoing_range(layout: Layout) -> None:
    kept = settings_env.keep(layout, {})
    ports = [int(kept[name]) for name in settings_env.SERVER_PORTS + settings_env.SERVICE_PORTS]
    assert len(set(ports)) == len(ports)
    assert all(is_free(port) and 20_000 <= port < 32_768 for port in ports)


def test_what_a_person_writes_stays(layout: Layout) -> None:
    settings_env.keep(layout, {})
    with layout.settings_env.open("a") as stream:
        stream.write("# mine\nSLIPWAY_SANDBOX_SLOTS=3 # few\n")
    kept = settings_env.keep(layout, {"TELEGRAM_API_BASE": "http://127.0.0.1:1"})
    assert kept["SLIPWAY_SANDBOX_SLOTS"] == "3"
    assert "# mine\n" in layout.settings_env.read_text()


def test_outside_parties_come_from_the_environment_and_stay(layout: Layout) -> None:
    given = {
        "ANTHROPIC_API_KEY": "key with 'quotes'",
        "SLACK_API_BASE": "http://127.0.0.1:2/",
        "SHELL": "/bin/sh",
    }
    settings_env.keep(layout, given)
    kept = settings_env.keep(layout, {})
    assert kept["ANTHROPIC_API_KEY"] == "key with 'quotes'"
    assert kept["SLACK_API_BASE"] == "http://127.0.0.1:2/"
    assert "SHELL" not in kept


def test_an_empty_value_in_the_environment_takes_a_setting_out(layout: Layout) -> None:
    settings_env.keep(layout, {"ANTHROPIC_API_KEY": "key"})
    assert "ANTHROPIC_API_KEY" not in settings_env.keep(layout, {"ANTHROPIC_API_KEY": ""})


def test_a_bad_installation_name_is_refused(layout: Layout) -> None:
    settings_env.keep(layout, {})
    text = envfile.merge(layout.settings_env.read_text(), {"SLIPWAY_INSTALLATION": "../etc"})
    layout.settings_env.write_text(text)
    with pytest.raises(ValueError, match="SLIPWAY_INSTALLATION"):
        settings_env.keep(layout, {})


def test_a_line_that_is_no_setting_is_refused_with_its_number() -> None:
    with pytest.raises(LineRefused, match="line 2"):
        envfile.parse("A=1\nnonsense\n")


@pytest.mark.parametrize(
    "value", ["", "plain", "two words", "it's", 'a "b" c', "100%", "a=b#c", "$HOME `id`"]
)
def test_any_value_survives_writing_and_reading(value: str) -> None:
    assert envfile.parse(envfile.render({"KEY": value})) == {"KEY": value}
    assert envfile.parse(envfile.merge("KEY=old\n", {"KEY": value})) == {"KEY": value}


def test_a_person_s_setting_wins_over_what_is_worked_out(layout: Layout) -> None:
    kept = settings_env.keep(layout, {}) | {"SLIPWAY_PUBLIC_URL": "http://elsewhere.example"}
    settings = settings_env.process_settings(layout, kept, {})
    assert settings["SLIPWAY_PUBLIC_URL"] == "http://elsewhere.example"


def test_every_role_has_its_own_url_and_local_settings_stay_here(layout: Layout) -> None:
    settings = settings_env.process_settings(layout, settings_env.keep(layout, {}), {})
    databases = [value for key, value in settings.items() if key.endswith("DATABASE_URL")]
    assert len({url.split("@")[0] for url in databases}) == len(settings_env.ROLES)
    assert all("@127.0.0.1:" in url for url in databases)
    assert not [key for key in settings if key.startswith("LOCAL_")]


def test_moved_ports_are_new_and_kept(layout: Layout) -> None:
    kept = settings_env.keep(layout, {})
    moved = settings_env.move_ports(layout, ["SLIPWAY_API_PORT"])
    assert moved["SLIPWAY_API_PORT"] != kept["SLIPWAY_API_PORT"]
    assert {**moved, "SLIPWAY_API_PORT": kept["SLIPWAY_API_PORT"]} == kept
    assert settings_env.keep(layout, {}) == moved
