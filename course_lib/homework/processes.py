"""What the kernel tells of the processes that a worker has started (Linux; elsewhere little or nothing)."""

import contextlib
import os
import re

__all__ = ["descendants", "first_inside", "resident"]

HELD = re.compile(rb"^(?:RssAnon|RssShmem|VmSwap):\s*(\d+) kB$", re.MULTILINE)


def descendants(pid: int) -> list[int]:
    """A process and all that it started, as the kernel lists them; itself alone where it does not."""
    found, waiting = [], [pid]
    while waiting and len(found) < 10_000:
        pid = waiting.pop()
        found.append(pid)
        with contextlib.suppress(OSError, ValueError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children") as file:
                    waiting += map(int, file.read().split())
    return found


def resident(pid: int) -> int:
    """Bytes that a process holds, without files: its own, shared with its children, and swapped out."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return 1024 * sum(map(int, HELD.findall(file.read())))
    except OSError:
        return 0


def first_inside(pid: int) -> int | None:
    """A handle of the first process in a process's walls; None without walls."""
    for each in descendants(pid):
        with contextlib.suppress(OSError):
            with open(f"/proc/{each}/status") as file:
                numbers = re.search(r"^NSpid:(.*)$", file.read(), re.MULTILINE)
            if numbers and numbers[1].split()[1:] and numbers[1].split()[-1] == "1":
                return os.pidfd_open(each)
    return None
