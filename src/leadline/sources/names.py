"""What a column or key is by its name, however it is written: createdAt, date_created, phq9_date.

A name is cut into words (camelCase, snake_case, spaces, dots), and words of several languages are
known. A name only says what something looks like: whether it is used is decided by who reads it,
and what looks like something and is not used is said.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^\w]+|_+")

SCALE = re.compile(r"^(?:phq)[ _.-]?([289])(?=$|[^0-9])", re.IGNORECASE)

TIME = frozenset((
    "date", "datetime", "time", "timestamp", "ts", "created", "sent", "posted", "authored",
    "completed", "submitted", "issued", "effective", "administered", "assessed", "answered",
    "when", "day", "qsdtc", "dtc",
    "datum", "zeit", "uhrzeit", "zeitpunkt", "zeitstempel", "erstellt", "gesendet",
    "fecha", "hora", "creado", "enviado", "heure", "horodatage", "ora", "dato", "tid",
    "tarih", "zaman", "дата", "время", "日期", "时间", "時間", "日時", "日付", "날짜", "시간",
    "तारीख", "समय", "تاريخ", "วันที่", "ngay",
))  # fmt: skip

OTHER_TIME = frozenset((
    "birth", "birthday", "birthdate", "dob", "born", "geburt", "geburtsdatum", "nacimiento",
    "naissance", "nascita", "nascimento", "updated", "modified", "edited", "changed", "deleted",
    "read", "seen", "delivered", "expires", "expired", "expiry", "exported", "exportedat", "next",
    "due", "duration", "elapsed", "latency", "zone", "timezone", "offset", "spent", "taken",
    "enrolled", "enrollment", "signup", "registered", "consent", "diagnosis", "death", "start",
    "stop", "end", "begin", "ended", "closed", "started", "stopped", "last", "first",
))  # fmt: skip

PERSON = frozenset((
    "person", "user", "participant", "patient", "client", "subject", "respondent", "member",
    "account", "contact", "customer", "proband", "teilnehmer", "patientin", "nutzer", "benutzer",
    "klient", "usuario", "paciente", "participante", "utilisateur", "sujet", "utente", "paziente",
    "kullanici", "hasta", "пользователь", "пациент", "участник", "用户", "患者", "参与者",
    "사용자", "환자", "利用者", "مريض", "pid", "uid", "userid", "mrn",
    "username", "hashed", "respid", "texter", "caller", "visitor", "helpseeker", "pat", "subj",
    "usubjid", "subjid", "ppt",
))  # fmt: skip

CONVERSATION = frozenset((
    "conversation", "conv", "convo", "session", "chat", "thread", "dialogue", "dialog", "dialogid",
    "transcript",
    "ticket", "encounter", "interview", "gespraech", "gesprach", "sitzung", "conversacion",
    "sesion", "对话", "会话",
))  # fmt: skip

ROLE = frozenset((
    "role", "direction", "speaker", "actor", "sender", "interlocutor", "party", "rolle", "sprecher",
    "sprecherin",
    "rol", "hablante", "papel", "ruolo", "роль", "角色", "说话人", "話者", "역할",
))  # fmt: skip

TEXT = frozenset((
    "text", "message", "content", "body", "utterance", "msg", "nachricht", "mensaje", "texto",
    "mensagem", "messaggio", "texte", "testo", "текст", "сообщение", "消息", "内容", "文本",
    "発話", "메시지",
))  # fmt: skip

SCORE = frozenset((
    "total", "score", "sum", "totalscore", "sumscore", "gesamt", "gesamtwert", "summe", "punktzahl",
    "puntaje", "puntuacion", "suma", "pontuacao", "soma", "punteggio", "somme", "toplam", "balle",
    "сумма", "балл", "总分", "總分", "合計", "得分", "총점", "점수",
))  # fmt: skip

IDENTITY = frozenset((
    "id", "ids", "code", "number", "no", "nr", "key", "uuid", "hash", "ip", "name", "email",
    "phone", "kennung", "nummer", "codigo", "clave", "numero", "identifiant", "номер", "编号",
    "編號", "번호",
))  # fmt: skip

KINDS = (("time", TIME), ("person", PERSON), ("conversation", CONVERSATION), ("role", ROLE),
         ("text", TEXT), ("score", SCORE))  # fmt: skip

LONGEST_NAME = 1_000  # letters of a name that are read; what is longer is words

MOST_NAMES = 32_768  # whose words are remembered: more than a table has columns

SAYINGS = {
    "time": "a date",
    "other time": "a date of something else",
    "person": "an identity",
    "role": "a role",
    "score": "a score",
    "item": "an answer",
    "text": "words",
    "conversation": "a conversation",
}


@lru_cache(maxsize=MOST_NAMES)
def words(name: str) -> tuple[str, ...]:
    """The words of a name, in lower case and without accents; ``PHQ-9`` is one word, ``phq9``.

    >>> words("createdAt"), words("PHQ-9 Total"), words("Participant_ID")
    (('created', 'at'), ('phq9', 'total'), ('participant', 'id'))
    """
    text = unicodedata.normalize("NFKC", name[:LONGEST_NAME]).strip()
    # PHQ.9 and PHQ_9 are items; PHQ-9, and PHQ_9 before further words, is the questionnaire.
    text = re.sub(r"(?i)phq[ -]?([289])(?![0-9])", r"phq\1_", text)
    text = re.sub(r"(?i)phq[_.]([289])(?![0-9])(?=.*[a-z])", r"phq\1_", text)
    pieces = [piece for piece in BREAK.split(text) if piece]
    return tuple(_bare(piece) for piece in pieces)


def _bare(word: str) -> str:
    decomposed = unicodedata.normalize("NFD", word.lower())
    latin = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return latin if latin.isascii() else unicodedata.normalize("NFC", word.lower())


@lru_cache(maxsize=MOST_NAMES)
def normal(name: str) -> str:
    """A name as its words in snake_case, so that createdAt and created_at are one."""
    return "_".join(words(name))


OTHER_PHQS = re.compile(r"^phq(?:1[0-9]|[34]|ads|sads|ss|ssc|d|adsphq)$")
"""Questionnaires of the same family that ask something else: PHQ-15, PHQ-4, PHQ-ADS ..."""


def instrument_of(name: str) -> str | None:
    """``phq9``, ``phq8`` or ``phq2`` where a name says so; ``phq`` where it says no more."""
    parts = words(name)
    for place, word in enumerate(parts):
        following = parts[place + 1] if place + 1 < len(parts) else ""
        full = word + following if word == "phq" and following in ("4", "15", "ads") else word
        if word.startswith("phq") and not OTHER_PHQS.match(full):
            return word[:4] if word[:4] in ("phq9", "phq8", "phq2") else "phq"
    return None


@lru_cache(maxsize=MOST_NAMES)
def looks_like(name: str) -> str | None:
    """The kind of thing that a name looks like: a key of `SAYINGS`, or None."""
    parts = set(words(name))
    if parts & OTHER_TIME and parts & (TIME | {"at", "dob", "birthdate", "geburtsdatum"}):
        return "other time"
    if parts & {"dob", "birthdate", "birthday", "geburtsdatum"}:
        return "other time"
    if _item_number(name) is not None:
        return "item"
    if parts & PERSON and (parts & IDENTITY or len(parts) == 1):
        return "person"
    for kind, known_words in KINDS:
        if kind == "person" or not parts & known_words:
            continue
        if kind == "text" and parts & IDENTITY:
            continue
        if kind == "time" and parts & {"by", "is", "has"}:
            continue
        if kind == "conversation" and not (parts & IDENTITY or len(parts) == 1):
            continue
        return kind
    if words(name)[-1:] == ("at",) and len(parts) == 2:  # recordedAt, received_at
        return "time"
    return "score" if instrument_of(name) and len(parts) == 1 else None


ITEM = re.compile(
    r"^(?:phq[89]?_)?(?:(?:item|question|frage|pregunta|q)_?0?|0?)([1-9]|10)$"
    r"|^phq[89]?_?(?:item|question|q)_?0?([1-9]|10)$"
    r"|^phq([1-79])$"
)


@lru_cache(maxsize=MOST_NAMES)
def _item_number(name: str) -> int | None:
    text = normal(name)
    match = ITEM.match(text)
    if match is None or text.isdigit() or text in ("phq2", "phq8", "phq9"):
        return None
    return int(match[1] or match[2] or match[3])


def item_number(name: str) -> int | None:
    """Which item of the questionnaire a name says, 1 to 10; the tenth is no part of the total."""
    return _item_number(name)


def say(name: str) -> str:
    """What a name that is not used looks like, for the table that ends an import; may be empty."""
    kind = looks_like(name)
    return f"looks like {SAYINGS[kind]}" if kind else ""


def candidates(header: Iterable[str], kind: str) -> list[str]:
    """Names that look like a kind, in their order."""
    return [name for name in header if looks_like(name) == kind]


@lru_cache(maxsize=65_536)
def usual_place(name: str, usual: tuple[str, ...]) -> int | None:
    """Where a name stands in a list of usual names, whatever its case and separators."""
    text = normal(name)
    compact = text.replace("_", "")
    for place, candidate in enumerate(usual):
        if text == candidate or compact == candidate.replace("_", ""):
            return place
    return None
