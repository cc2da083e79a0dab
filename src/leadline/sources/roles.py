"""Who is the person: speaker names of the source to the four roles of a cohort.

A name that nearly always means one role is known. Any other name, or two names that could
both be the person, stops the import: in some corpora "user" is the interviewer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from leadline.errors import LeadlineError
from leadline.sources.config import ROLES, ImportConfig

KNOWN = {
    **dict.fromkeys(("user", "patient", "client", "participant", "seeker", "help-seeker", "human",
                     "prompter", "inbound", "incoming", "texter", "patientin", "klient", "klientin",
                     "nutzer", "nutzerin", "utilisateur", "utente", "paziente",
                     "paciente", "usuario", "usuária", "患者", "来访者", "用户", "クライエント",
                     "ユーザー", "환자", "사용자"), "user"),
    **dict.fromkeys(("assistant", "bot", "chatbot", "ai", "model", "gpt", "chatgpt", "claude",
                     "gemini", "bard", "llm", "asistente", "assistent", "助手", "アシスタント"),
                    "assistant"),
    **dict.fromkeys(
        ("clinician", "therapist", "counselor", "counsellor", "interviewer", "psychologist",
         "psychiatrist", "psychotherapist", "therapeut", "therapeutin", "terapeuta", "咨询师",
         "心理咨询师", "医生", "カウンセラー", "상담사"), "clinician"
    ),
    **dict.fromkeys(("system", "developer", "tool", "function"), "system"),
}  # fmt: skip

LETTERS = {"t": "clinician", "p": "user", "c": "user"}
"""Therapist, patient, client, where one letter stands for each and both sides have one."""

SAYABLE = frozenset(KNOWN) | frozenset(
    (
        "sys",
        "usr",
        "agent",
        "admin",
        "supporter",
        "listener",
        "ellie",
        "customer",
        "helper",
        "other side",
        "outbound",
        "outgoing",
        "operator",
        "visitor",
        "coach",
        "seller",
        "expert",
        "true",
        "false",
    )
)  # speaker words that an error may quote: they cannot be a person's name

SYSTEM_SHARE = 0.2  # a prompt is rare; a "system" that speaks this often is a bot


@dataclass
class Roles:
    """Maps speakers to roles and remembers what it met.

    Attributes:
        explicit_roles: what --role and --person-role say; goes before everything else.
        usual_roles: word -> role in this format, words in lower case.
        person_role: as set; then no other word is the person unless --role says so.
        counts: role -> turns.
    """

    explicit_roles: Mapping[str, str]
    usual_roles: Mapping[str, str]
    person_role: str
    counts: dict[str, int] = field(default_factory=dict)
    guessed: set[str] = field(default_factory=set)

    def of(self, speaker: str, file: Path, row: int | str | None) -> str:
        """The role of one speaker.

        Raises:
            LeadlineError: unknown speaker, or a second word for the person.
        """
        if speaker in self.explicit_roles:
            return self.explicit_roles[speaker]
        word = speaker.strip().lower()
        role = self.usual_roles.get(word)
        if role is None or (role == "user" and self.person_role):
            raise self._unknown(word, file, row)
        if role == "user":
            self.guessed.add(word)
            if len(self.guessed) > 1:
                raise LeadlineError(
                    "More than one speaker could be the person: "
                    f"{', '.join(sorted(self.guessed))}.",
                    remedy="Say which with --person-role, and what the other is with "
                    "--role OTHER=assistant (or clinician).",
                    file=file,
                    row=row,
                )
        return role

    def person_words(self, speakers: Iterable[str]) -> list[str]:
        """Of some speakers those that are the person, as far as it is known without asking."""
        words = {}
        for speaker in speakers:
            word = self.usual_roles.get(speaker.strip().lower())
            words[speaker] = self.explicit_roles.get(speaker, word)
        return [speaker for speaker, role in words.items() if role == "user"]

    def _unknown(self, word: str, file: Path, row: int | str | None) -> LeadlineError:
        name = word if word in SAYABLE else "SPEAKER"
        quote = f" {word!r}" if word in SAYABLE else ""
        return LeadlineError(
            f"It is not clear what the speaker{quote} of this row is.",
            remedy=f"If that is the person, add --person-role {name}; otherwise add "
            f"--role {name}=assistant (or clinician, or system).",
            file=file,
            row=row,
        )

    def column(self, speakers: pl.Series, rows: pl.Series, file: Path) -> pl.Series:
        """Roles of a column of speakers without nulls, as indices into `schema.ROLES`."""
        codes = {}
        self._read_letters(speakers)
        frame = pl.DataFrame({"speaker": speakers, "row": rows})
        unique = frame.unique("speaker", keep="first", maintain_order=True)
        for speaker, row in unique.iter_rows():
            codes[speaker] = ROLES.index(self.of(speaker, file, row))
        result = speakers.replace_strict(codes, return_dtype=pl.UInt8)
        for code, count in result.value_counts().iter_rows():
            self.counts[ROLES[code]] = self.counts.get(ROLES[code], 0) + count
        return result

    def _read_letters(self, speakers: pl.Series) -> None:
        """T and P (or C), where nobody has another name, are therapist and patient (or client)."""
        met = {speaker.strip().lower() for speaker in speakers.unique()}
        if met in ({"t", "p"}, {"t", "c"}) and not self.person_role:
            self.usual_roles = {**LETTERS, **self.usual_roles}

    def check_complete(self, source: Path) -> None:
        """Refuse a source in which nobody is the person, or in which a bot is a system."""
        if not self.counts.get("user"):
            raise LeadlineError(
                "No turn is spoken by the person.",
                remedy="Say which speaker is the person with --person-role.",
                file=source,
            )
        others = self.counts.get("assistant", 0) + self.counts.get("clinician", 0)
        system = self.counts.get("system", 0)
        if not others and system > SYSTEM_SHARE * sum(self.counts.values()):
            if "system" in self.explicit_roles.values():
                return
            raise LeadlineError(
                "The speaker 'system' talks as much as a chatbot does.",
                remedy="Say what it is: --role system=assistant, or --role system=system.",
                file=source,
            )


def roles_of(settings: ImportConfig, extra: Mapping[str, str] | None = None) -> Roles:
    """The role map of a format: `extra` are its own words, which go before the common ones."""
    return Roles(settings.roles(), {**KNOWN, **(extra or {})}, settings.person_role)
