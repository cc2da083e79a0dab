"""Write the measured parts of docs/selftraining.md and docs/teachers.md from the results.

python bench/make_selftrain_docs.py [--check]
"""

from __future__ import annotations

import sys
from typing import Any

from make_readme_table import HERE, read

DOCS = HERE.parent / "docs"
NOT_YET = "Not yet measured: `{command}`."
ARMS = {
    "gold only": "gold only",
    "round 1, student alone": "round 1, labels by the student alone",
    "round 1, student and anchors": "round 1, student and anchors",
    "round 1, student and decisions": "round 1, student and SmolLM2 by decisions",
    "fused with anchors": "that of the anchors, fused with their rating at scoring time",
    "fused with decisions": "that of SmolLM2, fused with its rating at scoring time",
}


def source(found: dict[str, Any]) -> str:
    """Where figures come from, in brackets."""
    return f"`{found['command']}`, {found['date']}, {found['machine']}"


def counted(states: dict[str, int]) -> str:
    """States of requests in words."""
    return ", ".join(f"{count} {name}" for name, count in states.items())


def teacher_lines(teachers: dict[str, Any]) -> list[str]:
    """What the local teachers are worth against the PHQ-9s, nothing fitted to them."""
    lines = []
    titles = {"anchors": "Anchors", "decisions": "SmolLM2 asked item by item (`decisions`)"}
    for key, title in titles.items():
        row = teachers.get(key)
        if row:
            lines.append(
                f"- {title}: r {row['r']:.3f} with the PHQ-9, MAE {row['mae']:.2f}, bias "
                f"{row['bias']:+.2f}, slope {row['slope']:.2f}."
            )
    chat = teachers.get("chat")
    if chat:
        lines.append(
            f"- SmolLM2 asked for the rubric's JSON: of {chat['asked']} people, "
            f"{counted(chat['states'])} at {chat['max_tokens']} tokens, so {chat['labels']} labels."
        )
    if "decisions" not in teachers:
        lines.append("- SmolLM2 behind a local server, item by item: not yet measured.")
    return lines


def checkins_part() -> str:
    """Gold only against self-training on the check-ins."""
    found = read("selftrain_checkins")
    if found is None or "arms" not in found:
        return NOT_YET.format(command="python bench/selftrain_checkins.py")
    lines = [
        f"200 real check-ins, half of the PHQ-9s hidden, {found['draws']} draws of the half, "
        f"reader {found['reader']} ({source(found)}). The figures are of the hidden half; the "
        "difference is paired, with a bootstrap over people. The rules were off, so that the "
        "round itself is measured; the last column says in how many draws they would have kept "
        "it. Two local teachers, neither fitted to a PHQ-9 (but SmolLM2's layers were once chosen "
        "on these people, among others):",
        "",
        *teacher_lines(found["teachers"]),
        "",
        "| model | MAE | MAE minus gold only (95%) | kept by the rules |",
        "|---|---|---|---|",
    ]
    for name, title in ARMS.items():
        row = found["arms"].get(name)
        if row is None:
            continue
        gap = ""
        if "minus_gold_only" in row:
            low, high = row["interval_95"]
            gap = f"{row['minus_gold_only']:+.2f} ({low:+.2f} to {high:+.2f})"
        rules = row.get("kept_by_the_rules")
        kept = "" if rules is None else f"{rules} of {found['draws']}"
        lines.append(f"| {title} | {row['mae']:.2f} | {gap} | {kept} |")
    return "\n".join(lines)


def asked_lines(row: dict[str, Any]) -> str:
    """One arm of requests to the server."""
    text = (
        f"{row['requests']} requests with {row['max_tokens']} tokens for the answer: "
        f"{counted(row['states'])}, {row['labels']} labels, {row['input_tokens']:,.0f} input and "
        f"{row['output_tokens']:,.0f} output tokens"
    )
    if row["answered_before_the_kill"]:
        text += (
            f"; killed by SIGKILL after {row['answered_before_the_kill']} answers, of which "
            f"{row['of_them_lost_or_changed']} were lost or changed"
        )
    return f"{text}; run again, it asked {row['asked_again']}"


def server_part() -> str:
    """The real server on loopback."""
    found = read("local_teacher")
    intro = (
        "A real server on loopback, `transformers serve` with SmolLM2-135M. It takes the JSON "
        "schema of a request and does not enforce it; a model of this size is no rater."
    )
    if found is None:
        command = NOT_YET.format(command="python bench/local_teacher.py --save")
        return f"{intro} {command}"
    lines = [f"{intro} ({source(found)})", ""]
    lines += [f"- {asked_lines(found[key])}." for key in ("short", "long") if key in found]
    if "decisions" in found:
        row = found["decisions"]
        lines.append(
            f"- The server's `/v1/systemone`, which reads the probabilities of 0-3 for each item "
            f"and writes no text: {row['valid']} of {row['requests']} requests gave a valid "
            f"rating, {row['input_tokens']:,} input tokens, {row['seconds']:.0f} s."
        )
    return "\n".join(lines)


PARTS = {
    ("selftraining.md", "checkins"): checkins_part,
    ("teachers.md", "server"): server_part,
}


def page(name: str, mark: str, text: str) -> str:
    """A page with its measured part made anew."""
    start, end = f"<!-- bench:{mark}:start -->", f"<!-- bench:{mark}:end -->"
    whole = (DOCS / name).read_text(encoding="utf-8")
    head, rest = whole.split(start, 1)
    _, tail = rest.split(end, 1)
    return f"{head}{start}\n{text}\n{end}{tail}"


if __name__ == "__main__":
    for (name, mark), make in PARTS.items():
        text = page(name, mark, make())
        if "--check" not in sys.argv:
            (DOCS / name).write_text(text, encoding="utf-8")
        elif (DOCS / name).read_text(encoding="utf-8") != text:
            sys.exit(f"{name} is out of date: run python bench/make_selftrain_docs.py")
