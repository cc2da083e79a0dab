"""What the store knows, as the course takes it: what counts, of one model, then and now."""

from tests.support.stores import (
    START,
    add_person,
    answered,
    put_estimates,
    said,
    send,
    send_phq9s,
)

from leadline.monitor.records import (
    ITEM9_VARIANCE,
    PRORATED_VARIANCE,
    keep_parameters,
    parameters_id,
    read_parameters,
    read_records,
)
from leadline.monitor.statespace import CourseParameters
from leadline.store.estimates import supersede_estimates
from leadline.store.phq9s import retract_phq9
from leadline.store.times import DAY, day


def record(store, person, model="m", asof=None):
    return store.database.read(lambda c: read_records(c, [person], model, asof))[person]


def test_a_record_holds_what_counts_of_one_model(live):
    ada = add_person(live)
    send(live, said("a", hours=1), said("b", hours=30, role="assistant"))
    put_estimates(live, ada, [(1, 8.0, 30), (2, 9.0, 70)])
    put_estimates(live, ada, [(1, 20.0, 30)], model="other")
    send_phq9s(live, answered("q1", 12, days=1), answered("q2", 7, days=5))
    found = record(live, ada)
    assert [one.mean for one in found.history.estimates] == [8.0, 9.0]
    assert [one.total for one in found.history.answers] == [12.0, 7.0]
    assert found.words == 70
    assert found.last_message == START + DAY // 24
    assert found.last_phq9 == (START + 5 * DAY, 7.0)
    assert found.history.estimates[0].day == day(START + DAY)


def test_someone_of_whom_nothing_is_known(live):
    ada = add_person(live)
    found = record(live, ada)
    assert (found.history.estimates, found.history.answers) == ((), ())
    assert (found.words, found.last_message, found.last_phq9) == (None, None, None)


def test_what_was_known_on_a_day(live):
    ada = add_person(live)
    put_estimates(live, ada, [(1, 8.0, 30)], at=START + 10)
    live.database.write(lambda c: supersede_estimates(c, ada, [1], START + 20))
    put_estimates(live, ada, [(1, 3.0, 30)], revision=1, at=START + 20)
    (outcome,) = send_phq9s(live, answered("q", 12), at=START + 15)
    live.database.write(lambda c: retract_phq9(c, live.vault, "ada", outcome.number, START + 30))

    def known(asof):
        found = record(live, ada, asof=asof).history
        return [one.mean for one in found.estimates], [one.total for one in found.answers]

    assert known(START + 9) == ([], [])
    assert known(START + 15) == ([8.0], [12.0])
    assert known(START + 25) == ([3.0], [12.0])
    assert known(START + 30) == known(None) == ([3.0], [])


def test_a_shorter_and_a_prorated_questionnaire_are_less_exact(live):
    add_person(live)
    eight = (1,) * 8
    send_phq9s(
        live,
        answered("a", 9),
        answered("b", None, days=1, items=eight, instrument="phq8"),
        answered("c", None, days=2, items=(None, *eight)),
    )
    ada = add_person(live)
    variances = [one.further_variance for one in record(live, ada).history.answers]
    assert variances == [0.0, ITEM9_VARIANCE, PRORATED_VARIANCE]


def test_parameters_are_kept_once_under_their_content(live):
    defaults = live.database.read(lambda c: read_parameters(c, "m"))
    assert defaults == CourseParameters()
    fitted = CourseParameters(mean=8.0, people=70)
    for at in (1, 2):
        live.database.write(lambda c, at=at: keep_parameters(c, fitted, "m", at))
    assert live.database.read(lambda c: read_parameters(c, "m")) == fitted
    assert live.database.read(lambda c: read_parameters(c, "other")) == defaults
    assert parameters_id(fitted) != parameters_id(defaults)
