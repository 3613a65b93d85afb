"""Probes of the modality gap: embeddings in, numbers with intervals and nulls out.

A probe takes one embedding per row, as arrays, tensors, data frames, series or lists of vectors,
or ``Embeddings``, and changes no norm behind your back. Which norms it takes follows from what it
measures, and the line "Norms" of each says it:

- A probe defined for unit vectors, as ``modality_gap``, refuses rows of any other norm.
- A probe of cosines, as ``foscttm``, takes any: a cosine does not depend on norms.
- A probe of a search, as ``recall_at_k``, scores by the inner product, as an index does: norms
  count.
- A probe of clouds, as ``linear_cka``, takes the rows as they are. One scale for all of them
  changes nothing, or the value is in units of the embeddings or in their squares.

``report`` divides every row by its norm first, so that all of its rows are about directions.

The public names load on first use, so that ``import probes`` stays light.
"""

import lazy_loader

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'probes' has no attribute {name!r}; it has {sorted(__all__)}")
    return _load(name)
