"""An adapter of planted pairs, and tiny text models that the card of an adapter can name."""

import pytest

from align import fit
from tests.helpers.lookups import planted_pairs
from tests.helpers.tiny_models import (  # noqa: F401  # fixtures are found by name
    bert,
    cache,
    sbert,
    sentence_folder,
    write,
)


@pytest.fixture(scope="session")
def adapter():
    """Fitted to ``planted_pairs()``, whose encoders give the vectors of its items."""
    return fit(planted_pairs()[0], effort="fast")
