"""A model directory that somebody forged ends in one message, runs no code, and costs little."""

import json
import shutil
import struct

import pytest

from leadline.errors import LeadlineError
from leadline.readers import loading as module
from leadline.readers.backbone import load_backbone, load_tokenizer, pick_dtype
from leadline.readers.loading import loading
from leadline.readers.open import open_reader

CODE = "raise SystemExit('kanarienvogel')"


def settings(path, **changed):
    file = path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))


def remote_code(path):
    settings(path, model_type="kanarienvogel",
             auto_map={"AutoConfig": "code.C", "AutoModel": "code.M"})  # fmt: skip
    (path / "code.py").write_text(CODE)


FORGED = {
    "cut settings": lambda path: (path / "config.json").write_text('{"kanarienvogel'),
    "brackets": lambda path: (path / "config.json").write_text("[" * 100_000),
    "a list": lambda path: (path / "config.json").write_text('["kanarienvogel"]'),
    "an unknown architecture": lambda path: settings(path, model_type="kanarienvogel"),
    "code": remote_code,
    "other sizes": lambda path: settings(path, hidden_size=64),
    "no size": lambda path: settings(path, hidden_size="kanarienvogel"),
    "layers": lambda path: settings(path, num_hidden_layers=10**8),
    "an adapter": lambda path: (path / "adapter_config.json").write_text("{}"),
    "no tokens": lambda path: (path / "tokenizer.json").write_text("{}"),
    "no tokenizer": lambda path: (path / "tokenizer.json").unlink(),
    "cut weights": lambda path: (path / "model.safetensors").write_bytes(b"kanarienvogel"),
    "giant weights": lambda path: (path / "model.safetensors").write_bytes(
        struct.pack("<Q", 2**60) + b"{}"
    ),
}
OF_SENTENCES = {
    "no modules": lambda path: (path / "modules.json").write_text("{"),
    "numbers": lambda path: (path / "modules.json").write_text("[1]"),
    "no window": lambda path: (path / "sentence_bert_config.json").write_text("{}"),
    "a window of words": lambda path: (path / "sentence_bert_config.json").write_text(
        '{"max_seq_length": "kanarienvogel"}'
    ),
    "no pooling": lambda path: (path / "pooling.json").write_text("[]"),
}


@pytest.mark.parametrize("how", [*FORGED, *OF_SENTENCES])
def test_a_forged_sentence_encoder_is_one_message(sentence_reader, tmp_path, how):
    path = shutil.copytree(sentence_reader, tmp_path / "reader")
    {**FORGED, **OF_SENTENCES}[how](path)
    with pytest.raises(LeadlineError) as refused:
        open_reader(str(path))
    assert str(path) in str(refused.value)
    assert "kanarienvogel" not in str(refused.value)


def load_both(path):
    load_tokenizer(path)
    load_backbone(path, pick_dtype("float32"))


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_language_model_is_one_message(language_paths, tmp_path, how):
    path = shutil.copytree(language_paths["llama"], tmp_path / "reader")
    FORGED[how](path)
    with pytest.raises(LeadlineError) as refused:
        load_both(path)
    assert "kanarienvogel" not in str(refused.value)


def test_what_is_not_a_models_passes(sentence_reader):
    for error in (ImportError("torch"), MemoryError(), LeadlineError("a", remedy="b")):
        with pytest.raises(type(error)), loading(sentence_reader):
            raise error
    assert module.NO_CODE["trust_remote_code"] is False
