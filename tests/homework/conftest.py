"""A small assignment that the tests of the homework aim at, and a key."""

import os
from pathlib import Path

import pytest

from course_lib.homework import source
from course_lib.homework.walls import why_not

TARGET = Path(__file__).parent / "target.md"


@pytest.fixture(scope="session")
def target() -> source.Assignment:
    """The assignment in target.md: a question of every kind, each answered in milliseconds."""
    return source.load(TARGET)


@pytest.fixture(scope="session")
def sandbox():
    """The walls; where they cannot be built the test is skipped, or fails under CI."""
    if reason := why_not():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
