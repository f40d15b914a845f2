"""Draws that belong to one student: every generator comes from the instructor's key and some words.

Who knows all the code and all words, but not the key, cannot tell the draws from chance.
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from course_lib.book.pages import BookError

__all__ = ["COMMON", "digest", "generator", "make_key", "read_key"]

COMMON = b"the variant in the book, known to everyone", ""  # a key and a student


def digest(key: bytes, *words: str) -> bytes:
    """HMAC-SHA256 of `words` under `key`: 32 bytes. Words are told apart: ("ab", "c") is not ("a", "bc")."""
    parts = [word.encode("utf-8") for word in words]
    return hmac.digest(key, b"".join(len(p).to_bytes(4, "big") + p for p in parts), hashlib.sha256)


def generator(key: bytes, *words: str):
    """A numpy Generator that `key` and `words` decide."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(int.from_bytes(digest(key, *words), "big")))


def make_key(path: Path) -> bytes:
    """Write a new key of 32 random bytes, in hexadecimal, that only its owner can read; returns it.

    Raises: FileExistsError where there is a file: a key that is lost cannot be made again.
    """
    key = secrets.token_bytes(32)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w") as stream:
        stream.write(key.hex() + "\n")
    return key


def read_key(path: Path) -> bytes:
    """The key in a file that `make_key` wrote.   Raises: BookError if there is none."""
    try:
        key = bytes.fromhex(Path(path).read_text(encoding="ascii"))
    except FileNotFoundError:
        raise BookError(
            f"no key in {path} → give the key of the release with --key: other keys draw other variants"
        ) from None
    except ValueError:
        raise BookError(f"{path} is no key of 64 hexadecimal digits → give the file that `release` wrote") from None
    if len(key) != 32:
        raise BookError(f"the key in {path} has {len(key)} bytes, not 32 → give the file that `release` wrote")
    return key
