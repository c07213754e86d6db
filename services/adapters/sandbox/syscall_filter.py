"""A seccomp filter for bubblewrap: what a hostile tenant needs and an agent does not.

A list of what is refused, narrower than an engine's list of what is allowed: namespaces (a user namespace gives
back every capability inside of it, and with them most of the kernel to attack), mounts, kernel modules, keys,
BPF, performance events, tracing of memory faults. Source: seccomp(2), bpf's classic encoding in linux/filter.h.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Mapping
from types import MappingProxyType

# name: (its number on x86_64, on aarch64)
_REFUSED: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "unshare": (272, 97),
        "setns": (308, 268),
        "mount": (165, 40),
        "umount2": (166, 39),
        "pivot_root": (155, 41),
        "chroot": (161, 51),
        "keyctl": (250, 219),
        "add_key": (248, 217),
        "request_key": (249, 218),
        "bpf": (321, 280),
        "perf_event_open": (298, 241),
        "userfaultfd": (323, 282),
        "kexec_load": (246, 104),
        "init_module": (175, 105),
        "finit_module": (313, 273),
        "delete_module": (176, 106),
        "open_by_handle_at": (304, 265),
        "swapon": (167, 224),
        "swapoff": (168, 225),
        "reboot": (169, 142),
        "settimeofday": (164, 170),
        "clock_settime": (227, 112),
        "acct": (163, 89),
        "quotactl": (179, 60),
        "open_tree": (428, 428),
        "move_mount": (429, 429),
        "fsopen": (430, 430),
        "fsconfig": (431, 431),
        "fsmount": (432, 432),
        "fspick": (433, 433),
        "mount_setattr": (442, 442),
        "io_uring_setup": (425, 425),
        "kcmp": (312, 272),
        "process_vm_readv": (310, 270),
        "process_vm_writev": (311, 271),
    }
)
# machine: (column of the table above, audit architecture, clone, clone3)
_MACHINES: Mapping[str, tuple[int, int, int, int]] = MappingProxyType(
    {"x86_64": (0, 0xC000003E, 56, 435), "aarch64": (1, 0xC00000B7, 220, 435)}
)
_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW… flag of clone(2) but CLONE_NEWTIME, which clone cannot take
_X32_BIT = 0x40000000

_LOAD, _JUMP_EQUAL, _JUMP_ANY, _JUMP_NOT_BELOW, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _FIRST_ARGUMENT_OFFSET = 0, 4, 16


def is_known_machine() -> bool:
    return platform.machine() in _MACHINES


def build_filter(machine: str | None = None) -> bytes:
    """Return the filter's program for a machine that `is_known_machine`.

    clone3 answers "no such call": its flags lie in memory, where a filter cannot look; libraries fall back to clone.
    """
    column, architecture, clone, clone3 = _MACHINES[machine or platform.machine()]
    unknown = _instruction(_RETURN, _ERRNO | errno.ENOSYS)
    refuse = _instruction(_RETURN, _ERRNO | errno.EPERM)
    program = [
        _instruction(_LOAD, _ARCHITECTURE_OFFSET),
        _instruction(_JUMP_EQUAL, architecture, when_true=1),
        unknown,
        _instruction(_LOAD, _NUMBER_OFFSET),
        _instruction(_JUMP_NOT_BELOW, _X32_BIT, when_false=1),
        unknown,
        _instruction(_JUMP_EQUAL, clone3, when_false=1),
        unknown,
    ]
    for numbers in _REFUSED.values():
        program += [_instruction(_JUMP_EQUAL, numbers[column], when_false=1), refuse]
    program += [
        _instruction(_JUMP_EQUAL, clone, when_false=3),
        _instruction(_LOAD, _FIRST_ARGUMENT_OFFSET),
        _instruction(_JUMP_ANY, _NEW_NAMESPACES, when_false=1),
        refuse,
        _instruction(_RETURN, _ALLOW),
    ]
    return b"".join(program)


def _instruction(code: int, value: int, *, when_true: int = 0, when_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, when_true, when_false, value)
