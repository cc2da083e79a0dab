"""Questionnaire-like spans: found where the wording is the questionnaire's, not elsewhere."""

from __future__ import annotations

import itertools

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.cohorts import cohort_of, day, label_row

from leadline.cohort.config import WindowConfig
from leadline.cohort.cues import may_hold_cues
from leadline.cohort.masking import (
    ANSWERED,
    ASKED,
    BLANK,
    CANDIDATE,
    LISTED,
    NOT_ASKED,
    QUOTED,
    TextSpan,
    blank_spans,
    cohort_spans,
    mask_continuation,
    mask_messages,
    questionnaire_spans,
)
from leadline.cohort.store import Cohort
from leadline.cohort.timeline import Message, timelines
from leadline.runs.config import TrainConfig
from leadline.runs.labelled import labelled_people
from leadline.tables import TURNS
from leadline.teacher.selection import cohort_readings

FRAME = "Over the last two weeks, how often have you been bothered by "
ITEM = FRAME + "little interest or pleasure in doing things?"


def said(*pairs: tuple[str, str]) -> list[Message]:
    return [Message(role, text) for role, text in pairs]


@pytest.mark.parametrize(
    "question",
    [
        ITEM,
        FRAME + "feeling down, depressed, or hopeless?",
        "How often have you been bothered by trouble falling or staying asleep?",
        "Poor appetite or overeating: several days, more than half the days, nearly every day?",
        "PHQ-9, item 4: feeling tired or having little energy",
        "Trouble concentrating on things? And moving or speaking so slowly that others noticed?",
    ],
)
@pytest.mark.parametrize(
    "answer", ["Several days", "nearly every day I guess", "2", "I'd say 3.", "not at all!"]
)
def test_administered_items_and_their_answers(question: str, answer: str) -> None:
    messages = said(("assistant", question), ("user", answer))
    assert [(span.message, span.reason) for span in questionnaire_spans(messages)] == [
        (0, ASKED), (1, ANSWERED)
    ]  # fmt: skip
    assert [message.text for message in mask_messages(messages)] == [BLANK, BLANK]


def test_later_items_need_no_frame_while_the_questionnaire_goes_on() -> None:
    bare = "2. Feeling tired or having little energy?"
    messages = said(("assistant", ITEM), ("user", "1"), ("assistant", bare), ("user", "3"))
    assert [span.reason for span in questionnaire_spans(messages)] == [ASKED, ANSWERED] * 2
    assert questionnaire_spans(messages[2:]) == []
    talk = [*messages[:2], *said(("assistant", "I see."), ("user", "yes")) * 2]
    assert len(questionnaire_spans([*talk, *messages[2:]])) == 2


def test_a_long_answer_loses_only_its_scale_words() -> None:
    long = "Nearly every day, because since the move in March I have had 2 jobs and no time to rest"
    messages = said(("assistant", ITEM), ("user", long))
    assert mask_messages(messages)[1].text == long.replace("Nearly every day", BLANK)


@pytest.mark.parametrize(
    "text",
    [
        "my phq was 14",
        "My PHQ-9 score came back as 17.",
        "I scored 12 out of 27",
        "phq9: 8/27",
        "I got a 15 on the depression questionnaire",
        "the depression test said 21",
    ],
)
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_quoted_scores(text: str, role: str) -> None:
    spans = questionnaire_spans(said((role, "Hello. " + text)))
    assert [span.reason for span in spans] == [QUOTED]
    assert not any(
        character.isdigit() for character in mask_messages(said((role, text)))[0].text[-2:]
    )


def test_a_list_of_answers() -> None:
    messages = said(("user", "mine are 1, 2, 3, 0, 1, 2, 0, 0, 1 today"))
    assert [span.reason for span in questionnaire_spans(messages)] == [LISTED]
    assert mask_messages(messages)[0].text == f"mine are {BLANK} today"


@pytest.mark.parametrize(
    "text",
    [
        "I have trouble sleeping and I am tired nearly every day",
        "I feel down and hopeless, some days more than others",
        "I have no appetite. I was depressed for 3 months.",
        "My doctor gave me the PHQ-9 last week",
        "She scored 2 goals, I scored 1 in the 27th minute",
        "I got 2 on the way",
        "not at all",
        "3",
        "I was off sick for several days, then worked 12 hours",
        "my therapist says depression is treatable within 12 weeks",
        "On a scale of 1 to 10 I am at a 4",
        "call me on 0 1 2 or come at 3",
    ],
)
def test_ordinary_talk_is_not_flagged(text: str) -> None:
    messages = said(("assistant", "How have you been sleeping these two weeks?"), ("user", text))
    assert questionnaire_spans(messages) == []
    assert mask_messages(messages) == messages


@pytest.mark.parametrize(
    "text",
    [
        "How often do you feel this way?",
        "It sounds like you feel down and have little energy. Is that right?",
        "Are you thinking about hurting yourself in some way? Please call for help.",
        "Over the last two weeks, how have you been?",
        "What has helped you to fall asleep before?",
    ],
)
def test_ordinary_questions_are_not_flagged(text: str) -> None:
    assert questionnaire_spans(said(("assistant", text), ("user", "2 or 3 times"))) == []


