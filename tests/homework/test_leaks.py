"""Nothing that is hidden reaches a student: marked solutions and tests are looked for in all that is released."""

import io
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from course_lib.homework import release, source, variants
from course_lib.homework.submissions import Student

ROOT = Path(__file__).parents[2]
MARK = "MARK4711"
KEY = bytes(range(32))


def marked(text):
    """An assignment with the mark in every solution, grader cell and variant cell."""
    text = re.sub(r"(?m)^([ \t]*)### BEGIN SOLUTION$", rf"\1### BEGIN SOLUTION\n\1# {MARK} solution", text)
    return re.sub(r"(?m)^(:tags: \[(?:grader, q\d+|variant)\]\n\n)", rf"\1# {MARK} hidden\n", text)


@pytest.fixture(params=source.names())
def assignment(request):
    original = source.load(source.find(request.param))
    assignment = source.parse(original.name, marked(original.text))
    hidden = [c for c in assignment.cells if c.role in ("grader", "variant") or (c.role, c.kind) == ("answer", "code")]
    assert all(MARK in cell.source for cell in hidden)
    return assignment


def found_in(data, name, what):
    """Where any of the byte strings `what` occurs in a file, archives unpacked."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for inner in archive.namelist():
                yield from found_in(archive.read(inner), f"{name}/{inner}", what)
    elif name.endswith((".tar.gz", ".tgz", ".tar")):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for inner in archive.getmembers():
                if inner.isfile():
                    yield from found_in(archive.extractfile(inner).read(), f"{name}/{inner.name}", what)
    else:
        yield from (f"{name}: {secret.decode()}" for secret in what if secret in data)


def all_found(folder, what):
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    assert files
    return [hit for path in files for hit in found_in(path.read_bytes(), str(path), what)]


def test_the_search_looks_into_archives(tmp_path):
    # catches: a search that cannot find anything
    with zipfile.ZipFile(tmp_path / "outer.whl", "w", zipfile.ZIP_DEFLATED) as outer:
        inner = io.BytesIO()
        with tarfile.open(fileobj=inner, mode="w:gz") as archive:
            member = tarfile.TarInfo("a/b.md")
            member.size = len(MARK)
            archive.addfile(member, io.BytesIO(MARK.encode()))
        outer.writestr("x.tar.gz", inner.getvalue())
    assert len(all_found(tmp_path, [MARK.encode()])) == 1


def test_no_mark_in_what_students_get(assignment, tmp_path):
    # catches: a solution or a grader cell in a notebook's source, metadata or in the book's page
    students = [Student("ada", "Ada"), Student("bob", "Bob")]
    release.release(assignment, tmp_path, students, KEY)
    release.release(assignment, tmp_path, [], KEY)
    (tmp_path / "page.md").write_text(release.page(assignment))
    assert len(list(tmp_path.rglob("*.ipynb"))) == 3
    assert all_found(tmp_path, [MARK.encode(), KEY.hex().encode()]) == []


def secrets():
    """Lines of solutions and hidden cells that are long, and stand in no chapter or module of their own accord."""
    files = [*(ROOT / "course_lib").rglob("*.py"), *(ROOT / "chapters").glob("*.md")]
    ours = {line.strip() for file in files for line in file.read_text(encoding="utf-8").splitlines()}
    for name in source.names():
        assignment = source.load(source.find(name))
        public = release.page(assignment)
        for cell in assignment.cells:
            if cell.role not in ("grader", "variant", "answer"):
                continue
            lines = (line.strip() for line in cell.source.splitlines())
            yield from (line for line in lines if len(line) > 30 and line not in public and line not in ours)


def in_page(line):
    """A line as HTML pages and notebooks may write it."""
    import html
    import json

    return {line.encode(), html.escape(line, quote=False).encode(), json.dumps(line)[1:-1].encode()}


def test_no_line_of_a_solution_in_the_chapters_and_the_site():
    # catches: a page or download that was made from the source; outputs, search index and _sources included
    lines = {form for line in secrets() for form in in_page(line)}
    assert len(lines) > 100
    folders = [ROOT / "chapters"]
    if (ROOT / "_build" / "html").is_dir():  # `make test` builds it first
        folders.append(ROOT / "_build" / "html")
    assert [hit for folder in folders for hit in all_found(folder, lines)] == []


def test_the_package_that_students_install_has_no_assignments(tmp_path):
    # catches: package data that packs the sources; what Colab installs is this wheel
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        ".",
    ]
    copy = tmp_path / "copy"
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(copy)], check=True)
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "course_lib/homework/check.py" in names
    assert [name for name in names if "assignments" in name] == []
    lines = {line.encode() for line in secrets()}
    assert list(found_in(wheel.read_bytes(), wheel.name, lines)) == []


def test_constants_of_the_book_are_known_and_those_of_students_are_not(assignment):
    # catches: students' constants drawn with the book's key
    name, student = variants.COMMON
    assert assignment.constants_of(name, student) != assignment.constants_of(KEY, "ada")
    assert assignment.constants_of(name, "ada") != assignment.constants_of(KEY, "ada")
