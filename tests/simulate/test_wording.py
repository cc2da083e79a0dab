"""How people type."""

from __future__ import annotations

import numpy as np
import pytest

from leadline.simulate.wording import TYPED


@pytest.mark.parametrize("typed", TYPED)
def test_styles_change_the_look_but_keep_the_words_in_place(typed) -> None:  # type: ignore[no-untyped-def]
    text = "I can't say I've slept, not since monday. the dog did"
    for seed in range(40):
        draw = np.random.default_rng(seed).integers(0, 2**31, 10).tolist()
        typed_text = typed(text, draw)
        assert typed_text
        assert "monday" in typed_text or "dog" in typed_text
        assert abs(len(typed_text) - len(text)) < 15
