"""Running a notebook's cells outside Jupyter: in the worker, in the referee, and for the self-check."""

import ast
import random
import re
import traceback

from course_lib.homework import wire

__all__ = ["answer", "evaluate", "run_cell", "seed", "told"]

MESSAGE = 2_000  # characters

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


def seed(number: int) -> None:
    """Seed what unseeded draws use, so that the same code gives the same answer again."""
    import numpy as np
    import torch

    random.seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002
    torch.manual_seed(number)


def answer(request: dict, body: bytes, namespace: dict) -> tuple[dict, bytes]:
    """What a request gives in the namespace: {"value": tree} and its body, or {"failure": [reason, message]}.

    request: {"cell": source, "name": …} to run, or {"code": …, "given": tree} to evaluate; and a "seed".
    """
    seed(request["seed"])
    try:
        if "cell" in request:
            run_cell(request["name"], request["cell"], namespace)
            return {"value": None}, b""
        value = evaluate(request["code"], wire.decode(request["given"], body), namespace)
        if value is ...:
            return {"failure": ["blank", "there is no answer yet"]}, b""
        tree, out = wire.encode(value)
        wire.check(tree, out)
        return {"value": tree}, out
    except wire.Malformed as error:
        return {"failure": ["kind", f"the value is too large to be sent back: {error}"]}, b""
    except wire.NotPlain as error:
        return {"failure": ["kind", str(error)[:MESSAGE]]}, b""
    except MemoryError:
        return {"failure": ["memory", "more memory than is allowed"]}, b""
    except BaseException as error:
        blank = type(error) is NotImplementedError and "not answered yet" in str(error)
        return {"failure": ["blank" if blank else "raised", told(error)[:MESSAGE]]}, b""
