"""What a command line that was refused must look like."""

from tests.support.cohorts import files_of


def one_message(result, message, folder, before):
    code, out, err = result
    assert code == 2
    assert message in err
    assert "What to do: " in err or "Try 'leadline" in err
    assert "Traceback" not in err
    assert err.count("Error") == 1
    assert out == ""
    assert files_of(folder) == before
