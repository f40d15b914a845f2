"""Draws from the instructor's key, and the key's file."""

import os
import stat

import pytest

from course_lib.book.pages import BookError
from course_lib.homework import variants

KEY = bytes(range(32))


def test_the_digest_is_hmac_sha256_of_the_words_with_their_lengths():
    # catches: words that are only joined, so that ("ab", "c") draws as ("a", "bc") does
    import hashlib
    import hmac

    message = b"\0\0\0\2hw\0\0\0\3ad\xc3"[:-1] + b"a"
    assert variants.digest(KEY, "hw", "ada") == hmac.new(KEY, message, hashlib.sha256).digest()
    words = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc")]
    assert len({variants.digest(KEY, *w) for w in words}) == 5


def test_a_generator_depends_on_key_and_words_alone():
    def draw(key, *words):
        return variants.generator(key, *words).random(3).tolist()

    assert draw(KEY, "hw", "ada") == draw(KEY, "hw", "ada")
    assert draw(KEY, "hw", "ada") != draw(KEY, "hw", "bob")
    assert draw(KEY, "hw", "ada") != draw(KEY[::-1], "hw", "ada")


def test_a_key_is_random_private_and_never_overwritten(tmp_path):
    path = tmp_path / "k"
    key = variants.make_key(path)
    assert len(key) == 32
    assert variants.read_key(path) == key
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with pytest.raises(FileExistsError):
        variants.make_key(path)
    assert variants.make_key(tmp_path / "other") != key


@pytest.mark.parametrize("text", ["", "xyz", "00" * 31, "00" * 33])
def test_what_is_no_key_is_refused(tmp_path, text):
    # catches: an empty file that stands for the empty key, which everyone knows
    (tmp_path / "k").write_text(text)
    with pytest.raises(BookError, match="key"):
        variants.read_key(tmp_path / "k")
    with pytest.raises(BookError, match="--key"):
        variants.read_key(tmp_path / "missing")
