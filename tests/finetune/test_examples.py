"""People as rows of tokens."""

from tests.support.adapted import PEOPLE

from leadline.finetune.examples import collate


def test_no_row_holds_two_people(model):
    """Packing would leak the state of one person into another: a row is one person's alone."""
    examples = model.encode(PEOPLE)
    batch = collate(examples, "mean")
    rows, length = batch["input_ids"].shape
    assert rows == sum(len(example.rows) for example in examples)
    at = 0
    for example in examples:
        for ids in example.rows:
            assert batch["input_ids"][at].tolist() == ids + [0] * (length - len(ids))
            at += 1
    row_of = (batch["where"] // length).tolist()
    owner = [n for n, example in enumerate(examples) for _ in example.rows]
    turns = [n for n, example in enumerate(examples) for _ in example.spans]
    assert all(owner[row] == turns[turn] for row, turn in zip(row_of, batch["turn"], strict=True))
