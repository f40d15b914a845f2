"""The process that runs a student's code: reads requests, answers with plain values. It knows no marks.

Whatever the code does to this process, only bytes on one pipe come out of it, and they are taken as an
answer, never as a mark. Limits that a process sets itself are set before the first line from a student.
"""

import contextlib
import os
import random
import resource
import sys
import types

from course_lib.homework import wire
from course_lib.homework.running import evaluate, run_cell, told

__all__ = ["main"]

MESSAGE = 2_000  # characters


def main(requests: int, answers: int, memory: int, seconds: int, files: int, processes: int) -> None:
    """Answer requests until there are none.

    requests, answers: file descriptors.   memory: bytes beyond what the imports take.   seconds: of CPU.
    """
    own = sys.modules["__main__"] = types.ModuleType("__main__")
    _limit("RLIMIT_CORE", 0)
    _limit("RLIMIT_FSIZE", 64 << 20)
    _limit("RLIMIT_NOFILE", files)
    _limit("RLIMIT_CPU", seconds)
    import numpy as np
    import torch

    torch.set_num_threads(1)
    _limit("RLIMIT_AS", _address_space() + memory)
    _limit("RLIMIT_NPROC", processes)
    vars(own)["display"] = print  # a notebook has it

    def send(message, body=b""):
        frame = memoryview(wire.pack(message, body))
        while frame:
            frame = frame[os.write(answers, frame) :]

    send({"ready": True})
    while True:
        try:
            request, body = wire.read(requests, float("inf"))
        except wire.Closed:
            return
        seed = request["seed"]
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - what a student's unseeded draws use
        torch.manual_seed(seed)
        reply, reply_body = _answer(request, body, vars(own))
        send({"id": request["id"]} | reply, reply_body)


def _answer(request, body, namespace):
    try:
        if "cell" in request:
            run_cell(request["name"], request["cell"], namespace)
            return {"value": None}, b""
        value = evaluate(request["code"], wire.decode(request["given"], body), namespace)
        if value is ...:
            return {"failure": ["blank", "there is no answer yet"]}, b""
        tree, out = wire.encode(value)
        wire.check(tree, out)
        return {"value": tree}, out
    except wire.Malformed as error:
        return {"failure": ["kind", f"the value is too large to be sent back: {error}"]}, b""
    except wire.NotPlain as error:
        return {"failure": ["kind", str(error)[:MESSAGE]]}, b""
    except MemoryError:
        return {"failure": ["memory", "more memory than is allowed"]}, b""
    except BaseException as error:
        blank = type(error) is NotImplementedError and "not answered yet" in str(error)
        return {"failure": ["blank" if blank else "raised", told(error)[:MESSAGE]]}, b""


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
