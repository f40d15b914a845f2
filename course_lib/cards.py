"""How a claim shows itself: its declaration and its verdict, as text and as a small card of HTML.

Everything comes from the record that `claims` writes, as plain values. The plot is SVG in the colour of the
text, with positions in per cent, so that it fits any width and either theme.
"""

import math
from collections import Counter
from html import escape

__all__ = ["declaration_card", "declaration_text", "effect", "verdict_card", "verdict_text"]


def declaration_text(declaration: dict, fingerprint: str) -> str:
    """Return a declaration as lines of text."""
    lines = [f"Claim {declaration['id']} ({declaration['source']})", declaration["sentence"]]
    return "\n".join([*lines, *_indented(_facts(declaration, fingerprint))])


def verdict_text(record: dict) -> str:
    """Return a record as lines of text: the verdict, each comparison, the design."""
    declaration, rows = record["declaration"], record["comparisons"]
    lines = [f"{record['claim']}: {record['verdict']}", f"{declaration['sentence']} ({declaration['source']})"]
    for row in rows:
        runs = f"{_level(row)} over {row['seeds']} seeds"
        lines += [f"  {_title(declaration, row)}: {_effect(declaration, row)}, {runs}: {row['verdict']}"]
        lines += [f"    {sentence}" for sentence in (_because(row), *_sentences(declaration, row))]
    lines += [f"  Note: {note}" for note in _notes(declaration["design"], rows)]
    return "\n".join([*lines, *_indented(_facts(declaration, record["hash"]))])


def effect(record: dict) -> str:
    """Return the effect with its interval and unit; for several comparisons the smallest and largest effect."""
    rows, declaration = record["comparisons"], record["declaration"]
    if len(rows) == 1:
        return _effect(declaration, rows[0])
    low, high = (pick(row["measured"]["effect"] for row in rows) for pick in (min, max))
    unit = declaration["design"]["unit"]
    return f"{_minus(f'{low:.2g}')} to {_minus(f'{high:.2g}')} {unit}".rstrip() + f" in {len(rows)} comparisons"


def declaration_card(declaration: dict, fingerprint: str) -> str:
    """Return a declaration as HTML."""
    return (
        '<div class="claim-card claim-declared">\n'
        f"<p><strong>Claim</strong> <code>{escape(declaration['id'])}</code>, {escape(declaration['source'])}</p>\n"
        f'<p class="claim-sentence">{escape(declaration["sentence"])}</p>\n'
        f"{_definitions(_facts(declaration, fingerprint))}</div>"
    )


def verdict_card(record: dict, differences: list) -> str:
    """Return a record as HTML, with a plot of each comparison.

    differences: for each comparison the list over seeds, positive as the claim says.
    """
    declaration, rows = record["declaration"], record["comparisons"]
    span = _span(declaration["design"], rows, differences)
    parts = [
        f'<div class="claim-card verdict-{escape(record["verdict"])}">',
        f"<p><strong>{escape(record['verdict'].capitalize())}</strong>: "
        f"<code>{escape(record['claim'])}</code>, {escape(declaration['source'])}</p>",
        f'<p class="claim-sentence">{escape(declaration["sentence"])}</p>',
    ]
    one_of_many = ", {}" if len(rows) > 1 else ""
    for row, values in zip(rows, differences, strict=True):
        title, size = _title(declaration, row), _effect(declaration, row)
        parts += [
            f"<p>{escape(title)}: <strong>{escape(size)}</strong>{one_of_many.format(row['verdict'])}</p>",
            _plot(declaration["design"], row, values, span, f"{title}: {size}"),
        ]
    details = ""
    for row in rows:
        sentences = [_because(row)] * (len(rows) > 1) + [*_sentences(declaration, row)]
        details += f"<p>{escape(_title(declaration, row))}: {escape(' '.join(sentences))}</p>\n"
    parts += [
        f"<p>{escape(_reason(rows))}</p>",
        *(f"<p>Note: {escape(note)}</p>" for note in _notes(declaration["design"], rows)),
        f'<p class="claim-key">{escape(_key(declaration["design"], rows))}</p>',
        f"<details><summary>Runs and design</summary>\n{details}"
        f"{_definitions(_facts(declaration, record['hash']))}</details>",
    ]
    return "\n".join(parts) + "\n</div>"


# --- words ------------------------------------------------------------------------------------------


def _facts(declaration, fingerprint):
    """(term, words) for what is declared."""
    design = declaration["design"]
    arms = {"more": " > ", "less": " < ", "same": " = "}[design["direction"]].join(_arms(design, design["arms"]))
    yield "Task", design["task"]
    yield "Claimed", f"{design['measure']}: {arms} ({design['axis']})"
    yield "Smallest effect", _size(design["smallest"], design)
    exploratory = ", exploratory: no verdict of the book" if design["exploratory"] else ""
    yield "Seeds", _seeds(design["seeds"]) + exploratory
    for name, values in design["conditions"].items():
        yield "Condition", f"{name}: {_list(values)}"
    for name, grid in design["tune"].items():
        best = {"min": "lowest", "max": "highest"}[design["tune_for"]]
        yield (
            "Tuned",
            f"{name} in {_list(grid)}: the {best} mean {design['tune_by']} over seeds "
            + _seeds(design["tuning_seeds"]),
        )
    if design["diverged"] is not None:
        yield "Diverged runs", f"count as {_size(design['diverged'], design)}"
    yield "Declaration", fingerprint


def _title(declaration, row):
    design = declaration["design"]
    first, second = _arms(design, row["arms"])
    joint = "minus" if design["direction"] == "same" else f"{design['direction']} than"
    condition = "".join(f"{name} {value}, " for name, value in row["condition"].items())
    return f"{condition}{first} {joint} {second}"


