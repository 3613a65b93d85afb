"""Encoded items: one side, or two row-matched sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from align._checks import as_list, check_length, check_matrix, check_paired, check_unique
from align._display.panel import render
from align.data.named_rows import Matrix, NamedRows, named_rows
from align.data.panels import embeddings_line, embeddings_panel, paired_line, paired_panel
from align.data.repeats import warn_of_repeats
from align.data.sides import SIDE_NAMES, SideNames, checked_side_names
from align.data.splits import names_of, row_index, take_split


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """One side: a vector per item, and the encoder it came from.

    Attributes:
        vectors: One embedding per row, ``(n, d)`` floating point.
        fingerprint: Fingerprint of the encoder, or ``None`` where nobody knows it.
        ids: ``n`` unique names.
        spec: How to build the encoder again, its ``spec``, or ``None`` where that is not known.

    Examples:
        >>> import torch, align
        >>> side = align.Embeddings(torch.eye(2), fingerprint="my-encoder-v1", ids=("a", "b"))
        >>> side.vectors.shape
        torch.Size([2, 2])
    """

    vectors: Tensor
    fingerprint: str | None
    ids: tuple[str, ...]
    spec: str | None = None

    def __post_init__(self) -> None:
        check_matrix("vectors", self.vectors)
        as_list("ids", self.ids)
        check_length("ids", self.ids, len(self.vectors))
        check_unique("ids", self.ids)

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        return embeddings_line(self.vectors, self.spec or self.fingerprint)

    def _repr_html_(self) -> str:
        return render(
            embeddings_panel(self.vectors, self.ids, fingerprint=self.fingerprint, spec=self.spec)
        )


Vectors = Matrix | Embeddings
"""One vector per row, in any of the forms that ``align.data.named_rows.named_rows`` lists, or
``Embeddings``."""


def as_tensor(x: Vectors, *, name: str = "vectors") -> Tensor:
    """The vectors themselves, ``(n, d)``, without a copy where none is needed.

    Raises:
        TypeError: They are not numbers.
        ValueError: They are of several lengths, a sparse tensor, or one without entries.
    """
    return x.vectors if isinstance(x, Embeddings) else named_rows(x, name=name).vectors


def _named(x: Vectors, name: str) -> NamedRows:
    return NamedRows(x.vectors, x.ids) if isinstance(x, Embeddings) else named_rows(x, name=name)


def matched_rows(source: Vectors, target: Vectors) -> tuple[Tensor, Tensor, tuple[str, ...] | None]:
    """Both sides, and the ids that they agree on, or ``None`` if neither has names for its rows.

    Rows are matched by their place. Where both sides name their rows, as ``Embeddings`` and tables
    of pandas do, the names must say the same: nothing is put in order or joined here.

    Raises:
        TypeError: As for ``named_rows``.
        ValueError: As for ``named_rows``; the numbers of rows differ, or their names do.
    """
    x, y = _named(source, "source"), _named(target, "target")
    _check_named_alike(x, y, SIDE_NAMES)
    check_paired(x.vectors, y.vectors)
    for name, side in zip(SIDE_NAMES, (x, y), strict=True):
        check_matrix(name, side.vectors, ids=side.ids)
    if x.vectors.device != y.vectors.device:
        raise ValueError(
            "source and target must lie on one device; got "
            f"{x.vectors.device} and {y.vectors.device}. Move one with .to(...)."
        )
    return x.vectors, y.vectors, x.ids if x.ids is not None else y.ids


def check_named_alike(a: Vectors, b: Vectors, names: tuple[str, str]) -> None:
    """Raise ``ValueError`` where two matrices, called ``names``, name their rows differently."""
    _check_named_alike(_named(a, names[0]), _named(b, names[1]), names)


def _check_named_alike(x: NamedRows, y: NamedRows, names: tuple[str, str]) -> None:
    ours, theirs, (a, b) = x.ids, y.ids, names
    tables = x.is_pandas and y.is_pandas
    if ours is None or theirs is None or ours == theirs:
        return
    if len(ours) != len(theirs) and not tables:
        return  # the shapes tell more
    if len(ours) != len(theirs):
        found = f"{a} has {len(ours)} rows and {b} {len(theirs)}"
    else:
        row = next(i for i in range(len(ours)) if ours[i] != theirs[i])
        found = f"row {row} is {ours[row]!r} and {theirs[row]!r}"
    if tables and set(ours) == set(theirs):
        advice = f"Put both in one order, with {b}.loc[{a}.index]."
    elif tables:
        advice = (
            f"Keep what both have, with common = {a}.index.intersection({b}.index), "
            f"{a}.loc[common] and {b}.loc[common]."
        )
    else:
        advice = "Put both in the same order."
    raise ValueError(
        f"{a} and {b} name their rows, and must name them alike; {found}. {advice} If row i does "
        "belong to row i, pass plain arrays, or PairedEmbeddings.from_arrays(..., ids=...)."
    )


def _check_nested(groups: Sequence[str], domains: Sequence[str]) -> None:
    """Raise ``ValueError`` if pairs of one group lie in two domains."""
    known: dict[str, str] = {}
    for group, domain in zip(groups, domains, strict=True):
        if known.setdefault(group, domain) != domain:
            raise ValueError(
                f"every group must lie in one domain; group {group!r} is in {known[group]!r} and "
                f"{domain!r}. Join those domains, or leave domains out."
            )


def _check_modality(name: str, modality: Tensor | None, n: int) -> None:
    if modality is not None and (modality.shape != (n,) or modality.dtype != torch.int64):
        raise ValueError(
            f"{name} must be a bit mask per pair, int64 of shape ({n},); "
            f"got {modality.dtype} of shape {tuple(modality.shape)}. "
            "Make it with align.data.modality.modality_codes."
        )


def _check_parts(name: str, parts: Sequence[int] | None, width: int) -> None:
    if parts is not None and (not parts or min(parts) < 1 or sum(parts) != width):
        raise ValueError(
            f"{name} must be positive widths that sum to {width}, the width of the vectors; "
            f"got {list(parts)}. Take them from the ConcatEncoder that made the vectors."
        )


@dataclass(frozen=True, slots=True, eq=False)
class PairedEmbeddings:
    """Both sides, row-matched: row ``i`` of ``source`` and of ``target`` come from one pair.

    Attributes:
        source: ``(n, d_source)`` floating point.
        target: ``(n, d_target)`` floating point.
        ids: ``n`` unique names of the pairs.
        groups: ``n`` group names; pairs of one group never straddle a split and count as matches
            of each other, as the captions of one photo do.
        source_fingerprint: Fingerprint of the source encoder, or ``None`` if unknown.
        target_fingerprint: The same of the target encoder.
        domains: ``n`` names of what pairs share and new items will not, such as a project or an
            author, or ``None``. Splits and folds keep a domain on one side, so that a choice is
            made as it will be used; but its pairs are no matches of each other. Each group lies
            in one domain.
        source_modality: Bit masks of ``align.data.modality.Modality``, int64 ``(n,)``, or ``None``
            where all sources are of one kind.
        target_modality: The same of the targets.
        source_parts: Widths of the parts of a source vector, which sum to ``d_source``, or ``None``
            for one part; see ``ConcatEncoder``.
        target_parts: The same of the targets.
        instructions: An embedding of what to look for, per pair, ``(n, d_i)`` floating point,
            zeros where there is no instruction; ``None`` where no pair has one.
        encoders: How to build the encoders again, by ``"source"``, ``"target"`` and
            ``"instruction"``: the ``spec`` of each that has one.
        side_names: What people call the sides, such as ``("caption", "image")``; tables and cards
            use these words. Arguments that choose a side say ``"source"`` or ``"target"`` as ever.

    Examples:
        >>> import numpy as np, align
        >>> rng = np.random.default_rng(0)
        >>> captions, photos = rng.standard_normal((100, 8)), rng.standard_normal((100, 12))
        >>> photo_of = [row // 5 for row in range(100)]  # five captions each
        >>> data = align.PairedEmbeddings.from_arrays(captions, photos, groups=photo_of)
        >>> train, test = data.split(test=0.2, seed=0)
        >>> len(train), len(test), set(train.groups) & set(test.groups)
        (80, 20, set())
    """

    source: Tensor
    target: Tensor
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    source_fingerprint: str | None = None
    target_fingerprint: str | None = None
    domains: tuple[str, ...] | None = None
    source_modality: Tensor | None = None
    target_modality: Tensor | None = None
    source_parts: tuple[int, ...] | None = None
    target_parts: tuple[int, ...] | None = None
    instructions: Tensor | None = None
    encoders: Mapping[str, str] = field(default_factory=dict)
    side_names: SideNames = SIDE_NAMES

    def __post_init__(self) -> None:
        checked_side_names(self.side_names)
        check_paired(self.source, self.target)
        check_matrix("source", self.source)
        check_matrix("target", self.target)
        check_length("ids", self.ids, len(self.source))
        check_length("groups", self.groups, len(self.source))
        check_unique("ids", self.ids)
        if self.domains is not None:
            check_length("domains", self.domains, len(self.source))
            _check_nested(self.groups, self.domains)
        _check_modality("source_modality", self.source_modality, len(self.source))
        _check_modality("target_modality", self.target_modality, len(self.target))
        _check_parts("source_parts", self.source_parts, self.source.shape[1])
        _check_parts("target_parts", self.target_parts, self.target.shape[1])
        if self.instructions is not None:
            check_matrix("instructions", self.instructions)
            check_length("instructions", range(len(self.instructions)), len(self.source))

    @property
    def group_key(self) -> tuple[str, ...]:
        """What splits and folds keep on one side: the domains, or else the groups."""
        return self.groups if self.domains is None else self.domains

    @classmethod
    def from_arrays(
        cls,
        source: Vectors,
        target: Vectors,
        ids: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
        domains: Sequence[str] | None = None,
        *,
        source_modality: Tensor | None = None,
        target_modality: Tensor | None = None,
        source_parts: Sequence[int] | None = None,
        target_parts: Sequence[int] | None = None,
        instructions: Tensor | None = None,
        side_names: Sequence[str] = SIDE_NAMES,
    ) -> Self:
        """Pair two matrices, ``(n, d_source)`` and ``(n, d_target)``, row by row.

        A side may be a NumPy array, a tensor, ``Embeddings``, a list of rows, or of pandas a frame
        whose columns are dimensions or a series of vectors, and what NumPy reads otherwise, such
        as a frame of polars (``align.data.named_rows.named_rows``). It keeps its dtype, which may
        differ between sides, and its device, which may not; a gradient that it requires is left
        behind, since encoders are frozen.

        Args:
            source: Source embeddings; an ``Embeddings`` brings fingerprint, spec and ids along.
            target: Target embeddings of the same pairs in the same order.
            ids: Unique names; if left out, those of the ``Embeddings`` or the labels of the index
                of pandas, else ``"0"``, ``"1"``, ...
            groups: Group names; every pair is its own group if left out.
            domains: As in the class, like all that follow.
            source_modality: Bit masks.
            target_modality: Bit masks.
            source_parts: Widths.
            target_parts: Widths.
            instructions: An embedding per pair.
            side_names: Two names.

        Raises:
            TypeError: ``ids``, ``groups`` or ``domains`` is one string, or a side does not hold
                numbers alone.
            ValueError: The sides are not row-matched finite matrices on one device, ids repeat, a
                group lies in two domains, modalities or parts do not fit, or both sides name their
                rows, differently, and no ``ids`` say that they match.
        """
        if ids is None:
            x, y, found = matched_rows(source, target)
            names = tuple(map(str, range(len(x)))) if found is None else found
        else:
            x, y, names = as_tensor(source), as_tensor(target), names_of("ids", ids)
        return cls(
            x.detach(),
            y.detach(),
            names,
            names_of("groups", groups) if groups is not None else names,
            source.fingerprint if isinstance(source, Embeddings) else None,
            target.fingerprint if isinstance(target, Embeddings) else None,
            names_of("domains", domains) if domains is not None else None,
            source_modality,
            target_modality,
            tuple(source_parts) if source_parts is not None else None,
            tuple(target_parts) if target_parts is not None else None,
            instructions,
            {
                role: side.spec
                for role, side in (("source", source), ("target", target))
                if isinstance(side, Embeddings) and side.spec is not None
            },
            checked_side_names(side_names),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return paired_line(self)

    def _repr_html_(self) -> str:
        return render(paired_panel(self))

    def take(self, rows: Sequence[int] | np.ndarray[Any, Any] | Tensor) -> Self:
        """The pairs at ``rows``, in that order; rows may not repeat."""
        index = torch.from_numpy(row_index(rows, len(self)))
        picked = index.tolist()

        def at(values: Any) -> Any:
            if isinstance(values, Tensor):
                return values[index]
            return None if values is None else tuple(values[row] for row in picked)

        by_row = (
            "source", "target", "ids", "groups", "domains", "source_modality", "target_modality",
            "instructions",
        )  # fmt: skip
        return replace(self, **{name: at(getattr(self, name)) for name in by_row})

    def split(self, *, test: float, val: float = 0.0, seed: int = 0) -> tuple[Self, ...]:
        """``(train, test)``, or ``(train, val, test)`` if ``val`` > 0, of whole groups and domains.

        Args:
            test: Share of the pairs held out for testing, in (0, 1).
            val: Share held out for validation, in [0, 1).
            seed: Seeds the draw.

        Raises:
            ValueError: A share is out of range or leaves a part empty.

        Warns:
            RepeatedItems: Many pairs share an item and no groups say so.
        """
        warn_of_repeats((self.source, self.target), self.group_key, "split", stacklevel=2)
        return take_split(self, self.group_key, test=test, val=val, seed=seed)
