"""Exports of messengers: Discord (DiscordChatExporter), Telegram, Slack, Facebook Messenger.

Sources: the JSON that DiscordChatExporter writes; Telegram Desktop's `result.json`; a Slack
workspace export, a folder with a folder of days for each channel; `message_1.json` of Facebook and
Instagram downloads, whose text is UTF-8 that was read as Latin-1 and written again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from leadline.errors import LeadlineError
from leadline.layouts.posts import Post, Room, read_posts
from leadline.layouts.unsaid import EVENTS, unsaid
from leadline.sources.config import ImportConfig
from leadline.sources.files import check_file, json_values, parse_json, read_text
from leadline.sources.records import first_of, identifier
from leadline.sources.rejects import RejectedRows
from leadline.sources.source import Source

ENTITIES = "Slack messages whose &lt; &gt; &amp; became the characters that were typed"

FORWARDED = ("forwarded_from", "forwarded_from_id", "saved_from")

FORWARDS = "forwarded posts, which are somebody else's words, left out"

SLACK_DAY = re.compile(r"^\d{4}-\d{2}-\d{2}\.json$")

SLACK_FILES = ("users.json", "channels.json", "dms.json")

SAID_IN_DISCORD = ("default", "reply", "0", "19")

SAID_IN_SLACK = ("", "bot_message", "thread_broadcast", "me_message", "file_share")


APP_KEYS = frozenset((
    "guild", "channel", "messages", "author", "isBot", "is_bot", "id", "name", "nickname",
    "content", "timestamp", "type", "chats", "list", "from", "from_id", "date", "date_unixtime",
    "text", "sender_name", "timestamp_ms", "thread_path", "user", "bot_id", "username",
    "subtype", "ts", "forwarded_from", "forwarded_from_id", "saved_from", "channels",
    "attachments", "embeds",
))  # fmt: skip
"""Keys that are read by name, found in another case too."""


def read_discord(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open a channel that DiscordChatExporter wrote."""
    return read_posts(source, _discord(source, ledger), settings, ledger)


def _discord(source: Path, ledger: RejectedRows) -> Iterator[Room]:
    for where, record in json_values(source, ledger, APP_KEYS):
        channel = _mapping(record, "channel")
        room = Room(where, identifier(channel.get("id")) or source.stem)
        for number, message in enumerate(_entries(record, "messages", source, where)):
            author = _mapping(message, "author")
            name = str(author.get("nickname") or author.get("name") or "")
            why = unsaid(message, None)
            kind = str(message.get("type") or "default").lower()
            if kind not in SAID_IN_DISCORD:
                why = why or EVENTS
            _meet(ledger, source, message, ("content", "timestamp", "author"))
            room.posts.append(
                Post(f"{where}, messages[{number}]", identifier(author.get("id")) or name,
                     str(author.get("name") or name), message.get("content"),
                     message.get("timestamp"), author.get("isBot") is True, why,
                     identifier(message.get("id")) or "")
            )  # fmt: skip
        yield room


