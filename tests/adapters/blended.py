"""An adapter of blends."""

from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.closed_form.rcca import rcca
from align.adapters.closed_form.ridge import ridge
from align.adapters.maps.linear import BlendMap


def blend(source, target):
    """A blend of a blend and a single map, as cross-validation may choose."""
    first, second = ridge(source, target), rcca(source, target, dim=3)
    return Adapter(
        BlendMap([first.source_map, second.source_map], (0.75, 0.25)),
        BlendMap([first.target_map, second.target_map], (0.75, 0.25)),
        Card("blend", len(source), 6, 6),
    )
