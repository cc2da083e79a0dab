"""A reader is opened by what lies in its directory."""

import pytest
from tests.support.readers import talk

from leadline.errors import LeadlineError
from leadline.readers.config import ReaderConfig
from leadline.readers.language import LMReader
from leadline.readers.open import open_reader
from leadline.readers.sentence import SentenceReader


def test_a_sentence_encoder_and_a_language_model_are_told_apart(language_paths, sentence_reader):
    assert isinstance(open_reader(str(sentence_reader)), SentenceReader)
    assert isinstance(open_reader(str(language_paths["llama"])), LMReader)


def test_the_settings_reach_the_reader(language_paths, sentence_reader):
    config = ReaderConfig(layers=(1,), max_tokens=128, dtype="float32")
    model = open_reader(str(language_paths["llama"]), config)
    assert model.layers == (1,)
    assert model.states([talk("fine")])[0].shape == (1, model.width)
    plain = open_reader(str(language_paths["llama"]))
    assert plain.identity != model.identity
    short = open_reader(str(sentence_reader), ReaderConfig(max_tokens=64))
    assert short.identity != open_reader(str(sentence_reader)).identity


def test_a_name_that_is_not_fetched_names_the_command(tmp_path):
    with pytest.raises(LeadlineError, match="reader fetch smollm2"):
        open_reader("smollm2", home=tmp_path)
