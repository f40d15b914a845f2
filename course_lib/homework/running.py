"""Running a notebook's cells outside Jupyter: in the worker, in the referee, and for the self-check."""

import ast
import re
import traceback

__all__ = ["evaluate", "run_cell", "told"]

MAGIC = re.compile(r"^(\s*)([%!].*)$", re.MULTILINE)


def run_cell(name: str, source: str, namespace: dict) -> None:
    """Execute a cell as a notebook would. Lines with % or ! become comments where the cell is no Python."""
    try:
        code = compile(source, f"<{name}>", "exec")
    except SyntaxError:
        code = compile(MAGIC.sub(r"\1pass  # \2", source), f"<{name}>", "exec")
    exec(code, namespace)


def evaluate(code: str, given: dict, namespace: dict):
    """The value of the last line of `code`, in a copy of the namespace with `given` in it."""
    names = namespace | given
    tree = ast.parse(code)
    last = tree.body.pop()
    exec(compile(tree, "<question>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<question>", "eval"), names)


def told(error: BaseException) -> str:
    """The error's last line, and where in the student's cells it arose."""
    text = "".join(traceback.format_exception_only(error)).strip()
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith("<q")]
    places = [frame for frame in places if frame.filename != "<question>"]
    if isinstance(error, SyntaxError) or not places:
        return text
    return f"{text}\n(line {places[-1].lineno} of the cell of {places[-1].filename.strip('<>')})"
