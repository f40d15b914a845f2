"""Templates for pages that hold what strangers wrote: everything is escaped, and nothing in it is invisible."""

import re
from functools import cache
from urllib.parse import quote

import jinja2

from course_lib.homework.reasons import word
from course_lib.homework.records import number, plain

__all__ = ["GENERATOR", "label_of", "name_of", "shown", "template"]

GENERATOR = "course homework feedback"
# Characters that turn the order of what follows them: made visible, or code could read as other code.
TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@cache
def _environment():
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("course_lib.homework"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["generator"] = GENERATOR
    environment.filters |= {"shown": shown, "clip": _clip, "last": _last, "number": number, "word": word}
    environment.filters["address"] = _address
    return environment


def template(name):
    """The template of that name, of this package."""
    return _environment().get_template(name)


def shown(value):
    """A string with nothing in it that cannot be seen."""
    return TURNS.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", plain(str(value)))


def _clip(text, length=1000):
    """The beginning of a text."""
    return text if len(text) <= length else f"{text[:length]}… ({len(text) - length:,} more characters)"


def _last(text, length=2000):
    """The end of a text: where a traceback says what went wrong."""
    return text if len(text) <= length else f"… {text[-length:]}"


def _address(student):
    return f"feedback/{quote(student, safe='')}.html"


def name_of(record):
    """The student's name on one line; the id where there is none."""
    return " ".join(str(record["name"]).split()) or record["student"]


def label_of(row):
    """A question with its number and title."""
    return shown(f"Question {row['question'].removeprefix('q')}: {row['title']}")