def read_telegram(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open `result.json` of Telegram Desktop: one chat, or all of an account."""
    return read_posts(source, _telegram(source, ledger), settings, ledger)


def _telegram(source: Path, ledger: RejectedRows) -> Iterator[Room]:
    for where, record in json_values(source, ledger, APP_KEYS):
        chats = _mapping(record, "chats").get("list")
        for place, chat in enumerate(chats if isinstance(chats, list) else [record]):
            here = f"{where}, chats.list[{place}]" if isinstance(chats, list) else where
            chat = _of(chat)
            room = Room(here, identifier(chat.get("id")) or source.stem)
            for number, message in enumerate(_entries(chat, "messages", source, here)):
                text = message.get("text")
                why = "" if message.get("type", "message") == "message" else EVENTS
                if not why and any(message.get(key) for key in FORWARDED):
                    why = FORWARDS
                if isinstance(text, list):
                    text = "".join(_telegram_piece(piece) for piece in text)
                time = message.get("date_unixtime") or message.get("date")
                name = str(message.get("from") or "")
                _meet(ledger, source, message, ("text", "date_unixtime", "from", "from_id"))
                room.posts.append(
                    Post(f"{here}, messages[{number}]", identifier(message.get("from_id")) or name,
                         name, text, time, name.lower().endswith("bot") or None,
                         why, identifier(message.get("id")) or "")
                )  # fmt: skip
            yield room


def _telegram_piece(piece: Any) -> str:
    return piece if isinstance(piece, str) else str(_of(piece).get("text") or "")


def read_messenger(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open `message_1.json` of a Facebook or Instagram download; the newest message is first."""
    return read_posts(source, _messenger(source, ledger), settings, ledger)


def _messenger(source: Path, ledger: RejectedRows) -> Iterator[Room]:
    for where, record in json_values(source, ledger, APP_KEYS):
        name = str(_of(record).get("thread_path") or source.stem)
        room = Room(where, name)
        messages = list(enumerate(_entries(record, "messages", source, where)))
        newest_first = _is_falling([_of(message).get("timestamp_ms") for _, message in messages])
        for number, message in reversed(messages) if newest_first else messages:
            author = unmangled(message.get("sender_name"))
            why = unsaid(message, None)
            _meet(ledger, source, message, ("content", "timestamp_ms", "sender_name"))
            room.posts.append(
                Post(f"{where}, messages[{number}]", author, author,
                     unmangled(message.get("content")) or None, message.get("timestamp_ms"),
                     unsaid=why)
            )  # fmt: skip
        yield room


def unmangled(text: Any) -> str:
    """The text of a Facebook download: UTF-8 that was read as Latin-1; "" for what is no text."""
    if not isinstance(text, str):
        return ""
    try:
        return text.encode("latin-1").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return text


def _is_falling(times: list[Any]) -> bool:
    numbers = [time for time in times if isinstance(time, int | float)]
    return len(numbers) > 1 and numbers[0] > numbers[-1]


def is_slack(folder: Path) -> bool:
    """Whether a folder is the export of a Slack workspace."""
    return any((folder / name).is_file() for name in SLACK_FILES) and bool(_slack_days(folder))


def _slack_days(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*.json") if SLACK_DAY.match(path.name))


def read_slack(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open a Slack export: each channel is a conversation, its days in order."""
    days = _slack_days(source) if source.is_dir() else []
    if not days:
        raise LeadlineError(
            "A Slack export is a folder with a folder of days for each channel.",
            remedy="Unpack the export and give the folder that holds users.json.",
            file=source,
        )
    users = _slack_users(source)
    return read_posts(source, _slack(days, users, ledger), settings, ledger, days)


def _slack_users(source: Path) -> dict[str, tuple[str, bool]]:
    """Number -> name and whether it is a bot."""
    path = source / "users.json"
    if not path.is_file():
        return {}
    users = {}
    for entry in parse_json(read_text(check_file(path)), path) or []:
        entry = _of(entry)
        number = identifier(entry.get("id"))
        if number is not None:
            users[number] = (str(entry.get("name") or number), entry.get("is_bot") is True)
    return users


def _slack(
    days: list[Path], users: Mapping[str, tuple[str, bool]], ledger: RejectedRows
) -> Iterator[Room]:
    rooms: dict[str, Room] = {}
    for path in days:
        room = rooms.setdefault(path.parent.name, Room(path.parent.name, path.parent.name))
        for where, message in json_values(path, ledger, APP_KEYS):
            message = _of(message)
            number = identifier(first_of(message, ("user", "bot_id"))) or ""
            name, bot = users.get(number, (str(message.get("username") or number), False))
            subtype = str(message.get("subtype") or "")
            why = "" if subtype in SAID_IN_SLACK else EVENTS
            is_bot = bot or "bot_id" in message or subtype == "bot_message"
            _meet(ledger, path, message, ("text", "ts", "user"))
            room.posts.append(
                Post(f"{path.name}, {where}", number or name, name, _unescaped(message, ledger),
                     message.get("ts"), is_bot or None, why, str(message.get("ts") or ""))
            )  # fmt: skip
    yield from rooms.values()


def _unescaped(message: Mapping[str, Any], ledger: RejectedRows) -> Any:
    """The text of a Slack message, of which Slack writes &, < and > as entities."""
    text = message.get("text")
    if not isinstance(text, str) or "&" not in text:
        return text
    plain_text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    ledger.note(ENTITIES, plain_text != text)
    return plain_text


def _meet(
    ledger: RejectedRows, file: Path, message: Mapping[str, Any], used: tuple[str, ...]
) -> None:
    ledger.uses.meet(file, message, "messages[].")
    for key, kind in zip(used, ("text", "time", "role", "person"), strict=False):
        ledger.uses.take(file, key, kind, "messages[].")


def _of(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mapping(value: Any, key: str) -> Mapping[str, Any]:
    return _of(_of(value).get(key))


def _entries(record: Any, key: str, source: Path, where: str) -> list[Mapping[str, Any]]:
    entries = _of(record).get(key)
    if not isinstance(entries, list):
        raise LeadlineError(
            f"There is no list of {key} here.",
            remedy="Check that the file has the layout that --format names.",
            file=source,
            row=where,
        )
    return [_of(entry) for entry in entries]
