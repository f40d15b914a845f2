"""Checkpoints: one file that is whole or not there, and that says what it belongs to.

A file is a line with a format number and the SHA-256 of the rest, then the rest: a dict that torch
saved and that is read with `weights_only=True`, so reading one runs no code from it.
"""

import hashlib
import io
import os
import platform
import re
import warnings
from contextlib import suppress
from pathlib import Path

import torch

__all__ = ["CheckpointError", "digest_of", "load", "plain_name", "save"]

_MAGIC = b"course checkpoint 1 "


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: damaged, or of another run. The file is left as it is."""


def save(path: str | Path, content: dict, settings: dict) -> None:
    """Write a checkpoint so that a kill at any moment leaves the old file or the new one, whole.

    content: tensors, numbers, strings, and lists and dicts of them.   settings: what a run that resumes
    must share (see `load`).   One run at a time may write to a path.
    Raises: OSError where the folder can't be written; the old file is still there then.
    """
    path = Path(path)
    buffer = io.BytesIO()
    torch.save({"settings": settings, "environment": _environment(), "content": content}, buffer)
    body = buffer.getvalue()
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(_MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n")
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise OSError(
            f"the checkpoint {path} could not be written ({error.strerror or error}): "
            "one that was there is untouched; free some space or choose another folder"
        ) from error


def load(path: str | Path, settings: dict) -> dict:
    """Return the content of a checkpoint, on the CPU.

    settings: must equal those it was saved with, key by key.
    Warns: UserWarning where torch, Python, machine or threads differ, as the run then goes on but
    may end in weights that differ in the last bits.
    Raises: CheckpointError for a file that is no checkpoint, is cut short or altered, or has other
    settings (each is named with both values).
    """
    data = Path(path).read_bytes()
    head, _, body = data.partition(b"\n")
    if not head.startswith(_MAGIC):
        raise CheckpointError(f"{path} is not a checkpoint, or its start is damaged: choose another file name")
    if hashlib.sha256(body).hexdigest().encode() != head[len(_MAGIC) :]:
        raise CheckpointError(
            f"{path} is damaged: its checksum does not match its {len(body):,} bytes. "
            "Delete it to start anew, or restore a copy"
        )
    saved = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    different = [k for k in {**saved["settings"], **settings} if saved["settings"].get(k) != settings.get(k)]
    if different:
        lines = [f"  {k}: saved {saved['settings'].get(k)!r}, now {settings.get(k)!r}" for k in different]
        raise CheckpointError(
            f"{path} belongs to a run with other settings:\n" + "\n".join(lines) + "\n"
            "Use the same settings to resume, or another file name to start anew"
        )
    here = _environment()
    changed = [f"{k} {saved['environment'].get(k)} → {v}" for k, v in here.items() if saved["environment"].get(k) != v]
    if changed:
        warnings.warn(
            f"resuming {path} under another environment ({', '.join(changed)}): "
            "the weights may differ from an uninterrupted run in their last bits",
            stacklevel=2,
        )
    return saved["content"]


def _environment() -> dict[str, str]:
    return {
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": str(torch.get_num_threads()),
    }


def plain_name(thing) -> str:
    """Return a text for a setting that is the same in every process: no address in memory.

    A function that has no name of its own, such as a lambda, is told from others by its code.
    """
    named = f"{thing.__module__}.{thing.__qualname__}" if hasattr(thing, "__qualname__") else repr(thing)
    if "<" in named and hasattr(thing, "__code__"):
        held = [plain_name(cell.cell_contents) for cell in thing.__closure__ or ()]
        code = (thing.__code__.co_code, thing.__code__.co_consts, thing.__code__.co_names, thing.__defaults__, held)
        named += f" {hashlib.sha256(_without_addresses(repr(code)).encode()).hexdigest()[:16]}"
    return _without_addresses(named)


def _without_addresses(text) -> str:
    return re.sub(r" at 0x\w+", "", text)


def digest_of(tensors) -> str:
    """Return the SHA-256 of the tensors' values."""
    digest = hashlib.sha256()
    for t in tensors:
        digest.update(t.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
