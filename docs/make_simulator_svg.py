"""Draw docs/simulator.svg: how a simulated person comes to say what they say.

python docs/make_simulator_svg.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

DRAWING = Path(__file__).with_name("simulator.svg")

INK, SOFT, WARM, COOL = "#1f2d3a", "#5c7285", "#f6e7d2", "#dcebf2"
WIDTH, HEIGHT = 980, 610

BOXES = [  # x, y, width, height, fill, title, lines
    (
        30,
        50,
        250,
        112,
        WARM,
        "Severity",
        [
            "stable level by age and gender",
            "+ path (time constant 21 days)",
            "+ rare sudden change",
        ],
    ),
    (
        30,
        200,
        250,
        92,
        WARM,
        "Item deviations",
        ["nine stable values a person:", "poor sleep more than low mood ..."],
    ),
    (
        30,
        330,
        250,
        92,
        WARM,
        "Style trait",
        ["from minimising to amplifying;", "shifts every level that is expressed"],
    ),
    (
        365,
        50,
        250,
        112,
        COOL,
        "PHQ-9",
        ["mean severity of 14 days", "+ noise of the occasion", "graded response model, 9 items"],
    ),
    (
        365,
        200,
        250,
        222,
        COOL,
        "A user turn",
        [
            "topic: follows the question or taste",
            "in a frame? past, another person, if",
            "evaded? by severity and stigma",
            "level expressed: 0 to 3",
            "put plainly, denied, or as resolved",
            "bare, or with I and a tense",
            "template of two or more levels",
            "tone before it",
        ],
    ),
    (
        700,
        50,
        250,
        112,
        "#eef0ec",
        "phq9.parquet",
        ["of those who complete it:", "more sessions, lower severity,", "more likely"],
    ),
    (
        700,
        200,
        250,
        92,
        "#eef0ec",
        "turns.parquet",
        ["slots, leads, tails, asides,", "typing style by age"],
    ),
    (
        700,
        330,
        250,
        92,
        "#eef0ec",
        "truth/",
        ["all PHQ-9s, latent severity,", "template of every turn, teacher"],
    ),
    (
        365,
        480,
        585,
        92,
        "#e6dff0",
        "The best possible predictor",
        [
            "sees template numbers, tones and times; knows the model, not the person",
            "gives the distribution of the total after every turn: nothing reads better",
        ],
    ),
]

ARROWS = [
    (280, 100, 365, 100),
    (280, 240, 365, 135),
    (280, 120, 365, 240),
    (280, 255, 365, 290),
    (280, 375, 365, 340),
    (615, 105, 700, 105),
    (615, 250, 700, 250),
    (615, 375, 700, 375),
    (490, 422, 490, 480),
]


def drawing() -> str:
    """The drawing as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="Helvetica, Arial, sans-serif" role="img" '
        'aria-label="How a simulated person comes to say what they say">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{SOFT}"/></marker>'
        "</defs>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for x, title in ((30, "what is true"), (365, "what is drawn"), (700, "what is on disk")):
        parts.append(f'<text x="{x}" y="34" font-size="15" fill="{SOFT}">{title}</text>')
    for x1, y1, x2, y2 in ARROWS:
        parts.append(
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{SOFT}" '
            'stroke-width="1.6" marker-end="url(#tip)"/>'
        )
    for box in BOXES:
        parts += _box(*box)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _box(
    x: int, y: int, width: int, height: int, fill: str, title: str, lines: list[str]
) -> list[str]:
    parts = [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{fill}" '
        f'stroke="{INK}" stroke-width="1"/>',
        f'<text x="{x + 14}" y="{y + 26}" font-size="16" font-weight="bold" fill="{INK}">'
        f"{title}</text>",
    ]
    for number, line in enumerate(lines):
        parts.append(
            f'<text x="{x + 14}" y="{y + 49 + 22 * number}" font-size="13.5" fill="{INK}">'
            f"{line}</text>"
        )
    return parts


if __name__ == "__main__":
    if "--check" not in sys.argv:
        DRAWING.write_text(drawing(), encoding="utf-8")
    elif DRAWING.read_text(encoding="utf-8") != drawing():
        sys.exit(f"{DRAWING.name} is out of date: run python docs/make_simulator_svg.py")
