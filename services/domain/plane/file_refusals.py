"""What a runner says when it cannot do something with a file, as the errors that people and agents are shown."""

from __future__ import annotations

from typing import Any

from services.domain.errors import (
    FileChanged,
    FileDenied,
    FileExists,
    FileMissing,
    FileTooLarge,
    IsAFolder,
    NotAFolder,
    PathInvalid,
    Permanent,
    RangeInvalid,
    SandboxBusy,
    SandboxUnreachable,
    SlipwayError,
    VolumeFull,
)


class FileRefusedBySystem(Permanent):
    """The sandbox's file system refused for a reason that has no code of its own."""

    code = "file_failed"


_REFUSALS: dict[str, type[SlipwayError]] = {
    refusal.code: refusal
    for refusal in (
        FileChanged, FileDenied, FileExists, FileMissing, FileTooLarge, IsAFolder, NotAFolder, PathInvalid,
        RangeInvalid, SandboxBusy, SandboxUnreachable, VolumeFull,
    )
}  # fmt: skip


def refusal_of(answer: dict[str, Any]) -> SlipwayError:
    """Return the error that a runner's answer of the kind `error` stands for."""
    refusal = _REFUSALS.get(str(answer.get("code")), FileRefusedBySystem)
    return refusal(str(answer.get("message"))[:300])