def asked(*lines: str) -> list[str]:
    """Who is blanked: the reasons of the spans that are whole messages, ``-`` elsewhere.

    The assistant begins; each line answers the one before.
    """
    roles = itertools.cycle(["assistant", "user"])
    messages = [Message(role, text) for role, text in zip(roles, lines, strict=False)]
    reasons = {
        span.message: span.reason
        for span in questionnaire_spans(messages)
        if span.stop - span.start == len(messages[span.message].text)
    }
    return [reasons.get(number, "-") for number in range(len(lines))]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("On a scale from 0 to 3, how often did you have little joy in things?", "2"),
        ("0 to 3: how tired were you?", "I'd say 1"),
        ("In the last two weeks, how often were you unable to sleep?", "most nights"),
        (
            "Poor sleep: none, several days, more than half the days, nearly every day?",
            "several days",
        ),
        ("Wie oft warst du in den letzten zwei Wochen niedergeschlagen?", "fast jeden Tag"),
        ("Au cours des deux dernières semaines, à quelle fréquence étiez-vous fatigué ?", "jamais"),
        ("¿Con qué frecuencia, en las últimas dos semanas, perdió el apetito?", "varios días"),
        ("Nas últimas duas semanas, com que frequência dormiu mal? Faltou sono?", "nunca"),
        ("过去两周有多少天觉得疲倦?", "好几天"),
        ("過去兩週有多少天失眠?", "幾乎每天"),
    ],
)
def test_items_in_other_words_and_languages(question: str, answer: str) -> None:
    assert asked(question, answer) == [ASKED, ANSWERED]


def test_a_scale_that_was_announced_holds_for_the_questions_that_follow() -> None:
    announced = "I have nine questions. Answer from 0, never, to 3, every day."
    assert asked(announced, "ok", "Sleep problems?", "2", "Tired?", "1") == [
        "-", "-", ASKED, ANSWERED, ASKED, ANSWERED
    ]  # fmt: skip
    assert asked("I have nine questions.", "ok", "Sleep problems?", "2", "Tired?", "1") == ["-"] * 6


def test_a_question_that_no_cue_names_does_not_end_a_questionnaire() -> None:
    announced = "Answer from 0, never, to 3, every day."
    lines = (announced, "ok", "Sleep?", "2", "Anything odd?", "3", "Appetite?", "0")
    assert asked(*lines)[4:] == ["-", ANSWERED, ASKED, ANSWERED]


def test_numbers_after_questions_about_symptoms_begin_a_questionnaire() -> None:
    talk = ("How is your sleep?", "2", "Your appetite?", "1", "Your mood?", "3", "Tired?", "2")
    assert asked(*talk) == ["-"] * 5 + [ANSWERED, ASKED, ANSWERED]
    words = ("How is your sleep?", "2 hours", "Your appetite?", "gone", "Your mood?", "3 days low")
    assert asked(*words, "Tired?", "2") == ["-"] * 8


def test_all_answers_in_one_message() -> None:
    questions = f"Please answer all from 0 to 3:\n{ITEM}\nSleep?\nEnergy?\nAppetite?"
    answers = "1) 2 2) 1 3) 0 4) 3, and that is how the last two weeks have been for me, sadly"
    assert asked(questions, answers) == [ASKED, ANSWERED]


def test_what_is_said_after_the_answer_is_blanked_for_its_words_alone() -> None:
    messages = said(("assistant", ITEM), ("user", "2"), ("user", "My cat died"), ("user", "jamais"))
    assert [message.text for message in mask_messages(messages)][1:] == [
        BLANK,
        "My cat died",
        BLANK,
    ]


WORDS = st.lists(
    st.sampled_from(
        [ITEM, "2", "several days", "my phq was 14", "1,2,3,0,1,2,0,0,1", "hello", "scored",
         "depression", "trouble falling asleep", "\n", ". ", "0 to 3", "How is your sleep?",
         "almost every day", "fast jeden Tag", "Appetit?", "几乎每天", "睡眠不好?", "two",
         "je dors", "wie oft in den letzten zwei Wochen", "PLUS DE LA MOITIÉ DES JOURS",
         "Müdigkeit"]
    ) | st.text(max_size=5),
    max_size=5,
).map(" ".join)  # fmt: skip
CHATS = st.lists(st.tuples(st.sampled_from(["user", "assistant", "clinician"]), WORDS), max_size=8)


@given(CHATS, st.lists(st.integers(0, 8)))
def test_messages_that_arrive_bit_by_bit_are_blanked_as_all_at_once(
    pairs: list[tuple[str, str]], cuts: list[int]
) -> None:
    messages = said(*pairs)
    found, asked = [], NOT_ASKED
    for start, stop in itertools.pairwise(sorted({0, *cuts, len(messages)})):
        some, asked = mask_continuation(messages[start:stop], asked)
        found += some
    assert found == mask_messages(messages)


