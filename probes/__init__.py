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

from align._public_names import public_names

__getattr__, __dir__, __all__ = public_names(__name__, __file__)
