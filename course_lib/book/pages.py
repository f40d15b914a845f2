"""The book's pages: where they are, how they are read, and how a file is written safely."""

import difflib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["BookError", "Page", "find_pages", "find_root", "read_config", "read_yaml", "select", "tags", "write_text"]

FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})\{code-cell\}", re.MULTILINE)
HEADER = """---
jupytext:
  formats: md:myst,ipynb
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---"""


class BookError(Exception):
    """Something that the person at the keyboard can put right; the message says what and how."""


@dataclass(frozen=True)
class Page:
    """One Markdown source under chapters/; a notebook when it holds code cells."""

    root: Path
    path: Path

    @property
    def file(self):
        """The path below the repository root, with forward slashes: how messages name the page."""
        return self.path.relative_to(self.root).as_posix()

    @property
    def name(self):
        """The path below chapters/ without its ending: how the command line names the page."""
        return self.path.relative_to(self.root / "chapters").with_suffix("").as_posix()

    @property
    def pair(self):
        """Where the notebook lies that is generated from this page."""
        return self.path.with_suffix(".ipynb")

    @cached_property
    def text(self):
        """The source."""
        return self.path.read_text(encoding="utf-8")

    @property
    def is_notebook(self):
        """Whether the page has code cells, and so a pair and a run."""
        return FENCE.search(self.text) is not None

    @cached_property
    def notebook(self):
        """The page as the book's builder reads it: what is executed, and what the cache is looked up by.

        Raises: BookError if the header is missing or a cell's options cannot be read.
        """
        from myst_nb.core.read import MystMetadataParsingError, is_myst_markdown_notebook
        from myst_nb.core.read import read_myst_markdown_notebook as read
        from myst_parser.config.main import MdParserConfig

        if not is_myst_markdown_notebook(self.text):
            raise BookError(f"{self.file}: code cells but no jupytext header → begin the file with\n{HEADER}")
        defaults = ["colon_fence", "dollarmath", "linkify", "substitution", "tasklist"]
        extensions = read_config(self.root).get("parse", {}).get("myst_enable_extensions", defaults)
        options = MdParserConfig(enable_extensions=set(extensions))
        try:
            return read(self.text, config=options, add_source_map=True, path=self.path)
        except (MystMetadataParsingError, ValueError) as error:
            raise BookError(f"{self.file}: {error} → correct the options of that cell") from error

    def line(self, index):
        """The source line, counted from 1, at which the cell at `index`, counted from 0, begins."""
        code = self.notebook.cells[index].cell_type == "code"  # the map names the line after the fence
        return self.notebook.metadata["source_map"][index] + (0 if code else 1)


def tags(cell):
    """The tags of a cell, as a list."""
    return list(cell.metadata.get("tags", []))


def find_root(start=None):
    """The nearest folder, from `start` (default: the current one) upwards, that holds _config.yml."""
    start = Path(start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "_config.yml").is_file():
            return folder
    raise BookError(f"no _config.yml in {start} or above it → run this inside the book's folder")


def read_config(root):
    """The book's _config.yml as a dictionary."""
    return read_yaml(root / "_config.yml")


def read_yaml(path):
    """A YAML file as a dictionary; an empty one as {}."""
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise BookError(f"{path.name} is missing in {path.parent} → restore it") from None
    except yaml.YAMLError as error:
        raise BookError(f"{path.name} is not valid YAML: {error} → correct it") from error


def find_pages(root):
    """All pages under chapters/, sorted; folders that begin with _ or . hold no pages."""
    folder = root / "chapters"
    return [
        Page(root, path)
        for path in sorted(folder.rglob("*.md"))
        if not any(part.startswith(("_", ".")) for part in path.relative_to(folder).parts)
    ]


def select(pages, names):
    """The pages that `names` name, in the book's order; all of them when there are no names.

    A name is `03_backpropagation`, `appendix/notation`, or a path such as chapters/03_backpropagation.md.
    Raises: BookError for an unknown name, with the nearest one.
    """
    if not names:
        return list(pages)
    known = {page.name: page for page in pages}
    known |= {page.path.stem: page for page in pages if page.path.stem not in known}
    chosen = set()
    for name in names:
        plain = re.sub(r"^(\./)?(chapters/)?|\.(md|ipynb)$", "", name)
        if plain not in known:
            near = difflib.get_close_matches(plain, known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(sorted(known))
            raise BookError(f"no chapter is called {name!r} → {hint}")
        chosen.add(known[plain])
    return [page for page in pages if page in chosen]


def write_text(path, text):
    """Write `text` whole or not at all, and only if it differs from what is there. Returns whether it did."""
    data = text.encode("utf-8")
    if path.is_file() and path.read_bytes() == data:
        return False
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return True
