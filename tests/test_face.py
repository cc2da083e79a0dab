"""What `import leadline` offers: the names, that they cost nothing, and that each example runs."""

from __future__ import annotations

import doctest
import inspect
import shutil
import subprocess
import sys

import pytest

import leadline
from leadline import read_cohort, train_run
from leadline.artefact import sha256, write_manifest
from leadline.runs.config import TrainConfig

MESSAGES = """person,conversation,role,text,time
a,1,assistant,How was your week?,2025-03-01T09:00:00Z
a,1,user,Slow. I slept badly.,2025-03-01T09:01:00Z
b,1,assistant,How was your week?,2025-03-02T09:00:00Z
b,1,user,Fine on the whole.,2025-03-02T09:01:00Z
"""
PHQ9 = "person_id,time,total\na,2025-03-01T10:00:00Z,14\nb,2025-03-02T10:00:00Z,3\n"


@pytest.fixture(scope="module")
def desk(simulated_path, sentence_reader, tmp_path_factory):
    """A folder as the examples take it: a cohort, a run, two files, and a reader by its name."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(simulated_path, folder / "cohort")
    (folder / "messages.csv").write_text(MESSAGES)
    (folder / "phq9.csv").write_text(PHQ9)
    reader = shutil.copytree(sentence_reader, folder / "home" / "readers" / "minilm")
    files = {file.name: sha256(file) for file in reader.iterdir()}
    write_manifest(
        reader, kind="reader", command="t", settings={}, inputs={}, files=files, revision="0" * 64
    )
    config = TrainConfig(reader="minilm", fit="ridge", folds=3)
    train_run(read_cohort(folder / "cohort"), folder / "run", config, home=folder / "home")
    leadline.evaluate_run(folder / "run")
    return folder


@pytest.mark.parametrize("name", leadline.__all__)
def test_the_example_of_each_name_runs_and_says_what_it_says(name, desk, tmp_path, monkeypatch):
    place = shutil.copytree(desk, tmp_path / "desk")
    monkeypatch.chdir(place)
    monkeypatch.setenv("LEADLINE_HOME", str(place / "home"))
    if name == "train_run":
        shutil.rmtree(place / "run")
    member = getattr(leadline, name)
    text = inspect.getdoc(member)
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert example.examples, f"{name} has no example"
    problems: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=problems.append)
    assert not problems, "".join(problems)


def test_the_names_are_about_twelve_documented_and_no_others():
    assert set(leadline.PLACES) == set(leadline.__all__)
    assert 8 <= len(leadline.__all__) <= 14
    assert set(leadline.__all__) <= set(dir(leadline))
    with pytest.raises(AttributeError, match="no attribute 'read_everything'"):
        _ = leadline.read_everything


def test_importing_costs_nothing_until_a_name_is_used():
    code = (
        "import sys, leadline\n"
        "assert not {'torch', 'polars', 'numpy', 'click'} & set(sys.modules), 'import'\n"
        "leadline.read_cohort\n"
        "assert 'polars' in sys.modules and 'torch' not in sys.modules, 'a name'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
