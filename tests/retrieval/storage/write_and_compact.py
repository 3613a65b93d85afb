"""A process that changes an index for some rounds, and says after each commit which it was."""

import sys
from pathlib import Path

import torch

from align.retrieval.index.index import Index

folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
index = Index.open(folder)
for number in range(rounds):
    # Every commit holds exactly the items of one round, all with the same vector.
    if number:
        index.delete([f"{number - 1}-{row}" for row in range(8)])
    index.add([f"{number}-{row}" for row in range(8)], torch.full((8, 4), float(number)))
    if number % 5 == 4:
        index.compact()
    else:
        index.save()
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()
