"""What to look for in a training set, and what to mine from it.

``report.curate`` is all of it at once; ``duplicates`` and ``minhash`` name repeats, ``mismatches``
pairs that may not belong together. ``mixing.temperature_weights`` are weights for ``align.train``,
``mixing.sample_rows`` a weighted subset, and ``hard_negatives.hard_negatives`` wrong items that
score high, for a trainer that takes them.
"""
