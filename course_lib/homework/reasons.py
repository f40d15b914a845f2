"""What a reason code means, in plain words: a label, and a sentence for the student."""

__all__ = ["REASONS", "UNANSWERED", "sentence", "word"]

REASONS = {
    # of a question or one of its parts
    "ok": ("Right", ""),
    "blank": ("Not answered", "The cell is as it was handed out."),
    "wrong": ("Wrong", "It ran, and the value is another than the one asked for."),
    "kind": ("Wrong kind of value", "For example a list where a tensor was asked for, or a name that is not defined."),
    "shape": ("Wrong shape", "The tensor has another shape than the one asked for."),
    "dtype": ("Wrong type of numbers", "For example whole numbers where floating-point numbers were asked for."),
    "nan": ("Not finite", "There is a NaN or an infinity among the numbers."),
    "raised": ("Raised an error", "The code stopped with an error; its end is shown here."),
    "timeout": ("Took too long", "The code was stopped at its time limit."),
    "memory": ("Took too much memory", "The code was stopped at its memory limit."),
    "output": ("Printed or returned too much", "The code was stopped at the limit of its output."),
    "died": ("Ended the program", "The process that ran the code ended before it gave an answer."),
    "malformed": ("Could not be read back", "What came back is no value that can be compared, such as plain numbers."),
    "skipped": ("Not run", "It was not run, because of what is said above or of an earlier cell."),
    "by-hand": ("Marked by a person", ""),
    "duplicate": ("There twice", "The notebook holds this cell more than once, so none of them was taken."),
    # of a whole submission
    "missing": ("Nothing handed in", "No notebook was found."),
    "unreadable": ("Not readable", "The file is no notebook, or it was cut off on its way."),
    "too-large": ("Too large", "The file is larger than a notebook of this homework can be."),
    "not-a-file": ("Not a file", "A link or a folder lay where the notebook should be."),
    "several-files": ("Several notebooks", "There is more than one notebook, so none of them was taken."),
    "wrong-assignment": ("Another assignment", "The notebook is not one of this homework."),
    "kernel": ("Not a Python notebook", "The notebook asks for another language than Python."),
}
UNANSWERED = ("blank", "skipped")  # there is no answer to show or compare


def word(code):
    """The label of a reason code; the code itself if it is unknown."""
    return REASONS.get(code, (str(code), ""))[0]


def sentence(code):
    """What a student is told about a reason code; empty if there is nothing to add."""
    return REASONS.get(code, ("", ""))[1]
