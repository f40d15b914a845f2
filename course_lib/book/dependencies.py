"""What a chapter's outputs depend on: its code, the library modules it reaches, the requirements, Python."""

import ast
import hashlib
import json
import sys
from functools import cache

from course_lib.book.pages import BookError, tags

__all__ = ["execution_key", "library_files", "parse_cell"]

LIBRARY = "course_lib"
# Of all tags only these change what a run does; the others change how the page looks.
RUN_TAGS = {"raises-exception", "skip-execution"}


@cache
def _transformer():
    from IPython.core.inputtransformer2 import TransformerManager

    return TransformerManager()


def parse_cell(source):
    """The syntax tree of a code cell; `%magic` and `!command` become calls of get_ipython()."""
    return ast.parse(_transformer().transform_cell(source))


def execution_key(page):
    """A hash that changes when, and only when, a run of the page may give something else.

    Over: the code cells (source, and the tags that change a run), every file of course_lib that they
    import, directly or through other modules, requirements.txt, and Python's major.minor.
    """
    cells = [cell for cell in page.notebook.cells if cell.cell_type == "code"]
    code = [[cell.source, sorted(RUN_TAGS.intersection(tags(cell)))] for cell in cells]
    files = [*library_files(page.root, _trees(cells)), page.root / "requirements.txt"]
    contents = [
        [file.relative_to(page.root).as_posix(), hashlib.sha256(file.read_bytes()).hexdigest()]
        for file in files
        if file.is_file()
    ]
    whole = json.dumps([code, contents, sys.version_info[:2]])
    return hashlib.sha256(whole.encode()).hexdigest()


def _trees(cells):  # a cell that does not parse is left out: its run will tell
    for cell in cells:
        try:
            yield parse_cell(cell.source)
        except SyntaxError:
            continue


def library_files(root, trees):
    """All files of the library that `trees` (syntax trees) reach by imports, in functions too, sorted.

    A package counts with its __init__.py and the files beside it that are no modules (its data).
    """
    found, waiting = set(), set()
    for tree in trees:
        waiting |= _imports(tree, package="")
    while waiting:
        name = waiting.pop()
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):  # importing a.b.c runs a, a.b and a.b.c
            base = root.joinpath(*parts[:depth])
            file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
            if not file.is_file() or file in found:
                continue
            found.add(file)
            package = ".".join(parts[:depth] if base.is_dir() else parts[: depth - 1])
            waiting |= _imports(_parse_module(file), package)
            if base.is_dir():
                found |= _package_data(base)
    return sorted(found)


def _parse_module(file):
    try:
        return ast.parse(file.read_bytes())
    except SyntaxError as error:
        raise BookError(f"{file.name}, line {error.lineno}: {error.msg} → correct the syntax") from error


def _package_data(folder):
    data = {f for f in folder.iterdir() if f.is_file() and f.suffix not in {".py", ".pyc"}}
    for sub in folder.iterdir():
        if sub.is_dir() and sub.name != "__pycache__" and not (sub / "__init__.py").exists():
            data |= {f for f in sub.rglob("*") if f.is_file()}
    return data


def _imports(tree, package):
    """The names in the library that `tree` may import; `from a import b` gives both a and a.b."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package)
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            constants = [a.value for a in node.args if isinstance(a, ast.Constant)]
            names |= {_absolute(value, package) for value in constants if isinstance(value, str)}
    return {name for name in names if name.split(".")[0] == LIBRARY}


def _absolute(name, package):
    level = len(name) - len(name.lstrip("."))
    if level == 0:
        return name
    parts = package.split(".")
    parts = parts[: len(parts) - level + 1]
    return ".".join([*parts, *filter(None, [name.lstrip(".")])])
