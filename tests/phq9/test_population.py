import pytest

from leadline.errors import LeadlineError
from leadline.phq9.population import POPULATIONS, population_named


def test_a_population_is_a_name_or_two_numbers():
    assert population_named("general") is POPULATIONS["general"]
    given = population_named("12.5, 6")
    assert (given.mean, given.sd, given.source) == (12.5, 6.0, "given by the user")


@pytest.mark.parametrize("text", ["students", "12", "12,x", "12,0.2", "26,9", "-1,4", "nan,3"])
def test_what_no_people_can_have_is_refused(text):
    with pytest.raises(LeadlineError, match=r"--population|likely"):
        population_named(text)
