"""System calls that no answer needs and that would pass the walls' limits by, as a filter for the kernel.

Memory that no process is seen to hold (memfd, System V, vmsplice), other processes' memory (ptrace), keys
that a user's processes share, and parts of the kernel that are rarely used and often broken into.
A denied call fails as one that this kernel does not have (ENOSYS). Source: seccomp(2).
"""

import errno
import platform
import struct

__all__ = ["DENIED", "program"]

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
DENIED = {  # name: number on x86_64, on aarch64
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "vmsplice": (278, 75),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
}
LOAD, IF_EQUAL, IF_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, DENY, KILL = 0x7FFF0000, 0x00050000 | errno.ENOSYS, 0x80000000


def program(machine: str = platform.machine()) -> bytes:
    """The filter, for `bwrap --seccomp`; it denies nothing on a machine whose numbers are not known here."""
    if machine not in ARCHITECTURES:
        return struct.pack("=HBBI", RETURN, 0, 0, ALLOW)
    numbers = [both[list(ARCHITECTURES).index(machine)] for both in DENIED.values()]
    steps = [(LOAD, 0, 0, 4), (IF_EQUAL, 1, 0, ARCHITECTURES[machine]), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    steps += [(IF_AT_LEAST, 0, 1, 1 << 30), (RETURN, 0, 0, DENY)]  # x86_64's second table of calls
    for number in numbers:
        steps += [(IF_EQUAL, 0, 1, number), (RETURN, 0, 0, DENY)]
    return b"".join(struct.pack("=HBBI", *step) for step in [*steps, (RETURN, 0, 0, ALLOW)])
