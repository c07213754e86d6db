"""Skills as files of the workspace: those of the turn and no others, whatever stands in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_image.runner.runner import Runner
from agent_image.runner.skills import write_skills
from tests.fakes.gateway_link import FakeGateway

RELEASE = {"name": "release", "files": {"SKILL.md": "Tag it.", "scripts/tag.sh": "git tag\n"}}


def found(workspace: Path) -> dict[str, str]:
    folder = workspace / ".slipway" / "skills"
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_turn_finds_its_skills_and_none_of_earlier_turns(tmp_path: Path) -> None:
    write_skills(tmp_path, [RELEASE, {"name": "old", "files": {"SKILL.md": "Old."}}])
    (tmp_path / ".slipway/skills/release/SKILL.md").write_text("changed by the agent")
    write_skills(tmp_path, [RELEASE])
    assert found(tmp_path) == {"release/SKILL.md": "Tag it.", "release/scripts/tag.sh": "git tag\n"}
    write_skills(tmp_path, [])
    assert found(tmp_path) == {}


def test_a_workspace_without_skills_is_left_as_it_is(tmp_path: Path) -> None:
    write_skills(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", [".slipway", ".slipway/skills"])
def test_a_link_that_an_agent_put_there_is_removed_and_not_followed(tmp_path: Path, where: str) -> None:
    elsewhere, workspace = tmp_path / "elsewhere", tmp_path / "workspace"
    (elsewhere / "skills").mkdir(parents=True)
    (elsewhere / "skills" / "kept").write_text("kept")
    (workspace / where).parent.mkdir(parents=True, exist_ok=True)
    (workspace / where).symlink_to(elsewhere)
    write_skills(workspace, [RELEASE])
    assert set(found(workspace)) == {"release/SKILL.md", "release/scripts/tag.sh"}
    assert [path.name for path in elsewhere.rglob("*")] == ["skills", "kept"]


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out"])
def test_a_path_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="leads out"):
        write_skills(tmp_path, [{"name": "s", "files": {name: "x"}}])


async def test_what_the_turn_runs_can_read_them(
    runner: Runner, gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_WORKSPACE", str(tmp_path))
    done = await gateway.run_turn(
        "shell", "cat .slipway/skills/release/SKILL.md", options={"skills": [RELEASE]}
    )
    assert (done["status"], done["text"].strip()) == ("succeeded", "Tag it.")
