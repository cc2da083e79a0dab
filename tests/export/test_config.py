"""Settings of an export that cannot be meant."""

import pytest

from leadline.errors import LeadlineError
from leadline.export.config import ExportConfig


@pytest.mark.parametrize(
    ("settings", "flag"),
    [({"to": "gguf"}, "--to"), ({"dtype": "int8"}, "--dtype"), ({"members": (-1,)}, "--members")],
)
def test_what_there_is_not_names_its_flag(settings, flag):
    with pytest.raises(LeadlineError, match=flag):
        ExportConfig(**settings)


def test_all_members_in_float32_to_onnx_unless_said_otherwise():
    config = ExportConfig()
    assert (config.to, config.members, config.dtype) == ("onnx", (), "float32")
