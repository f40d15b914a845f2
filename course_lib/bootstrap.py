"""Set the book up: .venv, the exact requirements, and course_lib itself. Needs nothing but Python.

`python3 course_lib/bootstrap.py` (make does it). Done once: a second call returns at once. Interrupted
or failed: one line says what to do, and the next call goes on from there. This file has to be readable
by old Pythons, so that they can say that they are too old.

`python3 course_lib/bootstrap.py nbgrader` (`make nbgrader`) then makes .venv-nbgrader: the released nbgrader
with what it needs beyond .venv, whose packages it sees after its own. 160 MB, as torch is not there twice.
"""

import sys

if __name__ == "__main__":
    del sys.path[0]  # this folder, whose modules may be called like those of Python

import hashlib
import os
import shutil
import subprocess

__all__ = ["main"]

OLDEST = (3, 11)
NBGRADER = "nbgrader==0.9.6"
OTHERS = ("python3.13", "python3.12", "python3.11")
SPACE = 3 * 10**9  # bytes: .venv takes 1.8 GB with the CPU build of torch, pip's downloads come on top
NETWORK = ("Failed to establish", "NewConnectionError", "name resolution", "NameResolutionError", "ProxyError")
NETWORK += ("timed out", "Connection aborted", "Connection refused", "Network is unreachable", "from versions: none")
FULL = "No space left on device"


class SetupError(Exception):
    """One line: what is wrong, and what to do."""


def main(root, what="requirements"):
    """Set up the repository in the folder `root`, or nbgrader beside it; returns the exit status."""
    folder, install = {"requirements": (".venv", _requirements), "nbgrader": (".venv-nbgrader", _nbgrader)}[what]
    stamp = os.path.join(root, folder, ".course-installed")
    python = os.path.join(root, folder, "bin", "python")
    wanted = _wanted(root, NBGRADER if what == "nbgrader" else "")
    if os.path.exists(python) and _read(stamp) == wanted:
        return 0
    try:
        install(root, python)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; run it again to go on", file=sys.stderr)
        return 130
    with open(stamp, "w") as file:
        file.write(wanted)
    return 0


def _requirements(root, python):
    _make_environment(root, python)
    print("installing the requirements into .venv: a few minutes, once", flush=True)
    _pip(root, python, "-r", "requirements.txt")
    _pip(root, python, "--no-deps", "-e", ".")


def _nbgrader(root, python):
    base = os.path.join(root, ".venv", "bin", "python")
    if not _works(base, "import course_lib"):
        raise SetupError(".venv is not set up: run `make install` first")
    if not _works(python, "import pip") or _version(python) != _version(base):
        _venv(base, os.path.join(root, ".venv-nbgrader"))
    # addsitedir appends, so that nbgrader's own packages come first; it also takes in course_lib, as pip put it.
    with open(os.path.join(_packages(python), "course.pth"), "w") as file:
        file.write(f"import site; site.addsitedir({_packages(base)!r})\n")
    print("installing nbgrader into .venv-nbgrader: less than a minute, once", flush=True)
    _pip(root, python, "--constraint", "requirements.txt", NBGRADER)


def _packages(python):
    shown = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], stdout=subprocess.PIPE
    )
    return shown.stdout.decode().strip()


def _wanted(root, more):
    """What has to be installed, as a hash; the folder counts, because scripts in .venv hold its path."""
    whole = hashlib.sha256((root + more).encode())
    for name in ("requirements.txt", "pyproject.toml"):
        with open(os.path.join(root, name), "rb") as file:
            whole.update(file.read())
    return whole.hexdigest()


def _read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _make_environment(root, python):
    folder = os.path.join(root, ".venv")
    if _works(python, "import pip"):
        return
    base = _choose_python()
    free = shutil.disk_usage(root).free
    if free < SPACE:
        raise SetupError(
            f"{SPACE / 1e9:.0f} GB of free disk space are needed, there are {free / 1e9:.1f} GB in {root}: "
            "free some, then run it again"
        )
    if not _works(base, "import ensurepip, venv"):
        name = "python{}.{}".format(*_version(base))
        raise SetupError(
            f"{base} has no venv module: on Debian or Ubuntu run `sudo apt install {name}-venv`, then run it again"
        )
    _venv(base, folder)


def _venv(base, folder):
    name = os.path.basename(folder)
    print(f"making {name} with {base}", flush=True)
    done = subprocess.run([base, "-m", "venv", "--clear", folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        lines = done.stdout.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise SetupError(f"{name} cannot be made: {lines[-1].strip()}")


def _choose_python():
    if sys.version_info >= OLDEST:
        return sys.executable
    have = "Python {}.{}".format(*sys.version_info)
    for name in OTHERS:
        found = shutil.which(name)
        if found and _works(found, "import sys; sys.exit(sys.version_info < (3, 11))"):
            print(f"{sys.executable} is {have}, too old: taking {found}", flush=True)
            return found
    need = "{}.{}".format(*OLDEST)
    raise SetupError(
        f"Python {need} or newer is needed, {sys.executable} is {have}: install a newer one, "
        "or name it: make PYTHON=/path/to/python3"
    )


def _works(python, code):
    try:
        done = subprocess.run([python, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        return False
    return done.returncode == 0


def _version(python):
    shown = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:2])"], stdout=subprocess.PIPE)
    return shown.stdout.decode().split()


def _pip(root, python, *what):
    """Run pip install; its output goes to install.log in the environment, and a word of it to a terminal."""
    log = os.path.join(os.path.dirname(os.path.dirname(python)), "install.log")
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command += ["--progress-bar", "off", *what]
    lines = []
    with open(log, "a") as file:
        pip = subprocess.Popen(
            command,
            cwd=root,
            env=dict(os.environ, PIP_USER="0"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            errors="replace",
        )
        with pip:
            for line in pip.stdout:
                lines.append(line.strip())
                file.write(line)
                if sys.stdout.isatty():
                    print("\r" + line.strip()[:70].ljust(70), end="", flush=True)
    if sys.stdout.isatty():
        print("\r" + " " * 70, end="\r", flush=True)
    if pip.returncode:
        raise SetupError(_reason(lines, log))


def _reason(lines, log):
    whole = "\n".join(lines)
    if FULL in whole:
        return f"the disk is full: free {SPACE / 1e9:.0f} GB, then run it again"
    if any(sign in whole for sign in NETWORK):
        return "pip cannot reach the package index: connect to the network, then run it again"
    errors = [line for line in lines if line.lower().startswith("error")]
    return f"pip failed ({(errors or ['no reason given'])[0]}): see {log}, then run it again"


if __name__ == "__main__":
    sys.exit(main(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), *sys.argv[1:]))
