"""The process that runs a student's code: reads requests, answers with plain values. It knows no marks.

Whatever the code does to this process, only bytes on one pipe come out of it, and they are taken as an
answer, never as a mark. Limits that a process sets itself are set before the first line from a student.
"""

import contextlib
import resource
import sys
import types

from course_lib.homework import wire
from course_lib.homework.running import answer

__all__ = ["main"]


def main(requests: int, answers: int, memory: int, seconds: int, files: int, processes: int) -> None:
    """Answer requests until there are none.

    requests, answers: file descriptors.   memory: bytes beyond what the imports take.   seconds: of CPU.
    """
    own = sys.modules["__main__"] = types.ModuleType("__main__")
    _limit("RLIMIT_CORE", 0)
    _limit("RLIMIT_FSIZE", 64 << 20)
    _limit("RLIMIT_NOFILE", files)
    _limit("RLIMIT_CPU", seconds)
    import torch

    torch.set_num_threads(1)
    _limit("RLIMIT_AS", _address_space() + memory)
    _limit("RLIMIT_NPROC", processes)
    vars(own)["display"] = print  # a notebook has it

    wire.send(answers, {"ready": True})
    while True:
        try:
            request, body = wire.read(requests, float("inf"))
        except wire.Closed:
            return
        reply, reply_body = answer(request, body, vars(own))
        wire.send(answers, {"id": request["id"]} | reply, reply_body)


def _address_space():
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:  # not Linux
        return 4 << 30


def _limit(name, value):
    kind = getattr(resource, name, None)
    if kind is None:
        return
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses some
        resource.setrlimit(kind, (value, value))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
