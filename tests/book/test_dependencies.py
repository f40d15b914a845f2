"""What a chapter's run depends on: which edits make it stale, and which do not."""

import ast

import pytest

from course_lib.book.dependencies import execution_key, library_files
from course_lib.book.pages import BookError


def reached(book, source):
    folder = book.root / "course_lib"
    return [path.relative_to(folder).as_posix() for path in library_files(book.root, [ast.parse(source)])]


@pytest.fixture
def library(book):
    book.module("a", "from course_lib import b")
    book.module("b", "def f():\n    from .c import value")
    book.module("c", "value = 1")
    book.module("other", "import numpy")
    book.module("pack/__init__", "from ..c import value\nfrom . import inner")
    book.module("pack/inner", "import importlib\nimportlib.import_module('.deep', __package__)")
    book.module("pack/deep", "")
    book.module("pack/unused", "")
    (book.root / "course_lib" / "pack" / "table.csv").write_text("1,2\n")
    return book


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import numpy", []),
        ("import course_lib", ["__init__.py"]),
        ("from course_lib.c import value", ["__init__.py", "c.py"]),
        ("from course_lib import c", ["__init__.py", "c.py"]),
        ("import course_lib.b as b", ["__init__.py", "b.py", "c.py"]),
        ("def f():\n    import course_lib.a", ["__init__.py", "a.py", "b.py", "c.py"]),
        (
            "from course_lib.pack import value",
            ["__init__.py", "c.py", "pack/__init__.py", "pack/deep.py", "pack/inner.py", "pack/table.csv"],
        ),
        ("from course_lib.nowhere import x", ["__init__.py"]),
    ],
)
def test_imports_are_followed(library, source, expected):
    """Catches: imports in functions, relative ones, packages and their data that are overlooked."""
    assert reached(library, source) == expected


def test_imports_beside_magics_are_seen(library):
    """Catches: a cell with %pip that is skipped whole, and its imports with it."""
    page = library.write("01_a", "if False:\n    %pip install x\n!ls\nfrom course_lib.c import value")
    before = execution_key(page)
    library.module("c", "value = 2")
    assert execution_key(page) != before


@pytest.mark.parametrize(
    ("name", "edit", "stale"),
    [
        ("prose", lambda book: book.write("01_a", "import course_lib.a", prose="Other."), False),
        ("code", lambda book: book.write("01_a", "import course_lib.a  # edited"), True),
        ("hiding", lambda book: book.write("01_a", (":tags: [hide-input]", "import course_lib.a")), False),
        ("error", lambda book: book.write("01_a", (":tags: [raises-exception]", "import course_lib.a")), True),
        ("used module", lambda book: book.module("c", "value = 2"), True),
        ("other module", lambda book: book.module("other", "x = 2"), False),
        ("package", lambda book: book.module("__init__", "x = 2"), True),
        ("requirements", lambda book: (book.root / "requirements.txt").write_text("torch==2\n"), True),
    ],
)
def test_key_changes_exactly_when_a_run_may(library, name, edit, stale):
    """Catches: a chapter that shows old results, and one that runs again for nothing."""
    before = execution_key(library.write("01_a", "import course_lib.a"))
    edit(library)
    assert (execution_key(library.page("01_a")) != before) is stale


def test_key_holds_pythons_release(library, monkeypatch):
    """Catches: outputs of another Python taken for current."""
    page = library.write("01_a", "1")
    before = execution_key(page)
    monkeypatch.setattr("sys.version_info", (3, 99, 0))
    assert execution_key(page) != before


def test_a_broken_module_is_named(library):
    """Catches: a traceback of ast where the file and the line are wanted."""
    library.module("c", "value =")
    with pytest.raises(BookError, match=r"c.py, line 1"):
        reached(library, "import course_lib.a")
