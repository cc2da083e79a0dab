"""Layouts that are known and not read: by name, with lines that bring them into a long table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadline.errors import LeadlineError
from leadline.sources.files import is_json_lines
from leadline.sources.names import usual_place
from leadline.sources.quoting import sayable

ENDINGS = {
    ".zip": "a ZIP archive",
    ".gz": "a compressed file",
    ".7z": "a compressed archive",
    ".tar": "an archive",
    ".xls": "an Excel file of the old kind",
    ".ods": "an OpenDocument spreadsheet",
    ".sav": "an SPSS file",
    ".zsav": "an SPSS file",
    ".por": "an SPSS file",
    ".dta": "a Stata file",
    ".sas7bdat": "a SAS file",
    ".xpt": "a SAS transport file",
    ".rds": "an R file",
    ".rdata": "an R file",
    ".rda": "an R file",
    ".docx": "a Word document",
    ".doc": "a Word document",
    ".pdf": "a PDF document",
    ".html": "a web page",
    ".htm": "a web page",
    ".xml": "an XML file",
    ".eaf": "an ELAN file",
    ".textgrid": "a Praat TextGrid",
    ".cha": "a CHAT transcript (TalkBank)",
    ".trs": "a Transcriber file",
    ".vtt": "subtitles (WebVTT)",
    ".srt": "subtitles (SubRip)",
    ".db": "a database",
    ".sqlite": "a database",
    ".sqlite3": "a database",
    ".mbox": "a mailbox",
    ".eml": "an e-mail",
    ".feather": "a Feather file",
    ".arrow": "an Arrow file",
    ".orc": "an ORC file",
    ".pkl": "a Python pickle",
    ".pickle": "a Python pickle",
    ".npz": "a NumPy file",
    ".yaml": "a YAML file",
    ".yml": "a YAML file",
    ".wav": "a recording",
    ".mp3": "a recording",
    ".m4a": "a recording",
}

UNPACK = (".zip", ".gz", ".7z", ".tar")

READERS = {
    ".sav": "pandas.read_spss",
    ".zsav": "pandas.read_spss",
    ".dta": "pandas.read_stata",
    ".sas7bdat": "pandas.read_sas",
    ".xpt": "pandas.read_sas",
    ".xls": "pandas.read_excel",
    ".ods": "pandas.read_excel",
    ".feather": "pandas.read_feather",
    ".arrow": "pandas.read_feather",
    ".orc": "pandas.read_orc",
    ".pkl": "pandas.read_pickle",
    ".pickle": "pandas.read_pickle",
}

SPEECHES = ("dialog", "dialogue", "conversation", "messages", "turns", "utterances", "data",
            "history", "chat")  # fmt: skip
"""Keys under which a list of bare texts is a dialogue."""

SURE = (
    (("MessageList", "threadProperties"), "a Skype export", "conversations"),
    (("conversation", "from", "recipient", "type"), "a Bot Framework transcript", ""),
    (("inputTranscript", "messages"), "an Amazon Lex log", ""),
    (("conversation", "responses"), "a Grok export", "responses"),
    (("prompt", "message_tree_id"), "an OpenAssistant tree", ""),
    (("title", "safeHtmlItem"), "an activity of Google Takeout", ""),
    (("user_name", "character_name"), "a SillyTavern chat", ""),
    (("mes", "is_user"), "a SillyTavern chat", ""),
    (("direct_post",), "a Mattermost export", ""),
    (("dmConversation",), "direct messages of X (Twitter)", ""),
    (("subreddit", "author"), "posts of Reddit", ""),
)  # fmt: skip
"""Marks of layouts that hold lists which might be taken for a conversation."""

TEXTS = (("[LINE]", "a LINE chat"), ("카카오톡", "a KakaoTalk chat"),
         ("KakaoTalk", "a KakaoTalk chat"), ("WEBVTT", "subtitles (WebVTT)"))  # fmt: skip
"""What the first line of a text of a layout holds, and its name."""

RECORDS = (
    (("ticket_id", "comments"), "a Zendesk ticket", "comments"),
    (("messageType", "createdDateTime"), "a Microsoft Teams export", ""),
    (("queryResult",), "a Dialogflow log", ""),
    (("queryInput",), "a Dialogflow log", ""),
    (("conversationalTurn",), "a Dialogflow CX log", ""),
    (("account_sid", "body"), "a Twilio log", ""),
    (("recipientId", "activities"), "a Bot Framework transcript", "activities"),
    (("channelId", "conversation", "from"), "a Bot Framework activity", ""),
    (("logs",), "a log of Watson Assistant", "logs"),
    (("histories",), "a Character.AI export", ""),
    (("chat_metadata",), "a SillyTavern chat", ""),
    (("intent", "transcriptions"), "a Voiceflow transcript", ""),
    (("segments", "language"), "a Whisper transcript", "segments"),
    (("results", "jobName"), "an Amazon Transcribe transcript", ""),
    (("monologues",), "a Rev transcript", "monologues"),
    (("prompt", "chosen"), "a table of preferences between answers", ""),
    (("instruction", "output"), "a table of instructions", ""),
)
"""Keys that a record of a layout has, its name, and the key of its messages."""


def three_lines(read: str) -> str:
    """The lines that bring a layout into a long table, as far as they can be said beforehand."""
    return (
        "Bring it into a long table, one row a message: "
        f"import json, pandas; table = {read}; "
        'table = table.rename(columns={"WHO": "person_id", "SPEAKER": "role", "WORDS": "text", '
        '"WHEN": "time"}); table[["person_id", "role", "text", "time"]].to_csv("turns.csv", '
        "index=False). Then: leadline import turns.csv --out COHORT."
    )


def stranger_file(source: Path) -> LeadlineError | None:
    """The error for a kind of file that is known and not read; None for any other."""
    suffix = source.suffix.lower()
    name = ENDINGS.get(suffix)
    if name is None:
        return None
    if suffix in UNPACK:
        remedy = "Unpack it and give the file or folder inside."
    else:
        remedy = three_lines(f'{READERS.get(suffix, "pandas.DataFrame")}("{source.name}")')
        if suffix not in READERS:
            rows = "[(person, speaker, words, time) for each message]"
            remedy = three_lines(f"pandas.DataFrame({rows})")
    return LeadlineError(f"This is {name}, which Leadline does not read.", remedy=remedy,
                         file=source)  # fmt: skip


def stranger_text(source: Path) -> LeadlineError | None:
    """The error for a text of a messenger that is known and not read; None for any other."""
    try:
        with source.open(encoding="utf-8-sig") as stream:
            first = stream.readline(1_000)
    except (OSError, UnicodeDecodeError):
        return None
    name = next((name for mark, name in TEXTS if mark in first), None)
    return (
        None
        if name is None
        else LeadlineError(
            f"This is {name}, which Leadline does not read.",
            remedy=three_lines(
                "pandas.DataFrame([(person, speaker, words, time) for each message])"
            ),
            file=source,
        )
    )


def read_of(source: Path, inner: str = "") -> str:
    """How pandas reads a file of JSON, or JSON lines."""
    if is_json_lines(source):
        return f'pandas.read_json("{source.name}", lines=True)'
    path = f', record_path="{inner}"' if inner else ""
    return f'pandas.json_normalize(json.load(open("{source.name}")){path})'


def stranger_record(
    record: Mapping[str, Any], source: Path, sure: bool = False
) -> LeadlineError | None:
    """The error for a kind of JSON that is known and not read; None for any other.

    Args:
        record: one of the file.
        source: the file.
        sure: only layouts whose marks leave no doubt.
    """
    for key, value in () if sure else record.items():
        if isinstance(value, list) and len(value) > 1 and all(isinstance(v, str) for v in value):
            if usual_place(key, SPEECHES) is None:
                continue
            name = sayable(key, "KEY")
            return LeadlineError(
                f"The utterances under {name} have no speakers, so that Leadline cannot read them.",
                remedy=three_lines(f'pandas.read_json("{source.name}").explode("{name}")')
                + " Say who speaks in each row, for example by turns.",
                file=source,
            )
    for keys, name, inner in SURE if sure else RECORDS:
        if all(key in record for key in keys):
            return LeadlineError(
                f"This is {name}, which Leadline does not read.",
                remedy=three_lines(read_of(source, inner)),
                file=source,
            )
    return None
