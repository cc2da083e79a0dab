"""WhatsApp: the text file of "Export chat", one line a message, more lines where it has them.

Android writes ``01/05/2024, 10:00 - Anna: text`` and iPhones ``[01.05.24, 10:00:00] Anna: text``.
The order of day and month is the phone's: it is read from the days that prove it, else asked for. A
line without an author is a notice of the app.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from leadline.errors import LeadlineError
from leadline.layouts.posts import Post, Room, read_posts
from leadline.layouts.unsaid import EVENTS, placeholder
from leadline.sources.config import ImportConfig
from leadline.sources.files import read_text
from leadline.sources.rejects import RejectedRows
from leadline.sources.source import Source
from leadline.sources.spoken_times import day_order, is_ambiguous

MARKS = "\u200e\u200f\u202a\u202c\ufeff"

BY_APP = "\u200e"
"""Before what the app of an iPhone writes under a name: notices, calls, media that are left out."""

EDIT_MARKS = "marks of an edited message, cut off"

EDITED = re.compile(r"[ \t]{0,9}(?:\u200e<[^<>\n]{5,60}>|<This message was edited>)$")

DAY = (
    r"(?:\d{1,4}\u200f?[-/.]\u200f?\d{1,2}\u200f?[-/.]\u200f?\d{2,4}"
    r"|\d{4}\s?[年년]\s?\d{1,2}\s?[月월]\s?\d{1,2}\s?[日일])"
)

HALVES = {
    **dict.fromkeys(("am", "午前", "上午", "凌晨", "早上", "오전", "ص", "öö", "fm"), "AM"),
    **dict.fromkeys(("pm", "午後", "下午", "中午", "晚上", "오후", "م", "ös", "em"), "PM"),
}  # fmt: skip

HALF = rf"(?:[AaPpFfEe]\.?\s?[Mm]\.?|{'|'.join(word for word in HALVES if not word.isascii())})"

CLOCK = rf"(?:{HALF}\s*)?\d{{1,2}}[:.]\d{{2}}(?:[:.]\d{{2}})?(?:[\s\u202f]*{HALF})?"

AT = r"(?:\s+(?:klo|kl\.?|à|às|um|at|om|alle|a las))?"

LINE = re.compile(
    rf"^\[?(?P<day>{DAY})[,\u060c.]?{AT}\s+(?P<clock>{CLOCK})"
    r"(?:\]\s*|\s*[-\u2013]\s+|,\s+(?=[^:]{1,60}\s:\s))(?P<rest>.*)$"
)


def message_line(line: str) -> re.Match[str] | None:
    """The parts of a line that begins a message; None for other lines."""
    return LINE.match(line.strip(MARKS))


def is_whatsapp(path: Path) -> bool:
    """Whether the first line that says anything has the form of an exported message."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            lines = [stream.readline(10_000) for _ in range(5)]
    except (OSError, UnicodeDecodeError):
        return False
    return any(message_line(line.strip()) for line in lines)


def read_whatsapp(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open an exported chat."""
    return read_posts(source, _rooms(source, settings, ledger), settings, ledger)


def _rooms(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Iterator[Room]:
    lines = read_text(source).splitlines()
    matches = [message_line(line) for line in lines]
    days = [match["day"].replace("\u200f", "") for match in matches if match]
    if not days:
        raise LeadlineError(
            "No line has the form of an exported WhatsApp message.",
            remedy="Export the chat again, or give --format.",
            file=source,
        )
    order = day_order(days, settings.date_order)
    if order == "ask" and any(is_ambiguous(day) for day in days):
        raise LeadlineError(
            "The dates could be two days: day and month are told apart by nothing.",
            remedy="Say which comes first on that phone: --date-order dmy or mdy.",
            file=source,
            row=1,
        )
    room = Room("line 1", source.stem)
    further: dict[int, list[str]] = {}  # of a post the lines below its first
    for number, (line, match) in enumerate(zip(lines, matches, strict=True), 1):
        if match is None:
            if room.posts and line.strip(MARKS):
                further.setdefault(len(room.posts) - 1, []).append(line)
            continue
        name, colon, text = _name_and_text(match["rest"])
        time = _iso(match["day"], match["clock"], order)
        if not colon:
            room.posts.append(Post(f"line {number}", "", "", None, time, unsaid=EVENTS))
            continue
        name = name.strip(MARKS + " ")
        by_app = text.startswith(BY_APP)
        text, edits = EDITED.subn("", text)
        ledger.note(EDIT_MARKS, edits)
        text = text.strip(MARKS)
        unsaid = EVENTS if by_app and not placeholder(text) else ""
        room.posts.append(Post(f"line {number}", name, name, text, time, unsaid=unsaid))
    for place, lines_below in further.items():
        room.posts[place].text = "\n".join([str(room.posts[place].text), *lines_below])
    ledger.uses.meet(source, ("date", "name", "text"))
    for key, kind in (("date", "time"), ("name", "role, person"), ("text", "text")):
        ledger.uses.take(source, key, kind)
    yield room


def _name_and_text(rest: str) -> tuple[str, str, str]:
    """Author, colon and words of a message; a colon may stand between spaces (Korean)."""
    name, colon, text = rest.partition(" : ")
    return (name, colon, text) if colon and ":" not in name else rest.partition(": ")


def _iso(day: str, clock: str, order: str) -> str:
    """Date and clock as one text that says the order of its day and month."""
    first, second, third = (f"{int(number):02}" for number in re.findall(r"\d+", day))
    if len(first) == 4:
        year, month, date = first, second, third
    elif order == "mdy" and "." not in day:
        year, month, date = third, first, second
    else:
        year, month, date = third, second, first
    year = year if len(year) == 4 else f"20{year}"
    time = ":".join(f"{int(number):02}" for number in re.findall(r"\d+", clock))
    letters = re.sub(r"[\d\s\u202f:.]", "", clock).lower()
    return f"{year}/{month}/{date} {time} {HALVES.get(letters, '')}".strip()
