"""The rules for code cells, over their syntax trees."""

import ast
import re

from course_lib.book.dependencies import parse_cell
from course_lib.book.pages import tags

__all__ = ["MAX_LINES", "MAX_WIDTH", "SETUP_CELL", "problems"]

MAX_LINES = 15
MAX_WIDTH = 88  # what the page's column shows without scrolling
SETUP_CELL = """\
# Installs the library where it is missing, as on Colab.
import importlib.util

if importlib.util.find_spec("course_lib") is None:
    %pip install -q "git+https://github.com/training-deep-networks/course"
from course_lib.device import set_threads

set_threads(1)"""

CLOCKS = re.compile(
    r"time\.(time|perf_counter|monotonic|process_time)(_ns)?|timeit\..*"
    r"|(datetime\.)?(datetime\.(now|utcnow|today)|date\.today)"
)
OUTSIDE = re.compile(
    r"os\.(system|popen)|subprocess\..*|urllib\.request\..*|requests\..*|httpx\..*|torch\.hub\..*"
    r"|sklearn\.datasets\.fetch_.*|course_lib\.data\.fetch"
)
GLOBAL_SEED = re.compile(r"torch\.(random\.|cuda\.)?(manual_seed(_all)?|seed)|random\.(?!Random$)\w+")
NUMPY_OWN = {"default_rng", "Generator", "SeedSequence", "PCG64", "Philox"}
TORCH_DRAWS = re.compile(
    r"torch\.(rand|randn|randint|rand_like|randn_like|randint_like|randperm|normal|bernoulli|multinomial|poisson)"
    r"|torch\.utils\.data\.random_split"
)
DRAWS_IN_PLACE = {"normal_", "uniform_", "bernoulli_", "random_", "exponential_", "log_normal_", "cauchy_"}
# A file or folder of one machine; "/" alone or "a/b" is not.
ABSOLUTE = re.compile(r"~/|[A-Za-z]:[\\/]\w|/(home|root|Users|tmp|var|usr|etc|opt|mnt|media|content|data)\b")
PLOTS = "course_lib.plots."


def problems(cells):
    """Yields (index of the cell, what is wrong, remedy) for the cells of one notebook."""
    aliases, first = {}, True
    for index, cell in enumerate(cells):
        if cell.cell_type != "code":
            continue
        if len(cell.source.splitlines()) > MAX_LINES and "constants" not in tags(cell):  # drawn for homework
            lines = len(cell.source.splitlines())
            yield index, f"{lines} lines", f"at most {MAX_LINES}: cut it in two, or move a part to course_lib"
        for number, line in enumerate(cell.source.splitlines(), 1):
            if len(line) > MAX_WIDTH:
                remedy = f"at most {MAX_WIDTH}: name a part of it, or break the line"
                yield index, f"line {number} has {len(line)} characters", remedy
        if first:
            first = False
            if cell.source.strip() == SETUP_CELL:
                if "remove-cell" not in tags(cell):
                    yield index, "the set-up cell is shown", "add `:tags: [remove-cell]`"
                aliases |= _aliases(parse_cell(SETUP_CELL))
                continue
            remedy = "put SETUP_CELL of course_lib/book/cells.py first, as it is"
            yield index, "the first code cell is not the set-up cell", remedy
        try:
            tree = parse_cell(cell.source)
        except SyntaxError as error:
            yield index, f"not Python: {error.msg}", "correct the syntax"
            continue
        aliases |= _aliases(tree)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        for rule in CALL_RULES:
            for call in calls:
                for what, remedy in rule(call, _dotted(call.func, aliases)):
                    yield index, what, remedy
        for what, remedy in _absolute_paths(tree):
            yield index, what, remedy
        if any(_dotted(call.func, aliases).startswith(PLOTS) for call in calls):
            for what, remedy in _figure(cell):
                yield index, what, remedy


def _aliases(tree):
    """What the names that a cell imports stand for: {"np": "numpy", "perf_counter": "time.perf_counter"}."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    names[alias.asname] = alias.name
                else:
                    names[alias.name.split(".")[0]] = alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _dotted(node, aliases):
    """`np.random.rand` → "numpy.random.rand"; a method of something computed → "?.name"; else ""."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        # A name that nothing imported is a variable: `random.choice` is a rule for the module only.
        known = aliases.get(node.id, node.id if not parts else f"?{node.id}")
        return ".".join([known, *reversed(parts)])
    return ".".join(["?", *reversed(parts)]) if parts else ""


def _keywords(call):
    return {keyword.arg for keyword in call.keywords}  # None stands for **options


def _magics(call, name):
    if name == "get_ipython":  # what `%magic` and `!command` are read as
        yield "a shell command or a magic", "write plain Python"


def _outside(call, name):
    if OUTSIDE.fullmatch(name):
        yield f"{name} installs, downloads or starts something", "take the data from course_lib.data.load"
    for keyword in call.keywords:
        if keyword.arg == "download" and getattr(keyword.value, "value", None) is not False:
            yield "download=… fetches in a cell", "take the data from course_lib.data.load"


def _clocks(call, name):
    if CLOCKS.fullmatch(name):
        yield f"{name} differs from run to run", "count steps or operations"


def _global_seeds(call, name):
    remedy = "take an explicit torch.Generator"
    if GLOBAL_SEED.fullmatch(name):
        yield f"{name} uses the global state", remedy
    if name.startswith("numpy.random."):
        function = name.split(".")[2]
        if function not in NUMPY_OWN:
            yield f"{name} uses the global state", "use np.random.default_rng(seed), or a torch.Generator"
        elif not call.args and not call.keywords:
            yield f"{name}() without a seed", "give the seed"


def _draws(call, name):
    method = name.rpartition(".")[2]
    if not TORCH_DRAWS.fullmatch(name) and not ("." in name and method in DRAWS_IN_PLACE):
        return
    if not {"generator", None} & _keywords(call):
        yield f"{name.removeprefix('?.').lstrip('?')} draws without generator=", "pass generator=…"


def _loaders(call, name):
    shuffles = [k for k in call.keywords if k.arg == "shuffle" and getattr(k.value, "value", True) is not False]
    if name.endswith("DataLoader") and shuffles and not {"generator", None} & _keywords(call):
        yield "a DataLoader shuffles without generator=", "pass generator=…"


def _zips(call, name):
    if name == "zip" and not {"strict", None} & _keywords(call):
        yield "zip without strict", "write zip(…, strict=True)"


CALL_RULES = (_magics, _outside, _clocks, _global_seeds, _draws, _loaders, _zips)


def _absolute_paths(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ABSOLUTE.match(node.value):
            yield f"the absolute path {node.value!r}", "name nothing that only one machine has"


def _figure(cell):
    options = cell.metadata.get("mystnb", {})
    if not str(options.get("image", {}).get("alt") or "").strip():
        yield "a figure without alternative text", "add mystnb: image: alt: to the cell's options"
    if not str(options.get("figure", {}).get("caption") or "").strip():
        yield "a figure without a caption", "add mystnb: figure: caption: to the cell's options"
    if not {"hide-input", "remove-input"} & set(tags(cell)):
        yield "the code of a figure is shown", "add the tag hide-input"
