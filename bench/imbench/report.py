# SPDX-License-Identifier: GPL-2.0-or-later
"""The results as Markdown and as JSON."""

import json
import statistics

from .rounds import OURS
from .rows import Limit


def ratios(row, ours, other):
    """How many times as good as OTHER, for each round in which both have a figure."""
    found = []
    for mine, theirs in zip(ours.samples, other.samples):
        if mine and theirs and mine.value and theirs.value:
            ratio = mine.value / theirs.value
            found.append(1 / ratio if row.lower_is_better else ratio)
    return found


def best_other(row, entries):
    rivals = [entry for entry in entries[1:] if not entry.reference and entry.values()]
    choose = min if row.lower_is_better else max
    return choose(rivals, key=lambda entry: entry.median()) if rivals else None


def _goal_reached(row, entries, goal):
    """True or False, or None where it cannot be said."""
    ours = entries[0]
    if not ours.values():
        return None
    if isinstance(goal, Limit):
        return ours.median() <= goal.most
    other = best_other(row, entries) if goal.against == "best" else next(
        (entry for entry in entries[1:] if entry.name == goal.against), None)
    if other is None or not ratios(row, ours, other):
        return None
    return statistics.median(ratios(row, ours, other)) >= goal.factor


def verdict(row, entries):
    """Whether the row's goals are reached, in a word."""
    if not row.goals:
        return "–"
    reached = [_goal_reached(row, entries, goal) for goal in row.goals]
    decides = any if row.any_goal else all
    known = [one for one in reached if one is not None]
    if not known:
        return "not known"
    if row.any_goal and any(known):
        return "yes"
    if not row.any_goal and not all(known):
        return "no"
    if len(known) < len(reached):
        return "not known"
    return "yes" if decides(known) else "no"


def _number(value):
    if value is None:
        return "–"
    if value >= 10000:
        return f"{value / 1000:.0f}k"
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _spread(values):
    if not values:
        return "–"
    text = _number(statistics.median(values))
    if len(values) > 1:
        text += f" ({_number(min(values))}–{_number(max(values))})"
    return text


def _line(*cells):
    return "| " + " | ".join(cells) + " |"


def markdown_row(row, entries):
    """A row's own table."""
    lines = [f"### {row.name}: {row.title}", "",
             _line("", row.unit, "imgmount is × as good", "CPU s per GB", ""),
             "|---|---|---|---|---|"]
    for entry in entries:
        compared = [] if entry.name == OURS else ratios(row, entries[0], entry)
        lines.append(_line(entry.name, _spread(entry.values()), _spread(compared),
                           _number(entry.cpu_per_gb()), entry.note))
    if row.goals:
        lines += ["", f"Goal: {row.goal_text()}. Reached: {verdict(row, entries)}."]
    return "\n".join(lines) + "\n"


def _summary(results):
    lines = [_line("work", "unit", "imgmount", "best other", "ratio", "goal", "reached"),
             "|---|---|---|---|---|---|---|"]
    for row, entries in results:
        best = best_other(row, entries)
        lines.append(_line(
            f"{row.name}: {row.title}", row.unit, _number(entries[0].median()),
            f"{best.name} {_number(best.median())}" if best else "–",
            _spread(ratios(row, entries[0], best)) if best else "–",
            row.goal_text() or "–", verdict(row, entries)))
    return "\n".join(lines) + "\n"


def markdown(results, facts):
    """All of it: circumstances, the table, and each row with its spread."""
    parts = ["# imgmount's benchmark\n"]
    parts.append("\n".join(f"- {key}: {value}" for key, value in facts.items()) + "\n")
    parts.append(_summary(results))
    parts += [markdown_row(row, entries) for row, entries in results]
    return "\n".join(parts)


def as_json(results, facts):
    rows = []
    for row, entries in results:
        rows.append({
            "name": row.name, "title": row.title, "unit": row.unit,
            "goal": row.goal_text(), "reached": verdict(row, entries),
            "entries": [{
                "name": entry.name, "reference": entry.reference, "note": entry.note,
                "values": [sample and sample.value for sample in entry.samples],
                "median": entry.median(), "cpu_per_gb": entry.cpu_per_gb(),
                "ratios": [] if entry.name == OURS else ratios(row, entries[0], entry),
            } for entry in entries],
        })
    return json.dumps({"facts": facts, "rows": rows}, indent=2) + "\n"
