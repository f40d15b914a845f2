import io

import pytest

from course_lib import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "ci", "shown"), [(Terminal, "", True), (Terminal, "true", False), (io.StringIO, "", False)]
)
def test_the_bar_shows_on_a_terminal_outside_ci_alone(monkeypatch, stream, ci, shown):
    # catches: bars in the output of a chapter or a CI log, none where someone waits
    monkeypatch.setattr("sys.stderr", stream())
    monkeypatch.setenv("CI", ci)
    with progress.bar(3) as bar:
        assert bar.disable is not shown
    for asked in (True, False):
        with progress.bar(3, initial=1, show=asked) as bar:
            assert bar.disable is not asked
