"""From template numbers to what is read: slots, leads, tails, and how each person types.

Style depends on age alone, never on severity. All randomness comes from one array of integers
drawn beforehand, so a text depends on its own row only.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from leadline.arrays import Bools, Ints
from leadline.simulate.phrase_bank import CLOSE, LIFE, OPEN, Bank, assistant, extras
from leadline.simulate.talk import Talk

STYLES = ("as typed", "lower case", "careful", "hasty", "texting")

# P(style | age band), youngest first.
STYLE_OF_AGE = np.array(
    [
        [0.25, 0.30, 0.05, 0.15, 0.25],
        [0.35, 0.25, 0.10, 0.15, 0.15],
        [0.40, 0.15, 0.25, 0.15, 0.05],
        [0.35, 0.05, 0.45, 0.15, 0.00],
    ]
)

STYLE_OF_OTHER_APP = np.array([0.10, 0.35, 0.05, 0.10, 0.40])

ASIDES = 14  # percent of turns with something about life beside the rest

DRAWS = 10  # random integers per turn

FIRST_TURN = -2  # in place of a form: nothing was said before

_SLOT = re.compile(r"\{(\w+)\}")

_SENTENCE = re.compile(r"(^|[.!?] +)([a-z])")

_LONE_I = re.compile(r"\bi\b(?=[' ])")

_SHORT = {
    "because": "bc",
    "really": "rly",
    "you": "u",
    "to be honest": "tbh",
    "right now": "rn",
    "with": "w",
    "people": "ppl",
    "about": "abt",
    "probably": "prob",
    "don't know": "dunno",
    "going to": "gonna",
    "want to": "wanna",
    "though": "tho",
}

_SHORTEN = re.compile(r"\b(" + "|".join(_SHORT) + r")\b")

_EMOJI = (" lol", " 🙃", " haha", " :)", " 🤷", " xx", " 😅", "...")


def user_texts(bank: Bank, talk: Talk, held_half: Bools, style: Ints, draws: Ints) -> list[str]:
    """The text of every user turn, people in order, turns in order.

    Args:
        bank: the templates.
        talk: the turns.
        held_half: who uses the held-out half, (people,).
        style: index into STYLES, (people,).
        draws: random integers, (people, turns + 1, DRAWS); the last turn's are the person's own.
    """
    extra_texts = extras()
    slots = extra_texts["slots"]
    leads = [
        _halves(extra_texts["lead"][tone]["texts"])
        for tone in ("minimising", "neutral", "amplifying")
    ]
    tails = extra_texts["tail"]["texts"]
    life = [[bank.text[j] for j in _usable(bank, half)] for half in range(2)]
    texts = []
    for person in range(talk.form.shape[0]):
        person_draw = draws[person, -1]
        slot_values = {
            name: _own_values(name, values, person_draw) for name, values in slots.items()
        }
        half = int(held_half[person])
        typing_style = TYPED[int(style[person])]
        for turn in range(int((talk.form[person] >= 0).sum())):
            draw = draws[person, turn].tolist()
            body = bank.text[talk.template[person, turn]]
            tone = int(talk.tone[person, turn])
            framing = talk.form[person, turn] in (OPEN, CLOSE)
            text = _around(body, leads[tone][half], tails, tone, framing, draw)
            if not framing and draw[9] % 100 < ASIDES:
                text = _aside(text, life[half], draw[9] // 100)
            texts.append(typing_style(_fill(text, slot_values, draw), draw))
    return texts


def _usable(bank: Bank, half: int) -> list[int]:
    """Templates about life that one half of the people use."""
    return np.flatnonzero((bank.form == LIFE) & (bank.share[half].sum(axis=1) > 0)).tolist()


def _aside(text: str, life: list[str], pick: int) -> str:
    """Something about life before or after, as people do who write several things at once."""
    aside = life[pick % len(life)]
    first, second = (text, aside) if pick % 3 else (aside, text)
    return f"{first}{'' if first[-1] in '.!?' else '.'} {second}"


def _halves(texts: list[str]) -> tuple[list[str], list[str]]:
    """Leads of training people and of locked people."""
    cut = round(len(texts) * 0.7)
    return texts[:cut], texts[cut:]


def _own_values(name: str, values: list[str], person_draw: Ints) -> list[str]:
    """The few values of a slot that one person uses, so that a life hangs together."""
    if name in ("hour", "weekday", "month", "food", "thing"):
        return values
    keep = {"name": 4, "relative": 2, "hobby": 2, "show": 2, "place": 2, "age": 1, "ago": 1}[name]
    begin = int(person_draw[len(name)]) % len(values)
    return [values[(begin + step * 3) % len(values)] for step in range(keep)]


def _fill(text: str, slot_values: dict[str, list[str]], draw: list[int]) -> str:
    if "{" not in text:
        return text
    return _SLOT.sub(
        lambda hit: slot_values[hit[1]][(draw[0] >> len(hit[1])) % len(slot_values[hit[1]])], text
    )


def _around(
    body: str, leads: list[str], tails: list[str], tone: int, framing: bool, draw: list[int]
) -> str:
    """Lead, body and tail as one text; a frame is opened or closed without a lead."""
    marked = tone != 1
    if marked or (not framing and draw[1] % 100 < 22):
        body = f"{leads[draw[2] % len(leads)]} {body}"
    if not framing and draw[3] % 100 < 24:
        body = f"{body}{'' if body[-1] in '.!?' else '.'} {tails[draw[4] % len(tails)]}"
    return body


def _as_typed(text: str, draw: list[int]) -> str:
    if draw[5] % 100 < 5:
        return text + _EMOJI[draw[6] % len(_EMOJI)]
    return text[0].upper() + text[1:] if draw[5] % 3 == 0 else text


def _lower(text: str, draw: list[int]) -> str:
    text = text.lower().rstrip(".")
    if draw[5] % 3 == 0:
        text = text.replace("'", "")
    return text + _EMOJI[draw[6] % len(_EMOJI)] if draw[5] % 100 < 10 else text


def _careful(text: str, _draw: list[int]) -> str:
    text = _SENTENCE.sub(lambda hit: hit[1] + hit[2].upper(), text)
    text = _LONE_I.sub("I", text)
    return text if text[-1] in ".!?" else text + "."


def _hasty(text: str, draw: list[int]) -> str:
    words = text.split(" ")
    for place, kind in ((draw[5], draw[6]), (draw[7], draw[8]))[: draw[9] % 3]:
        at = place % len(words)
        words[at] = _typo(words[at], kind)
    return " ".join(words)


def _typo(word: str, kind: int) -> str:
    if len(word) < 4 or not word.isalpha() or kind % 3 == 0:
        return word
    at = 1 + kind // 3 % (len(word) - 2)
    if kind % 3 == 1:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at + 1 :]


def _texting(text: str, draw: list[int]) -> str:
    text = _SHORTEN.sub(lambda hit: _SHORT[hit[1]], text.lower()).replace("'", "")
    text = text.replace(". ", ("... ", ", ", " ", "\n")[draw[5] % 4]).rstrip(".")
    return text + _EMOJI[draw[6] % len(_EMOJI)] if draw[7] % 100 < 22 else text


TYPED: tuple[Callable[[str, list[int]], str], ...] = (_as_typed, _lower, _careful, _hasty, _texting)


def assistant_texts(talk: Talk, other_app: Bools, draws: Ints) -> list[str]:
    """The assistant's message before every user turn, in the order of `user_texts`.

    It depends on what was said earlier in the conversation by topic and kind of turn, never
    on the level.
    """
    lines = assistant()
    texts = []
    for person in range(talk.form.shape[0]):
        app = "_b" if other_app[person] else ""
        for turn in range(int((talk.form[person] >= 0).sum())):
            draw = draws[person, turn].tolist()
            asked_item = int(talk.asked_item[person, turn])
            ask = lines["ask_life" if asked_item < 0 else f"ask_{asked_item + 1}"]
            first = turn == 0 or talk.session[person, turn] != talk.session[person, turn - 1]
            before = (
                (FIRST_TURN if turn == 0 else -1, -1)
                if first
                else (talk.form[person, turn - 1], talk.topic[person, turn - 1])
            )
            reply = _reply(lines, int(before[0]), int(before[1]), app, draw)
            skip = before[0] == OPEN or (first and asked_item < 0)
            texts.append(reply if skip else f"{reply} {ask[draw[9] % len(ask)]}")
    return texts


def _reply(lines: dict[str, list[str]], form: int, topic: int, app: str, draw: list[int]) -> str:
    if form < 0:
        replies = lines["first" if form == FIRST_TURN else "greeting" + app]
    elif form == OPEN:
        replies = lines["reflect_open"]
    elif form == CLOSE:
        replies = lines["reflect_close"]
    elif form != LIFE and draw[7] % 100 < 30:
        replies = lines[f"about_{topic + 1}"]
    else:
        replies = lines["reflect" + app]
    return replies[draw[8] % len(replies)]
