"""The self-check in a student's notebook: what should be so, line by line, without the answer.

    with Check("q3") as check:
        sizes = split_sizes(100, [0.8, 0.2])
        check(sum(sizes) == 100, "the sizes add up to the number of rows")

It shows whether an answer runs and has the right form. Marks come from the grader, on other inputs.
"""

__all__ = ["RESULTS", "Check"]

RESULTS: dict[str, dict] = {}  # question → what its last check found, for `course homework check`


class Check:
    """Checks of one question; prints a line for each and never raises.

    question: its id, such as "q3".   answers: values that stay `...` until they are answered.
    """

    def __init__(self, question: str, *answers):
        self.question, self.blank = question, any(answer is ... for answer in answers)
        self.passed, self.failed = 0, 0
        self.lines = []

    def __enter__(self):
        return self

    def __call__(self, condition, what: str) -> None:
        """Note whether `condition` is true; `what` says what should be so."""
        right = bool(condition)
        self.passed, self.failed = self.passed + right, self.failed + (not right)
        self.lines.append(f"  {'✓' if right else '✗'} {what}")

    def __exit__(self, kind, error, trace):
        if error is not None and not isinstance(error, Exception):
            return False  # Ctrl-C
        if self.blank or (isinstance(error, NotImplementedError) and "not answered yet" in str(error)):
            self.passed, self.failed, self.lines = 0, 0, ["  – not answered yet"]
            self.blank = True
        elif error is not None:
            self.failed += 1
            self.lines.append(f"  ✗ it stops with {kind.__name__}: {error}")
        elif not self.failed:
            self.lines.append("  The grader asks for more: other inputs, and what this does not look at.")
        RESULTS[self.question] = {"blank": self.blank, "passed": self.passed, "failed": self.failed}
        print(f"Question {self.question.removeprefix('q')}", *self.lines, sep="\n")
        return True
