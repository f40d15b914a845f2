"""The walls: bubblewrap's command line, and what stands in the way of it.

Inside there is a read-only system without network and without other processes, and nothing of this user but
the interpreter, its packages and the library, the assignments left out.
"""

import functools
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import course_lib
from course_lib.book.pages import BookError
from course_lib.homework import calls

__all__ = ["NOBODY", "call_filter", "environment", "needed", "readable_hint", "walls", "why_not"]

FOLDER = Path(__file__).parent / "assignments"
NOBODY = 65534  # who runs a student's code where root grades


def environment() -> dict[str, str]:
    """Nothing of the caller's environment but where shared libraries of the interpreter lie."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    names = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "USER": "student", "LOGNAME": "student", "LANG": "C.UTF-8"}
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    python = {"PYTHONHASHSEED": "0", "MPLBACKEND": "Agg", "MPLCONFIGDIR": "/tmp/matplotlib"}
    return kept | names | threads | python | {"TMPDIR": "/tmp"}


@functools.cache
def needed() -> list[Path]:
    """The folders that the interpreter, its packages and the library lie in, beyond /usr.

    Not a whole prefix: an environment may have been made in the folder where marks and keys are.
    """
    prefixes = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]}
    parts = [prefix / name for prefix in prefixes for name in ("bin", "lib", "lib64", "share", "pyvenv.cfg")]
    folders = {part for part in parts if part.exists() and not part.is_symlink()} | {Path(course_lib.__path__[0])}
    folders |= {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")}
    folders |= {Path(entry) for entry in sys.path if entry and Path(entry).is_dir() and "site-packages" in entry}
    folders = {Path(os.path.abspath(f)) for f in folders}
    usr = Path("/usr")
    outside = {f for f in folders if f != usr and usr not in f.parents}
    return sorted(f for f in outside if not any(other in f.parents for other in outside))


@functools.cache
def walls() -> list[str]:
    """The command before the command: bubblewrap, and before it, for root, the loss of root's rights."""
    bwrap = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin:" + os.environ.get("PATH", ""))
    if bwrap is None:
        raise BookError(f"bubblewrap is not installed → {INSTALL}")
    inner = [bwrap, "--unshare-user", "--disable-userns", "--unshare-all", "--die-with-parent", "--new-session"]
    inner += ["--clearenv", *(x for name, value in environment().items() for x in ("--setenv", name, value))]
    inner += ["--ro-bind", "/usr", "/usr"]
    for folder in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(folder):
            inner += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            inner += ["--ro-bind", folder, folder]
    if os.path.exists("/etc/ld.so.cache"):
        inner += ["--ro-bind", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    inner += ["--size", str(64 << 20), "--tmpfs", "/tmp"]  # first: what is needed may lie below it
    below = sorted({str(Path(*folder.parts[:3])) for folder in needed() if folder.parts[1] == "tmp"})
    inner += [word for folder in below for word in ("--tmpfs", folder)]
    for folder in needed():
        inner += ["--ro-bind", str(folder), str(folder)]
    inner += [word for folder in below for word in ("--remount-ro", folder)]
    if FOLDER.is_dir():  # solutions are public, but need not lie at hand
        inner += ["--tmpfs", str(FOLDER), "--remount-ro", str(FOLDER)]
    inner += ["--proc", "/proc", "--dev", "/dev"]
    inner += ["--size", str(64 << 20), "--tmpfs", "/dev/shm", "--remount-ro", "/dev", "--remount-ro", "/"]
    return [*_without_root(), *inner, "--chdir", "/tmp"]


def call_filter() -> int:
    """A file to read the filter of system calls from."""
    reading, writing = os.pipe()
    os.write(writing, calls.program())
    os.close(writing)
    return reading


def _without_root():
    """For root: become nobody, and let nobody see the interpreter even where it lies in root's home."""
    if os.geteuid() != 0:
        return []
    hidden = {}
    for folder in needed():
        blocked = next((p for p in reversed(folder.parents) if not p.stat().st_mode & 0o001), None)
        if blocked is not None:
            hidden.setdefault(blocked, []).append(folder)
    # In a process namespace all end with its first process, root's. Nobody's get no signal when root's end.
    view = [shutil.which("bwrap"), "--unshare-pid", "--die-with-parent"]
    view += ["--bind", "/", "/", "--dev-bind", "/dev", "/dev"]
    for blocked, folders in hidden.items():
        view += ["--tmpfs", str(blocked)]
        for folder in folders:
            between = [p for p in reversed(folder.parents) if blocked in p.parents]
            view += [x for p in between for x in ("--perms", "0755", "--dir", str(p))]
            view += ["--ro-bind", str(folder), str(folder)]
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all"]
    return [*(view if hidden else []), *drop, "--no-new-privs", "--"]


INSTALL = (
    "install it (Debian, Ubuntu: apt install bubblewrap), or give --i-trust-these-submissions: then code of "
    "strangers runs with your rights"
)


def readable_hint() -> str:
    """What to do when the interpreter does not start inside the walls."""
    if os.geteuid() == 0:
        return "grade as another user than root, or with an interpreter that every user can read"
    return "see whether `course homework grade` works with one submission of your own"


@functools.cache
def why_not() -> str:
    """Why submissions cannot be run inside walls here; "" where they can."""
    if sys.platform != "linux":
        return f"{sys.platform} has no bubblewrap → grade on Linux, or give --i-trust-these-submissions"
    file = call_filter()
    try:
        command = [*walls(), "--seccomp", str(file), "--", "true"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL, pass_fds=[file]
        )
    except BookError as error:
        return str(error)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap fails: {error} → {INSTALL}"
    finally:
        os.close(file)
    if done.returncode:
        return (
            f"bubblewrap fails: {done.stderr.strip()} → version 0.8 or later, and user namespaces for "
            "everyone, are needed; or give --i-trust-these-submissions"
        )
    return ""
