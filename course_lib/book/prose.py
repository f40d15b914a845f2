"""The rules for sentences: no hype, and no measured number that a cell did not produce."""

import re

__all__ = ["problems"]

FENCE = re.compile(r"^\s*(?P<fence>`{3,}|~{3,}|:{3,})(?P<rest>.*)$")
# What these hold is not running text. A fence without {name} is program text.
NOT_PROSE = re.compile(
    r"\{(code|code-cell|code-block|raw|raw-cell|math|table|list-table|csv-table|bibliography|toctree|eval-rst"
    r"|literalinclude|tableofcontents|auto\w+|glue.*)\}"
)
# A heading, a row of a table, a cell break, a comment, a (label)=.
NO_TEXT = re.compile(r"#|\||\+\+\+|%|\([\w:-]+\)=$")
ESCAPE = re.compile(r"<!--\s*number:\s*\S.*-->")
NOT_CHECKED = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"<!--.*?-->",
        r"(\{[\w:+-]+\})?(?P<ticks>`+).+?(?P=ticks)",  # code and roles, citations among them
        r"\$\$.*?\$\$|(?<!\\)\$[^$\n]+(?:\n[^$\n]+)*\$",
        r"\\begin\{(\w+\*?)\}.*?\\end\{\1\}",
        r"!?\[[^\]]*\](\([^)]*\)|\[[^\]]*\])",
        r"<[^<>\s][^<>]*>",
        r"\b(?:https?://|doi:|arXiv:)\S+",
    )
]
NUMBER = re.compile(r"(?<![\w.,/–-])\d+(?:[.,]\d+)?(?:\s|\\)*(?:%|per ?cent\b)|(?<![\w./–-])\d+\.\d+(?![\w.]*\d)(?!\w)")
# A release, a licence, or a place in this or another text is no measurement.
NAMED = re.compile(
    r"(version|release|Python|PyTorch|torch|NumPy|CC BY(-\w+)*|CUDA"
    r"|[Cc]hapters?|[Ss]ections?|[Ff]ig(ures?|\.)|[Tt]ables?|[Ee]q(uations?|s?\.)|[Ee]xercises?|[Aa]lg(orithm|\.)|§)"
    r"[\s(≥]*$"
)
# Words that are nearly always noise. "Just" and "leverage" have honest uses: only some forms are here.
HYPE = re.compile(
    r"\b(simply(?!\s+(connected|typed))|obviously|powerful(?!(,? \w+)?\s+tests?\b)|amazing(ly)?|game[- ]chang(er|ing)"
    r"|delv(e|es|ed|ing)|(to|can|we|you|will) leverage|leverag(es|ing)|seamless(ly)?|robustly|effortless(ly)?"
    r"|cutting[- ]edge|groundbreaking|revolutionary|revolutioni[sz]\w+|blazing(ly)?|supercharg\w+|unleash\w*"
    r"|incredibl[ey]|mind-blowing|magically|harness(es|ing)? the power|unlock(s|ing)? the (power|potential)"
    r"|(can|you|we|to|is|are|it's) just (call|use|need|add|run|write|set|do|take|a|an|the)\b"
    r"|needless to say|it is worth noting|it should be noted)",
    re.IGNORECASE,
)


def problems(text, numbers):
    """Yields (line, what is wrong, remedy) for a page; `numbers`: whether the rule on numbers holds."""
    for line, paragraph, kind in paragraphs(text):
        plain = paragraph
        for pattern in NOT_CHECKED:
            plain = pattern.sub(lambda match: " ¤ " + "\n" * match[0].count("\n"), plain)
        for match in HYPE.finditer(plain):
            where = line + plain.count("\n", 0, match.start())
            yield where, f"the word “{' '.join(match[0].split())}”", "say what is so, without it"
        if not numbers or kind != "text" or "{glue" in paragraph:
            continue
        for match in NUMBER.finditer(plain):
            if NAMED.search(plain[: match.start()]):
                continue
            where = line + plain.count("\n", 0, match.start())
            remedy = "glue it from a cell; if no cell gives it: <!-- number: the reason --> on the line before"
            yield where, f"the number {match[0]} is typed into the text", remedy


def paragraphs(text):
    """Yields (first line, text, kind) for the running text; kind: text, heading, or excused (with an escape)."""
    lines = text.splitlines()
    start = _after_front_matter(lines)
    fences, held, kind, options = [], [], "text", ""
    for number, line in enumerate([*lines[start:], ""], start + 1):
        stripped = line.strip()
        fence = FENCE.match(line)
        closes = fence and fences and _closes(fence, fences[-1])
        opaque = bool(fences) and fences[-1][1]
        if options and not fence:  # directly below the opening of a directive: `:key: value`, or YAML in ---
            options = _still_options(options, stripped)
            if options:
                continue
        if opaque and not closes:
            continue
        boundary = fence or not stripped or NO_TEXT.match(stripped)
        if boundary or ESCAPE.fullmatch(stripped):
            if held:
                yield number - len(held), "\n".join(held), kind
                held = []
            kind = "excused" if ESCAPE.fullmatch(stripped) else "text"
        if fence:
            options = ""
            if closes:
                fences.pop()
            else:
                rest = fence["rest"].strip()
                fences.append((fence["fence"], not rest.startswith("{") or bool(NOT_PROSE.match(rest))))
                options = "start"
        elif stripped.startswith("#"):
            yield number, stripped, "heading"
        elif not boundary and not ESCAPE.fullmatch(stripped):
            held.append(line)


def _after_front_matter(lines):
    if lines and lines[0].strip() == "---":
        for number, line in enumerate(lines[1:], 1):
            if line.strip() in {"---", "..."}:
                return number + 1
    return 0


def _closes(fence, opened):
    mark = opened[0]
    return fence["fence"][0] == mark[0] and len(fence["fence"]) >= len(mark) and not fence["rest"].strip()


def _still_options(state, stripped):
    """The next state: "start" and "colons" and "yaml" are inside the options, "" is past them."""
    if state == "yaml":
        return "end" if stripped == "---" else "yaml"
    if state == "end":
        return ""
    if state == "start" and stripped == "---":
        return "yaml"
    return "colons" if re.match(r":[\w-]+:", stripped) else ""
