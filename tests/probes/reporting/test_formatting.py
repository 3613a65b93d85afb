"""Values as people read them."""

from probes.reporting.formatting import interval
from probes.reporting.model import Reading


def test_an_interval_follows_its_value_where_there_is_one():
    assert interval(Reading(0.5, 0.4, 0.6, None, None, 9, ())) == "0.500 [0.400, 0.600]"
    assert interval(Reading(0.5, None, None, None, None, 9, ())) == "0.500"
