"""Pairing: what a generated notebook holds, and what makes it change."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from jupytext.paired_paths import paired_paths
from nbformat.v4 import new_code_cell, new_notebook, new_output

from course_lib.book.execution import current_runs
from course_lib.book.pages import BookError
from course_lib.book.pairing import cell_ids, read_pair, sync


def fake(*texts):
    """Runs in which every code cell printed the next of `texts`, and drew a picture."""

    def runs(pages):
        found = {}
        for page in pages:
            notebook, left = page.notebook.copy(), iter(texts)
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    picture = {"text/plain": "<Figure>", "image/png": "iVBORw0KGgo="}
                    printed = new_output("stream", name="stdout", text=next(left))
                    cell.outputs = [printed, new_output("display_data", data=picture)]
            found[page] = notebook
        return found

    return runs


def forbidden(pages):
    raise AssertionError(f"no run is needed for {pages}")


def test_notebook_keeps_text_of_tagged_cells_and_nothing_else(book):
    """Catches: outputs of untagged cells, pictures, execution counts or metadata that slip in."""
    page = book.write("01_a", [":tags: [hide-input]", "x = 1"][1], ("", "print(2)"))
    assert sync([page], fake("one\n", "two\n")) == [page]
    notebook = read_pair(page)
    nbformat.validate(notebook)
    title, checked, other = notebook.cells
    assert title.cell_type == "markdown"
    assert checked.execution_count == 1
    assert [dict(output.get("data", {"text": output.get("text")})) for output in checked.outputs] == [
        {"text": "one\n"},
        {"text/plain": "<Figure>"},
    ]
    assert (other.outputs, other.execution_count) == ([], None)
    assert set(notebook.metadata) == {"jupytext", "kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}


def test_pure_pages_have_no_pair(book):
    """Catches: a notebook written beside the home page."""
    assert sync(book.pages, forbidden) == []
    assert not list(book.root.rglob("*.ipynb"))


def test_unchanged_cells_keep_their_outputs_and_a_second_sync_writes_nothing(book):
    """Catches: a sync that takes outputs anew, so that nbval would compare a run with itself."""
    page = book.write("01_a", "print(1)", "print(2)")
    sync([page], fake("old 1", "old 2"))
    before = page.pair.stat().st_mtime_ns
    assert sync([book.page("01_a")], forbidden) == []
    assert page.pair.stat().st_mtime_ns == before

    page = book.write("01_a", "print(1)", "print(2 + 0)", prose="Other words.")
    sync([page], fake("new 1", "new 2"))
    assert [cell.outputs[0].text for cell in read_pair(page).cells[1:]] == ["old 1", "new 2"]

    sync([page], fake("new 1", "new 2"), refresh=True)
    assert [cell.outputs[0].text for cell in read_pair(page).cells[1:]] == ["new 1", "new 2"]


def test_editing_one_cell_changes_one_id():
    """Catches: random ids, ids by position, equal cells with equal ids."""
    cells = [new_code_cell(source) for source in ("a", "b", "a", "c")]
    before = cell_ids(cells)
    assert len(set(before)) == 4
    assert before == cell_ids(cells)
    cells[1].source = "edited"
    changed = [old != new for old, new in zip(before, cell_ids(cells), strict=True)]
    assert changed == [False, True, False, False]


@pytest.mark.parametrize("kind", ["text/html", "application/papermill.record/text/plain"])
def test_output_that_nbval_cannot_compare_is_refused(book, kind):
    """Catches: a DataFrame in a tagged cell; without its HTML in the notebook nbval fails for ever."""
    page = book.write("01_a", "frame")

    def runs(pages):
        cell = new_code_cell("frame", outputs=[new_output("display_data", data={"text/plain": "", kind: ""})])
        return {page: new_notebook(cells=[cell])}

    with pytest.raises(BookError, match=r"01_a.md:\d+: cell 2: .*" + kind.replace("+", r"\+")):
        sync([page], runs)
    assert not page.pair.exists()


def test_jupytext_takes_the_two_files_for_a_pair(book):
    """Catches: a header that is lost on the way; JupyterLab would then edit one file without the other."""
    page = book.write("01_a", "print(1)")
    sync([page], fake("1"))
    paths = paired_paths(str(page.pair), {"extension": ".ipynb"}, read_pair(page).metadata.jupytext.formats)
    assert {Path(path).name for path, _ in paths} == {"01_a.md", "01_a.ipynb"}
    # And back: what JupyterLab writes into the .md has the same cells and the same header.
    back = jupytext.reads(jupytext.writes(read_pair(page), "md:myst"), "md:myst")
    assert [cell.source for cell in back.cells] == [cell.source for cell in read_pair(page).cells]
    assert back.metadata.jupytext.formats == "md:myst,ipynb"


def test_a_cell_inside_a_directive_is_refused(book):
    """Catches: code that Jupyter runs and the book does not."""
    page = book.write("01_a", "print(1)", prose=":::{note}\n```{code-cell}\nprint(0)\n```\n:::")
    with pytest.raises(BookError, match="different code cells"):
        sync([page], forbidden)


def test_nbval_catches_a_changed_printed_value(book):
    """Catches: notebooks whose tagged cells nbval does not compare. Acceptance 3."""
    page = book.write("01_a", "print('the answer is', 6 * 7)", "6 * 7")
    sync([page], current_runs)

    def nbval():
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env"]
        return subprocess.run([*command, "-q", page.pair], cwd=book.root, capture_output=True, text=True)

    done = nbval()
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    notebook = json.loads(page.pair.read_text())
    assert notebook["cells"][1]["outputs"][0]["text"] == ["the answer is 42\n"]
    notebook["cells"][1]["outputs"][0]["text"] = ["the answer is 43\n"]
    page.pair.write_text(json.dumps(notebook))
    done = nbval()
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
    assert "the answer is 43" in done.stdout


def test_an_interrupted_write_leaves_the_old_notebook(book, monkeypatch):
    """Catches: writing in place, where a full disk or Ctrl-C leaves half a notebook."""
    page = book.write("01_a", "print(1)")
    sync([page], fake("1"))
    before = page.pair.read_bytes()

    def fail(source, target):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        sync([page], fake("2"), refresh=True)
    assert page.pair.read_bytes() == before
    assert [path.name for path in page.path.parent.iterdir() if "tmp" in path.name] == []


def test_sync_repairs_a_broken_notebook(book):
    """Catches: a notebook with conflict marks that stops sync instead of being written anew."""
    page = book.write("01_a", "print(1)")
    page.pair.write_text("<<<<<<< ours\n")
    with pytest.raises(BookError, match=r"01_a.ipynb: not a notebook.*course book sync 01_a"):
        read_pair(page)
    sync([page], fake("1"))
    assert read_pair(page).cells[1].outputs[0].text == "1"


def test_what_a_cell_prints_in_pieces_is_one_output(book):
    """Catches: spurious differences, because a kernel cuts its stream where it happens to flush."""
    page = book.write("01_a", "print(1); print(2)")

    def in_pieces(pages):
        notebook = page.notebook.copy()
        code = next(cell for cell in notebook.cells if cell.cell_type == "code")
        code.outputs = [new_output("stream", name="stdout", text=text) for text in ("1\n", "2\n")]
        return {page: notebook}

    sync([page], in_pieces)
    (output,) = read_pair(page).cells[-1].outputs
    assert output.text == "1\n2\n"