def _arms(design, arms):
    """The arms in words: a number or a truth value goes with the name of its column."""
    return [arm if isinstance(arm, str) else f"{design['axis']} {arm}" for arm in arms]


def _effect(declaration, row):
    low, high = row["measured"]["interval"]
    numbers = [_minus(text) for text in _alike(row["measured"]["effect"], low, high)]
    return f"{numbers[0]} {declaration['design']['unit']}".rstrip() + f" [{numbers[1]}, {numbers[2]}]"


def _sentences(declaration, row):
    measured, design = row["measured"], declaration["design"]
    size = _size(design["smallest"], design)
    yield f"A true effect of {size} would be told from zero with probability {measured['power']:.2g}."
    if any(measured["chosen"]):
        pairs = zip(_arms(design, row["arms"]), measured["chosen"], strict=True)
        yield f"Chosen: {'; '.join(f'{chosen} for {arm}' for arm, chosen in pairs)}."


def _because(row):
    reason = row["measured"]["reason"]
    return f"{reason[:1].upper()}{reason[1:]}."


def _reason(rows):
    if len(rows) == 1:
        return _because(rows[0])
    counts = Counter(row["verdict"] for row in rows)
    return f"Of {len(rows)} comparisons: " + ", ".join(f"{count} {word}" for word, count in counts.items()) + "."


def _notes(design, rows):
    edges, diverged = {}, {}
    for row in rows:
        arms, measured = _arms(design, row["arms"]), row["measured"]
        for arm, edge, count in zip(arms, measured["edge"], measured["diverged"], strict=True):
            who = ", ".join([arm, *(f"{name} {value}" for name, value in row["condition"].items())])
            edges |= {who: edge} if edge else {}
            diverged |= {who: count} if count else {}
    if edges:
        words = "; ".join(f"{edge} of {who}" for who, edge in edges.items())
        yield f"chosen at the end of the grid, so a wider one may suit better: {words}."
    if diverged:
        words = "; ".join(f"{count} of {who}" for who, count in diverged.items())
        yield f"diverged, of {rows[0]['seeds']} runs: {words}."
    close = [row["verdict"] for row in rows if row.get("close")]
    if close:
        words = " and ".join(dict.fromkeys(close))
        yield f"a close call ({words}): the interval ends so near to what decides that another machine may differ."


def _key(design, rows):
    runs = f"{design['measure']}, {rows[0]['seeds']} seeds in pairs"
    size = _size(design["smallest"], design)
    return (
        f"{runs}. Small dots: the seeds. Bar: the mean and its {_level(rows[0])}{_together(rows)}. "
        f"Dashed: zero. Shaded: too small to count, up to {size}."
    )


def _level(row):
    return f"{100 * row['confidence']:.4g} % interval"


def _together(rows):
    return f" ({100 - len(rows) * 100 * (1 - rows[0]['confidence']):.3g} % for all together)" if len(rows) > 1 else ""


def _size(number, design):
    return _minus(f"{number:g} {design['unit']}".rstrip())


def _seeds(seeds):
    whole = list(seeds)
    if len(whole) > 2 and whole == list(range(whole[0], whole[-1] + 1)):
        return f"{whole[0]} to {whole[-1]} ({len(whole)})"
    return f"{_list(whole)} ({len(whole)})"


def _list(values):
    return ", ".join(map(str, values))


def _alike(estimate, low, high):
    """The three numbers with as many decimals as two digits of the interval's width need."""
    width = high - low
    if not width:
        return [f"{value:.4g}" for value in (estimate, low, high)]
    decimals = 1 - math.floor(math.log10(width))
    if not 0 <= decimals <= 6:
        return [f"{value:.3g}" for value in (estimate, low, high)]
    return [f"{value:z.{decimals}f}" for value in (estimate, low, high)]


def _minus(text):
    return text.replace("-", "−")


# --- markup -----------------------------------------------------------------------------------------


def _definitions(facts):
    rows = "".join(f"<dt>{escape(term)}</dt><dd>{escape(words)}</dd>\n" for term, words in facts)
    return f"<dl>\n{rows}</dl>\n"


def _indented(facts):
    return [f"  {term}: {words}" for term, words in facts]


def _span(design, rows, differences):
    """One scale for all plots of a card, from low to high with a margin."""
    values = [0.0, design["smallest"], *(-design["smallest"],) * (design["direction"] == "same")]
    for row, seeds in zip(rows, differences, strict=True):
        values += [*row["measured"]["interval"], *seeds]
    margin = 0.04 * (max(values) - min(values))
    return min(values) - margin, max(values) + margin


def _plot(design, row, values, span, label):
    def at(value):
        return f"{100 * (value - span[0]) / (span[1] - span[0]):.1f}%"

    low, high = row["measured"]["interval"]
    band = (-design["smallest"] if design["direction"] == "same" else 0.0), design["smallest"]
    width = f"{100 * (band[1] - band[0]) / (span[1] - span[0]):.1f}%"
    dots = "".join(f'<circle cx="{at(value)}" cy="8" r="2.5"/>' for value in values)
    return (
        f'<svg role="img" aria-label="{escape(label)}" width="100%" height="32" fill="currentColor" stroke="none">'
        f'<rect x="{at(band[0])}" width="{width}" height="32" opacity="0.12"/>'
        f'<line x1="{at(0)}" x2="{at(0)}" y2="32" stroke="currentColor" stroke-dasharray="3 3"/>'
        f'<g opacity="0.45">{dots}</g>'
        f'<line x1="{at(low)}" x2="{at(high)}" y1="22" y2="22" stroke="currentColor" stroke-width="3"/>'
        f'<circle cx="{at(row["measured"]["effect"])}" cy="22" r="5"/></svg>'
    )
