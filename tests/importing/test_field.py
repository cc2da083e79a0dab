"""Layouts that people really have, one folder each in `field/`: read as meant, or refused by name.

The layouts are of public tools, data sets and specifications; the words are invented.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.support import ROOT

from leadline.cohort.store import Cohort, read_cohort
from leadline.errors import LeadlineError
from leadline.importing.importing import import_files
from leadline.sources.config import ImportConfig

FIELD = ROOT / "tests" / "importing" / "field"
CHATS = "chats.jsonl"


@pytest.fixture
def cohort_of(tmp_path: Path) -> Any:
    """Imports a source of a folder with labels of it; counts the cohorts that it writes."""
    count = iter(range(100))

    def read(folder: str, source: str, phq9: str = "", **settings: Any) -> Cohort:
        here = FIELD / folder
        path = FIELD / CHATS if source == CHATS and not (here / CHATS).is_file() else here / source
        config = ImportConfig(
            phq9=here / phq9 if phq9 else None,
            mapping=here / settings.pop("mapping") if "mapping" in settings else None,
            **settings,
        )
        out = tmp_path / f"cohort{next(count)}"
        try:
            manifest = import_files(path, config, out)
        except LeadlineError as error:
            if error.file is None or not error.remedy or out.exists():
                raise AssertionError from error
            raise
        messages = manifest["import"]["messages"]
        left_out = sum(messages["left_out_by_rule"].values()) + messages["bad"]
        assert messages["read"] + messages["added"] == messages["turns"] + left_out
        return read_cohort(out)

    return read


def labels(cohort: Cohort, *columns: str) -> list[tuple[Any, ...]]:
    return list(cohort.phq9.select("person_id", "total", *columns).iter_rows())


def said(cohort: Cohort) -> list[tuple[str, str]]:
    return list(cohort.turns.select("role", "text").iter_rows())


def days(frame: pl.DataFrame) -> list[str]:
    return [f"{time:%m-%d}" for time in frame["time"]]


THREE = [
    ("user", "I could not get up today."),
    ("assistant", "What made it hard?"),
    ("user", "I slept three hours."),
]


def test_01_cqf_linkids(cohort_of: Any) -> None:
    cohort = cohort_of("01-cqf-linkids", CHATS, "phq9.json")
    assert labels(cohort, "instrument") == [
        ("p1", 18, "phq9"), ("p2", 0, "phq9"), ("p3", 9, "phq9")
    ]  # fmt: skip


def test_02_numbered_linkids_whose_tenth_is_no_item(cohort_of: Any) -> None:
    assert labels(cohort_of("02-mii-phq-dot", CHATS, "phq9.json")) == [("p1", 27), ("p2", 0)]


def test_03_local_codes_with_ordinal_values(cohort_of: Any) -> None:
    assert labels(cohort_of("03-sdc-local-codes", CHATS, "phq9.json")) == [("p1", 12)]


def test_04_instants_and_dates_of_issue(cohort_of: Any) -> None:
    cohort = cohort_of("04-fhir-instant", CHATS, "phq9.ndjson")
    assert labels(cohort) == [("p1", 14), ("p2", 3)]
    assert days(cohort.phq9) == ["05-03", "04-20"]
    two = cohort_of("04-fhir-instant", CHATS, "phq9two.ndjson")
    assert labels(two) == [("p1", 14), ("p1", 9)]
    assert days(two.phq9) == ["05-03", "05-20"]


def test_05_references_by_uuid(cohort_of: Any) -> None:
    bundle = cohort_of("05-synthea", CHATS, "fhir.json")
    lines = cohort_of("05-synthea", CHATS, "Observation.ndjson")
    assert [total for _, total in labels(bundle)] == [15, 1]
    assert bundle.phq9.equals(lines.phq9)


def test_06_redcap_events_without_answers(cohort_of: Any) -> None:
    cohort = cohort_of("06-redcap-raw", CHATS, "redcap.csv", timezone="America/New_York")
    assert labels(cohort) == [("p1", 12), ("p2", 1)]
    changes = cohort.manifest["import"]["transformations"]
    assert changes["rows without an answer to the PHQ-9, passed over"] == 4


@pytest.mark.parametrize(("file", "when"), [("phq9.csv", ["04-20", "05-03"]),
                                            ("phq9b.csv", ["04-20", "05-20"])])  # fmt: skip
def test_07_dates_under_other_names(cohort_of: Any, file: str, when: list[str]) -> None:
    with pytest.raises(LeadlineError, match="no zone"):
        cohort_of("07-date-column", CHATS, file)
    cohort = cohort_of("07-date-column", CHATS, file, timezone="UTC")
    assert days(cohort.phq9) == when


def test_09_qualtrics(cohort_of: Any) -> None:
    cohort = cohort_of("09-qualtrics", "survey.csv", mapping="map.toml")
    assert labels(cohort) == [("p1", 12), ("p2", 1)]
    assert cohort.turns.height == 8
    assert (
        cohort.manifest["import"]["transformations"]["header rows of Qualtrics, passed over"] == 2
    )
    other = cohort_of("09-qualtrics", "survey.csv", "phq9.csv", mapping="map_nophq.toml")
    assert labels(other) == [("p1", 12), ("p2", 1)]


def test_10_answers_in_words(cohort_of: Any) -> None:
    cohort = cohort_of("10-google-forms", CHATS, "forms.csv")
    assert labels(cohort) == [("p1", 8), ("p2", 1)]
    assert f"{cohort.phq9['time'][0]:%H}" == "08"  # GMT+2
    assert labels(cohort_of("10-google-forms", CHATS, "labelled.csv")) == [("p1", 8)]


@pytest.mark.parametrize("layout", ["auto", "chat"])
def test_11_chatgpt_branches(cohort_of: Any, layout: str) -> None:
    cohort = cohort_of("11-chatgpt-export", "conversations.json", format=layout,
                       one_person_per_conversation=True)  # fmt: skip
    assert said(cohort) == [THREE[0], ("assistant", "What made getting up hard?"), THREE[2]]
    assert cohort.manifest["import"]["messages"]["left_out_by_rule"] == {
        "messages of branches that were edited away or regenerated, left out": 1,
        "messages that are hidden from the conversation, left out": 1,
    }


@pytest.mark.parametrize("file", ["conversations.json", "renamed.json"])
def test_12_claude(cohort_of: Any, file: str) -> None:
    cohort = cohort_of("12-claude-export", file, person_key="account.uuid")
    assert said(cohort) == THREE
    if file == "conversations.json":
        assert cohort_of("12-claude-export", file).people["person_id"].to_list() == ["acc-1"]


@pytest.mark.parametrize("file", ["chats.json", "convtime.json"])
def test_13_camel_case_and_times_of_conversations(cohort_of: Any, file: str) -> None:
    cohort = cohort_of("13-camelcase", file, "phq9.csv")
    assert days(cohort.turns) == ["03-01", "03-01", "05-01", "05-01"]
    assert cohort.people.height == 1


def test_14_discord(cohort_of: Any) -> None:
    cohort = cohort_of("14-discord", "dm.json")
    assert said(cohort) == THREE[:2]
    assert cohort.people["person_id"].to_list() == ["77"]
    by_name = cohort_of("14-discord", "dm.json", one_person_per_conversation=True,
                        person_role="anna", role=("CalmBot=assistant",))  # fmt: skip
    assert said(by_name) == THREE[:2]


@pytest.mark.parametrize("file", ["dict.json", "flat.json"])
def test_17_langchain(cohort_of: Any, file: str) -> None:
    assert said(cohort_of("17-langchain", file)) == THREE[:2]


def test_18_responses(cohort_of: Any) -> None:
    cohort = cohort_of("18-responses-api", "conv.jsonl")
    assert said(cohort) == THREE[:2]
    assert sum(cohort.manifest["import"]["messages"]["left_out_by_rule"].values()) == 3
    flat = cohort_of("18-responses-api", "items.json", one_person_per_conversation=True)
    assert said(flat) == THREE[:2]


def test_20_edaic(cohort_of: Any) -> None:
    cohort = cohort_of("20-edaic", "data")
    assert set(cohort.turns["role"]) == {"user"}
    assert cohort.turns.height == 3
    assert labels(cohort, "instrument") == [("600", 5, "phq8"), ("601", 12, "phq8")]


@pytest.mark.parametrize("file", ["AnnoMI-full.csv", "notime.csv"])
@pytest.mark.parametrize("columns", [(), ("turn=utterance_id",)])
def test_22_annomi(cohort_of: Any, file: str, columns: tuple[str, ...]) -> None:
    with pytest.raises(LeadlineError, match="no column for the person") as caught:
        cohort_of("22-annomi", file)
    assert "--one-person-per-conversation" in caught.value.remedy
    cohort = cohort_of("22-annomi", file, one_person_per_conversation=True, column=columns)
    assert said(cohort) == [("clinician", "Thanks for coming in."),
                            ("user", "I drink when I cannot sleep."),
                            ("clinician", "So nights are hard.")]  # fmt: skip
    assert cohort.turns["time"].null_count() == 3


@pytest.mark.parametrize("file", ["train.parquet", "train.jsonl"])
def test_24_nested_lists_in_parquet(cohort_of: Any, file: str) -> None:
    cohort = cohort_of("24-wildchat-parquet", file)
    assert said(cohort) == THREE[:2]
    assert cohort.people["person_id"].to_list() == ["abc"]
    assert days(cohort.turns) == ["05-01", "05-01"]


def test_24_parquet_without_people(cohort_of: Any) -> None:
    with pytest.raises(LeadlineError, match="person"):
        cohort_of("24-wildchat-parquet", "hf_messages.parquet")
    cohort = cohort_of("24-wildchat-parquet", "hf_messages.parquet",
                       one_person_per_conversation=True)  # fmt: skip
    assert said(cohort) == THREE[:2]


def test_27_identifiers_of_authors(cohort_of: Any) -> None:
    cohort = cohort_of("27-author-ids", "messages.csv", "phq9.csv")
    assert cohort.people["person_id"].to_list() == ["p1", "p2"]
    assert labels(cohort) == [("p1", 14), ("p2", 2)]
    assert list(cohort.turns.select("person_id", "conversation_id", "role").iter_rows()) == [
        ("p1", "k1", "user"), ("p1", "k1", "clinician"), ("p1", "k1", "user"),
        ("p2", "k2", "user"), ("p2", "k2", "clinician"),
    ]  # fmt: skip
    tree = cohort_of("27-author-ids", "oasst.jsonl")
    assert said(tree) == [THREE[0], ("assistant", "Try tea.")]


INSTRUMENTS = [("a.csv", "phq8"), ("b.csv", "phq8"), ("edaic.csv", "phq8"), ("c.csv", "phq9")]


@pytest.mark.parametrize(("file", "instrument"), INSTRUMENTS)
def test_28_instruments_by_their_columns(cohort_of: Any, file: str, instrument: str) -> None:
    cohort = cohort_of("28-phq8-column", CHATS, file)
    assert labels(cohort, "instrument") == [("p1", 14, instrument), ("p2", 2, instrument)]


def test_35_items_below_answers_and_twice(cohort_of: Any) -> None:
    assert labels(cohort_of("35-phq2-then-9", CHATS, "nested.json"), "instrument") == [
        ("p1", 18, "phq9")
    ]  # fmt: skip
    assert labels(cohort_of("35-phq2-then-9", CHATS, "beda.json"), "instrument") == [
        ("p1", 11, "phq9")
    ]  # fmt: skip
    with pytest.raises(LeadlineError, match="two different answers"):
        cohort_of("35-phq2-then-9", CHATS, "twice.json")


def test_36_the_phq_for_teens_is_an_instrument_of_its_own(cohort_of: Any) -> None:
    with pytest.raises(LeadlineError, match="modified for teens"):
        cohort_of("36-phq9a-codes", CHATS, "phq9a.ndjson")


def test_42_nulls_beside_words_and_calls_of_tools(cohort_of: Any) -> None:
    cohort = cohort_of("42-null-first-key", "chat.json")
    assert [text for _, text in said(cohort)] == [THREE[0][1], "ok", THREE[2][1]]
    tools = cohort_of("42-null-first-key", "toolnull.json")
    assert said(tools) == [("user", "Hi."), ("assistant", "Done.")]
    assert sum(tools.manifest["import"]["messages"]["left_out_by_rule"].values()) == 3


@pytest.mark.parametrize(("file", "total"), [("obs.json", 14), ("nested_bundle.json", 14),
                                             ("snomed.json", 15)])  # fmt: skip
def test_65_panels_with_a_value(cohort_of: Any, file: str, total: int) -> None:
    assert labels(cohort_of("65-panel-value", CHATS, file)) == [("p1", total)]


def test_68_sums_without_blank_items(cohort_of: Any) -> None:
    with pytest.raises(LeadlineError, match="Item 3") as caught:
        cohort_of("68-missing-codes", CHATS, "phq9.csv")
    assert "--missing" in caught.value.remedy
    coded = cohort_of("68-missing-codes", CHATS, "phq9.csv", missing=("999", "-9"))
    assert labels(coded, "prorated") == [("p1", 8, True), ("p2", 8, True)]
    with pytest.raises(LeadlineError, match="Too many items"):
        cohort_of("68-missing-codes", CHATS, "partial.csv")
    partial = cohort_of("68-missing-codes", CHATS, "partial.csv", skip_bad=True)
    assert labels(partial, "prorated") == [("p1", 26, True)]
    with pytest.raises(LeadlineError, match="No row of the table holds a PHQ-9"):
        cohort_of("68-missing-codes", CHATS, "unanswered.csv")


def test_69_trees_by_children_and_ancestors(cohort_of: Any) -> None:
    cohort = cohort_of("69-hf-chat-ui", "conversations.json")
    assert said(cohort) == THREE
    omitted = cohort.manifest["import"]["messages"]["left_out_by_rule"]
    assert sum(omitted.values()) == 2


def test_75_two_gating_items_are_no_phq9(cohort_of: Any) -> None:
    with pytest.raises(LeadlineError, match="Too many items"):
        cohort_of("75-mds-phq2to9", CHATS, "oasis.csv", timezone="UTC")
    cohort = cohort_of("75-mds-phq2to9", CHATS, "one_missing.csv", timezone="UTC")
    assert labels(cohort, "prorated") == [("p1", 26, True), ("p2", 26, True)]
    with pytest.raises(LeadlineError, match="range of the phq9"):
        cohort_of("75-mds-phq2to9", CHATS, "unable.csv", timezone="UTC")


def test_76_surveymonkey(cohort_of: Any) -> None:
    cohort = cohort_of("76-surveymonkey", "survey.csv", "phq9.csv", mapping="map.toml")
    assert cohort.people["person_id"].to_list() == ["p1", "p2"]
    assert labels(cohort) == [("p1", 12), ("p2", 1)]


def test_every_folder_has_its_test() -> None:
    tests = {name[5:7] for name in globals() if name.startswith("test_") and name[5:7].isdigit()}
    folders = {path.name[:2] for path in FIELD.iterdir() if path.is_dir()}
    assert folders == tests
    assert len(folders) == 28