@example([("assistant", 2 * "wie oft in den letzten zwei Wochen "), ("user", "2")], 0)
@given(CHATS, st.integers(0, 8))
def test_spans_are_causal_sound_and_found_by_the_quick_search(
    pairs: list[tuple[str, str]], cut: int
) -> None:
    messages = said(*pairs)
    spans = questionnaire_spans(messages)
    assert questionnaire_spans(messages[:cut]) == [span for span in spans if span.message < cut]
    for before, after in itertools.pairwise(spans):
        assert before.message < after.message or before.stop <= after.start
    blanked = blank_spans(messages, spans, blank="")
    removed = sum(span.stop - span.start for span in spans)
    assert sum(len(m.text) for m in messages) - sum(len(m.text) for m in blanked) == removed
    if spans:
        text = pl.col("text")
        texts = pl.DataFrame({"text": [message.text for message in messages]})
        assert texts.select((text.str.contains(CANDIDATE) | may_hold_cues(text)).any()).item()
    frame = pl.DataFrame(
        [("p", "c", turn, role, text, None) for turn, (role, text) in enumerate(pairs)],
        schema=dict(TURNS), orient="row",
    )  # fmt: skip
    found = cohort_spans(frame).select("turn", "start", "stop", "reason").rows()
    assert found == [tuple(span) for span in spans]


WHOLE = WindowConfig(days=0, min_turns=1, mask_questionnaire=True)
SLEEPLESS = "2, and I slept not at all last week"
TURNS_SAID = st.lists(
    st.tuples(
        st.sampled_from("ab"),  # who is spoken with
        st.sampled_from(["one", "two", "three"]),  # conversations, which may interleave
        st.sampled_from(["user", "user", "assistant", "clinician"]),
        st.sampled_from(
            [ITEM, FRAME, SLEEPLESS, "2", "several days", "Feeling tired or having little energy?",
             "Rate each from 0 to 3.", "Wie ist der Schlaf?", "And your appetite?", "1", "nie",
             "hello", "I had a long day and slept well", "my phq was 14"]
        ) | WORDS,
        st.none() | st.integers(0, 2),  # days since the turn before, None without a date
    ),
    max_size=24,
)  # fmt: skip


def transcripts(turns_said: list[tuple[str, str, str, str, int | None]]) -> Cohort:
    """A cohort of these turns; everyone who speaks has an undated PHQ-9."""
    turns, at = [], 0
    counts: dict[tuple[str, str], int] = {}
    for person, conversation, role, text, pause in turns_said:
        at += pause or 0
        number = counts.get((person, conversation), 0)
        counts[person, conversation] = number + 1
        time = None if pause is None else day(at)
        turns.append((person, conversation, number, role, text, time))
    turns.sort(key=lambda row: row[0])
    return cohort_of(turns, [label_row(name, None, 9) for name in sorted({r[0] for r in turns})])


def blanked_by_inspect(cohort: Cohort) -> dict[str, list[Message]]:
    """The messages of each person with the spans that `inspect` counts blanked."""
    spans = cohort_spans(cohort.turns)
    blanked = {}
    for person in timelines(cohort):
        keys = list(zip(person.conversation_ids, person.turns.tolist(), strict=True))
        rows = spans.filter(pl.col("person_id") == person.person_id).drop("person_id").rows()
        found = [TextSpan(keys.index((talk, turn)), *rest) for talk, turn, *rest in rows]
        blanked[person.person_id] = blank_spans(person.messages, found)
    return blanked


def blanked_by_message(messages: list[Message]) -> list[Message]:
    """The messages as a running scorer reads them when they come one by one."""
    blanked, asked = [], NOT_ASKED
    for message in messages:
        read, asked = mask_continuation([message], asked)
        blanked += read
    return blanked


def agreed(cohort: Cohort) -> dict[str, list[str]]:
    """What is read of each person, and the check that everyone reads the same."""
    inspected = blanked_by_inspect(cohort)
    for person in timelines(cohort):
        assert blanked_by_message(list(person.messages)) == inspected[person.person_id]
    readings = {r.person_id: r.messages for r in cohort_readings(cohort, WHOLE, "labelled")}
    if readings:
        students = labelled_people(cohort, TrainConfig(), WHOLE).people
        assert [student.person_id for student in students] == list(readings)
        for student in students:
            assert list(student.messages) == inspected[student.person_id]
            upto = int(student.user[-1]) + 1
            assert readings[student.person_id] == student.messages[:upto]
    return {name: [message.text for message in said] for name, said in inspected.items()}


def test_an_answer_that_opens_the_next_conversation_is_blanked_for_everyone() -> None:
    cohort = transcripts(
        [("a", "one", "user", "hello", 0), ("a", "one", "assistant", ITEM, 0),
         ("a", "two", "user", SLEEPLESS, 7), ("b", "one", "user", SLEEPLESS, 0)]
    )  # fmt: skip
    assert agreed(cohort) == {"a": ["hello", BLANK, BLANK], "b": [SLEEPLESS]}


@given(TURNS_SAID)
def test_student_teacher_inspect_and_running_scorer_blank_the_same(
    turns_said: list[tuple[str, str, str, str, int | None]],
) -> None:
    agreed(transcripts(turns_said))
