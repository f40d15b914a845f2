"""The command `course`. Each group is one function that adds its subcommands; work is imported when run."""

import argparse
import contextlib
import os
import sys
from functools import partial

__all__ = ["main"]


def main(argv=None):
    """Run one command; returns the exit status: 0 done, 1 failed with a message, 2 wrong usage, 130 Ctrl-C."""
    parser = argparse.ArgumentParser(prog="course", description="The tools of Training Deep Neural Networks.")
    parser.set_defaults(run=partial(_help, parser))
    groups = parser.add_subparsers(metavar="GROUP")
    for add_group in GROUPS:
        add_group(groups)
    arguments = vars(parser.parse_args(argv))
    run = arguments.pop("run")
    try:
        return run(**arguments) or 0
    except BrokenPipeError:  # as of `course claims list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("course: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if not _is_for_the_reader(error):
            raise
        print(f"course: {error}", file=sys.stderr)
        return 1


def _help(parser):
    """Say what there is; no command was given."""
    parser.print_help(sys.stderr)
    return 2


def _is_for_the_reader(error):
    """Errors whose message says what to do; anything else is our mistake and keeps its traceback."""
    pages = sys.modules.get("course_lib.book.pages")
    return pages is not None and isinstance(error, pages.BookError)


def _commands(groups, name, text):
    group = groups.add_parser(name, help=text, description=text)
    group.set_defaults(run=partial(_help, group))
    commands = group.add_subparsers(metavar="COMMAND")

    def add(command, run, text):
        parser = commands.add_parser(command, help=text, description=text)
        parser.set_defaults(run=run)
        return parser

    return add


def _book(groups):
    add = _commands(groups, "book", "Make, check and serve the book.")
    chapters = {"nargs": "*", "metavar": "CHAPTER", "help": "such as 03_backpropagation; default: all"}
    sync = add("sync", _book_sync, "Write the notebooks from the Markdown sources.")
    sync.add_argument("chapters", **chapters)
    sync.add_argument("--refresh", action="store_true", help="take all outputs from a current run")
    check = add("check", _book_check, "Report what breaks the book's rules.")
    check.add_argument("chapters", **chapters)
    execute = add("execute", _book_execute, "Execute the chapters whose last run is not current.")
    execute.add_argument("chapters", **chapters)
    execute.add_argument("--workers", type=_at_least_one, help="chapters at once; default: the number of CPUs")
    execute.add_argument("--timeout", type=float, default=600, help="seconds for a chapter; default: 600")
    build = add("build", _book_build, "Execute what is stale and build the site.")
    build.add_argument("--no-execute", action="store_true", help="use the outputs at hand")
    serve = add("serve", _book_serve, "Build, serve on this machine, and build again on changes.")
    serve.add_argument("--port", type=int, default=8000)


def _at_least_one(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _book_sync(chapters, refresh):
    from course_lib.book.execution import current_runs
    from course_lib.book.pages import find_pages, find_root, select
    from course_lib.book.pairing import sync

    pages = select(find_pages(find_root()), chapters)
    for page in sync(pages, current_runs, refresh):
        print(f"wrote {page.pair.relative_to(page.root)}")


def _book_check(chapters):
    from course_lib.book.checks import check
    from course_lib.book.pages import find_root

    problems = check(find_root(), chapters)
    for problem in problems:
        print(problem)
    if problems:
        print(f"{len(problems)} problem(s)", file=sys.stderr)
    return 1 if problems else 0


def _book_execute(chapters, workers, timeout):
    from course_lib.book.execution import execute
    from course_lib.book.pages import find_pages, find_root, select

    root = find_root()
    _, failures = execute(root, select(find_pages(root), chapters), workers, timeout)
    for failure in failures:
        print(failure.text, file=sys.stderr)
    return 1 if failures else 0


def _book_build(no_execute):
    from course_lib.book.build import build
    from course_lib.book.pages import find_root

    build(find_root(), run=not no_execute)


def _book_serve(port):
    from course_lib.book.pages import find_root
    from course_lib.book.serve import serve

    with contextlib.suppress(KeyboardInterrupt):  # the way to end it
        serve(find_root(), port)


def _data(groups):
    add = _commands(groups, "data", "Fetch and list the data sets.")
    fetch = add("fetch", _data_fetch, "Download a data set, check it and keep it.")
    fetch.add_argument("name", metavar="NAME")
    fetch.add_argument("--force", action="store_true", help="download it although it is there")
    add("list", _data_list, "Print the names of all data sets.")


def _data_fetch(name, force):
    from course_lib import data

    try:
        print(data.fetch(name, force=force))
    except (ValueError, OSError) as error:
        print(f"course: {error}", file=sys.stderr)
        return 1


def _data_list():
    from course_lib import data

    print("\n".join(data.names()))


def _claims(groups):
    add = _commands(groups, "claims", "The claims of the book and their verdicts.")
    add("list", _claims_list, "Print every claim with its verdict, from the notebooks as they are.")
    show = add("show", _claims_show, "Print the declaration and the record of a claim.")
    show.add_argument("name", metavar="ID", help="such as he-for-relu")
    run = add("run", _claims_run, "Run the chapters that hold the claims; fail if a verdict is not the committed one.")
    run.add_argument("names", nargs="*", metavar="ID", help="such as he-for-relu; default: all")


def _entries(names=()):
    from course_lib.book import ledger
    from course_lib.book.pages import find_pages, find_root

    return ledger.find(ledger.entries(find_pages(find_root())), names)


def _claims_list():
    _print_claims(_entries())


def _print_claims(entries):
    from course_lib.cards import effect

    rows = [
        (
            entry.id,
            entry.page.name,
            *((entry.record["verdict"], effect(entry.record)) if entry.record else ("no record", "")),
        )
        for entry in entries
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    for *words, size in rows:
        print("  ".join([*(word.ljust(width) for word, width in zip(words, widths, strict=True)), size]).rstrip())


def _claims_show(name):
    from course_lib.book.pages import BookError
    from course_lib.cards import verdict_text

    entry = _entries([name])[0]
    if entry.record is None:
        raise BookError(f"{entry.page.pair.name} has no record of {name} → course book sync {entry.page.name}")
    print(verdict_text(entry.record))
    print(f"  Chapter: {entry.page.file}")


def _claims_run(names):
    from course_lib.book.ledger import changes

    fresh, differences = changes(_entries(names))
    _print_claims(fresh)
    for line in differences:
        print(f"course: {line}", file=sys.stderr)
    return 1 if differences else 0


def _homework(groups):
    from course_lib.homework.commands import add_commands

    add_commands(_commands(groups, "homework", "Release, check and grade homework."))


GROUPS = (_book, _claims, _data, _homework)

if __name__ == "__main__":
    sys.exit(main())
