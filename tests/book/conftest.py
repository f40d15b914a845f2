"""A scratch book: real pages, a real small library, in a temporary folder."""

import textwrap

import pytest

from course_lib.book.pages import HEADER, find_pages

URL = "https://github.com/training-deep-networks/course"


class Book:
    """Writes pages and modules below `root`, and finds them again."""

    def __init__(self, root):
        self.root = root
        (root / "chapters").mkdir()
        (root / "course_lib").mkdir()
        (root / "requirements.txt").write_text("torch==1\n")
        self.module("__init__", "")
        self.config()
        self.contents()

    def config(self, url=URL, **execute):
        lines = [f"  {key}: {value}" for key, value in {"execute_notebooks": "cache", **execute}.items()]
        text = ["title: Scratch", "author: Nobody", "only_build_toc_files: true", "execute:", *lines]
        (self.root / "_config.yml").write_text("\n".join([*text, "repository:", f"  url: {url}", ""]))

    def contents(self, *names):
        lines = ["format: jb-book", "root: chapters/index.md", "chapters:" if names else ""]
        lines += [f"- file: chapters/{name}.md" for name in names]
        (self.root / "_toc.yml").write_text("\n".join(lines) + "\n")
        (self.root / "chapters" / "index.md").write_text("# Home\n\nHello.\n")

    def module(self, name, source):
        file = self.root / "course_lib" / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(source))

    def write(self, name, *cells, prose="Text.", checked=True):
        """A notebook page; a cell is code, or (options, code). Code is tagged to be checked unless told."""
        parts = [HEADER, f"# {name}", prose]
        for cell in cells:
            default = ":tags: [nbval-check-output]" if checked else ""
            options, code = cell if isinstance(cell, tuple) else (default, cell)
            options = textwrap.dedent(options).strip()
            code = textwrap.dedent(code).strip()
            parts.append("\n".join(filter(None, ["```{code-cell}", options, code, "```"])))
        return self.raw(name, "\n\n".join(parts) + "\n")

    def raw(self, name, text):
        path = self.root / "chapters" / f"{name}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return self.page(name)

    @property
    def pages(self):
        return find_pages(self.root)

    def page(self, name):
        return next(page for page in self.pages if page.name == name)


@pytest.fixture
def book(tmp_path):
    return Book(tmp_path)
