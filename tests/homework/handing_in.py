"""Notebooks as students hand them in, for the tests and the benchmark."""

import json

from course_lib.homework import release

ESSAY = "Because of the variance."


def solved(assignment, key, student):
    """A student's notebook with the author's answers, as text."""

    def solution(cell):
        return cell.source if cell.kind == "code" else ESSAY

    return answered(assignment, key, student, solution)


def answered(assignment, key, student, answer):
    """A student's notebook with what answer(cell of the source) gives, or as it was released for None."""
    notebook = json.loads(release.student_notebook(assignment, key, student))
    originals = {cell.question: cell for cell in assignment.of("answer")}
    for cell in notebook["cells"]:
        if cell["id"] in originals:
            cell["source"] = answer(originals[cell["id"]]) or cell["source"]
    return json.dumps(notebook)
