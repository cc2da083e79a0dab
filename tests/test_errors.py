"""The one error that people see."""

import pickle

from leadline.errors import EXIT_CODE, LeadlineError, missing_package


def test_an_error_says_where_and_what_to_do():
    error = LeadlineError("Total 31.", remedy="Check the row.", file="a.csv", row=3)
    assert str(error) == "a.csv, row 3: Total 31.\n  What to do: Check the row."
    assert LeadlineError("x.", remedy="y.", row="line 2").where() == "line 2"
    assert str(LeadlineError("x.", remedy="y.")).startswith("x.")
    assert "pip install 'leadline[models]'" in str(missing_package("peft", "models", "LoRA"))
    assert EXIT_CODE == 2


def test_an_error_of_a_worker_is_whole_in_another_process():
    error = LeadlineError("Total 31.", remedy="Check the row.", file="a.csv", row=3)
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is LeadlineError
    assert vars(copied) == vars(error)
    assert str(copied) == str(error)
