"""The adapter: two maps into one shared space, and what to do to a gallery before it is indexed."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from align._checks import check_matrix, check_no_zero_rows, check_side
from align._display.panel import render
from align.adapters.artifact import files
from align.adapters.calibration.calibration import Calibration
from align.adapters.calibration.held_out import calibration_of
from align.adapters.card import Card
from align.adapters.components import Components
from align.adapters.corrections.preference import Preference
from align.adapters.corrections.reference_set import ReferenceSet
from align.adapters.export.files import export
from align.adapters.maps.linear import SideMap
from align.adapters.maps.one_row import map_one_row
from align.adapters.panels import adapter_line, adapter_panel
from align.adapters.recipes.statistics import SufficientStatistics
from align.adapters.training_items import TrainingItems
from align.adapters.updating import updated
from align.data.embeddings import Embeddings, PairedEmbeddings, Vectors, as_tensor
from align.data.paired_arguments import as_pairs
from align.data.sides import Side, other_side


class Adapter(nn.Module):
    """Maps both sides of a pair into one space, where cosine similarity means match.

    All methods take NumPy arrays, tensors or ``Embeddings`` and return float32 tensors on the
    adapter's device. ``Embeddings`` whose fingerprint is not the one this was fitted on are
    refused; bare arrays carry no fingerprint and cannot be checked.

    Attributes:
        source_map: ``(n, d_source)`` to unit-norm ``(n, dim)``.
        target_map: ``(n, d_target)`` to unit-norm ``(n, dim)``.
        reference: Expansion and hubness correction of gallery vectors, expansion of queries, or
            ``None``.
        preference: Kinds of target that the instruction of a source prefers, or ``None``.
        training_items: What is remembered of the items of the pairs that this was fitted on, or
            ``None`` where nobody knows them, as for maps that were put together by hand.
        calibration: What turns scores into probabilities and tells items unlike those of training,
            or ``None`` where that is not known.
        statistics: What ``update`` needs of the pairs so far, or ``None``.
        card: How this adapter came to be.

    Raises:
        ValueError: The maps end in spaces of two widths, or the preference is of other targets.

    Examples:
        >>> import numpy as np, align
        >>> rng = np.random.default_rng(0)
        >>> captions = rng.standard_normal((200, 8))
        >>> photos = captions @ rng.standard_normal((8, 12))
        >>> adapter = align.fit(captions, photos, effort="fast")
        >>> adapter.source(captions[:3]).shape == adapter.target(photos[:3]).shape
        True
    """

    def __init__(
        self,
        source_map: SideMap,
        target_map: SideMap,
        card: Card,
        *,
        reference: ReferenceSet | None = None,
        preference: Preference | None = None,
        training_items: TrainingItems | None = None,
        calibration: Calibration | None = None,
        statistics: SufficientStatistics | None = None,
    ) -> None:
        super().__init__()
        self.source_map = source_map
        self.target_map = target_map
        self.reference = reference
        self.preference = preference
        self.training_items = training_items
        self.calibration = calibration
        self.statistics = statistics
        self.card = card
        self.components()  # checks that they fit together

    def __repr__(self) -> str:
        return adapter_line(self.components(), self.card)

    def _repr_html_(self) -> str:
        return render(adapter_panel(self.components(), self.card))

    def components(self) -> Components:
        """Its modules as one value."""
        return Components(*(getattr(self, field.name) for field in fields(Components)))

    def replaced(self, *, card: Card | None = None, **modules: nn.Module | None) -> Adapter:
        """Another adapter with these in place of its own card or modules, all others shared.

        A calibration is of scores, so it is left out where the maps or corrections are others, and
        so are statistics where the maps are.
        """
        if set(modules) & {"source_map", "target_map", "reference", "preference"}:
            modules = {"calibration": None, **modules}
        if set(modules) & {"source_map", "target_map"}:
            modules = {"statistics": None, **modules}
        return _adapter(replace(self.components(), **modules), card or self.card)  # type: ignore[arg-type]  # by name

    @property
    def dim(self) -> int:
        """Width of the shared space."""
        return self.source_map.dim

    @property
    def d_search(self) -> int:
        """Width of the vectors that ``queries`` and ``gallery`` give where sources are queries."""
        return self.components().d_search

    def source(self, x: Vectors) -> Tensor:
        """Source embeddings ``(n, d_source)`` in the shared space: unit-norm ``(n, dim)``.

        Raises:
            ValueError: ``x`` is not a finite matrix of that width, a row is all zeros, or ``x``
                comes from another encoder.
        """
        return self._map("source", x)

    def target(self, y: Vectors) -> Tensor:
        """Target embeddings ``(n, d_target)`` in the shared space: unit-norm ``(n, dim)``.

        Raises:
            ValueError: As for ``source``.
        """
        return self._map("target", y)

    def queries(self, x: Vectors, *, side: Side = "source") -> Tensor:
        """Query vectors to search a ``gallery`` of the other side with, by inner product.

        Args:
            x: Embeddings of the side that asks, ``(n, d_side)``.
            side: Which side that is.

        Returns:
            ``(n, dim)``, and further columns: ones if there is a hubness correction, and for
            sources, what their instructions prefer, if there is a preference.

        Raises:
            ValueError: As for ``source``, or ``side`` is neither ``"source"`` nor ``"target"``.
        """
        reference, preference = self.reference, self.preference
        if reference is None or reference.query_expansion is None:
            corrected = reference is not None and reference.hubness is not None
            z = self._map(side, x, ones=int(corrected))
        else:
            with torch.inference_mode():
                z = reference.queries(self._map(side, x), side=side)
        if preference is None or side != "source":
            return z
        with torch.inference_mode():
            return torch.cat([z, preference.queries(as_tensor(x).float())], dim=1)

    @torch.inference_mode()
    def gallery(self, y: Vectors, *, side: Side = "target") -> Tensor:
        """Gallery vectors for any inner-product index, correction included.

        Args:
            y: Embeddings of the side that is searched, ``(m, d_side)``.
            side: Which side that is.

        Returns:
            ``(m, dim)``, and further columns: minus the hubness bias, if there is a correction,
            and for targets their kinds, if there is a preference. The inner product with
            ``queries`` of the other side is the corrected score.

        Raises:
            ValueError: As for ``queries``.
        """
        z = self._map(side, y)
        if self.reference is not None:
            z = self.reference.gallery(z, side=side)
        if self.preference is None or side != "target":
            return z
        return torch.cat([z, self.preference.gallery(as_tensor(y).float())], dim=1)

    def trained_on(
        self, pairs: PairedEmbeddings | Vectors, target: Vectors | None = None
    ) -> Tensor:
        """Which of these pairs the adapter was fitted on, or holds an item of: bool ``(n,)``, CPU.

        A pair counts where one of its items was in training: a photo whose other captions were is
        no new photo. An item that more than ``COMMON`` training pairs shared, as a class label,
        counts only where the other item was in training too. Items are known by the direction of
        their vectors, within what rounding changes, and not by their names.

        Args:
            pairs: Raw vectors of the encoders that this was fitted on; with or without the
                instructions beside the sources. Or the sources of the pairs, in any form that
                ``PairedEmbeddings.from_arrays`` takes.
            target: Their targets, ``(n, d_target)``, unless ``pairs`` holds both sides.

        Raises:
            ValueError: ``training_items`` is ``None``, or the pairs are of other encoders or
                widths, or have a zero row.
        """
        pairs = as_pairs(pairs, target)
        items = self.training_items
        if items is None:
            raise ValueError(
                "this adapter does not remember its training pairs: training_items is None, as for "
                "maps that were put together by hand. Keep test pairs apart yourself, or fit with "
                "align.fit."
            )
        for side, x, width, d_in in (
            ("source", pairs.source, items.widths[0], self.source_map.d_in),
            ("target", pairs.target, items.widths[1], self.target_map.d_in),
        ):
            check_matrix(f"{side} embeddings", x, d=width if x.shape[1] != d_in else None)
            check_no_zero_rows(f"{side} embeddings", x)
        self.check_fingerprint("source", pairs.source_fingerprint)
        self.check_fingerprint("target", pairs.target_fingerprint)
        return items.include(pairs.source, pairs.target)

    def calibrated(
        self, held_out: PairedEmbeddings | Vectors, target: Vectors | None = None
    ) -> Adapter:
        """The same adapter with a calibration from pairs that it was not fitted on.

        ``align.fit`` calibrates by itself, from pairs that it holds out. Call this for an adapter
        of another origin or trained further, and where queries have changed since training.

        Args:
            held_out: 20 pairs or more, better some hundreds; or their sources, ``(n, d_source)``.
            target: Their targets, ``(n, d_target)``, unless ``held_out`` holds both sides.

        Raises:
            ValueError: There are fewer pairs or only one group, some were trained on, they are of
                other encoders or widths, or have a zero row.

        Examples:
            >>> import numpy as np, align
            >>> from align.adapters.closed_form.rcca import rcca
            >>> rng = np.random.default_rng(0)
            >>> x = rng.standard_normal((400, 8)).astype("f4")
            >>> pairs = align.PairedEmbeddings.from_arrays(x, x @ rng.standard_normal((8, 12)))
            >>> train, held_out = pairs.split(test=0.5)
            >>> adapter = rcca(train.source, train.target).calibrated(held_out)
            >>> adapter.calibration.confidence("source").gallery
            200
        """
        pairs = as_pairs(held_out, target)
        self.check_fingerprint("source", pairs.source_fingerprint)
        self.check_fingerprint("target", pairs.target_fingerprint)
        if self.training_items is not None:
            known = int(self.trained_on(pairs).sum())
            if known:
                raise ValueError(
                    "a calibration needs pairs that the adapter was not fitted on; it was fitted "
                    f"on {known:,} of these {len(pairs):,}, or holds an item of theirs. Keep those "
                    "apart: held_out.take(~adapter.trained_on(held_out))."
                )
        return self.replaced(calibration=calibration_of(pairs, self.queries, self.gallery))

    @torch.inference_mode()
    def typicality(self, x: Vectors, *, side: Side = "source") -> Tensor:
        """How many in-domain items are at least as unusual as each of these: p-values, ``(n,)``.

        In ``(0, 1]``: about uniform for new items like those of training, near 0 for items unlike
        them, whose hits mean little whatever their scores. An item is unusual as far as its raw
        vector lies from those of training; nothing is asked of a gallery. Over many items the share
        of small values says whether a stream has moved.

        Args:
            x: Embeddings of ``side``, ``(n, d_side)``.
            side: Which side that is.

        Raises:
            ValueError: ``calibration`` is ``None``, or as for ``source``.

        Reference:
            Bates et al. 2023, arXiv:2104.08279; ``align.adapters.calibration.domain`` has the rest.

        Examples:
            >>> import numpy as np, align
            >>> rng = np.random.default_rng(0)
            >>> captions = 1 + rng.standard_normal((300, 8))
            >>> adapter = align.fit(captions, captions, effort="fast")
            >>> bool(adapter.typicality(-captions).mean() < adapter.typicality(captions).mean())
            True
        """
        check_side(side)
        if self.calibration is None:
            raise ValueError(
                "this adapter was not calibrated: calibration is None, as for maps that were put "
                "together by hand or trained further. Fit with align.fit, or call "
                "adapter.calibrated(held_out) with pairs that it was not fitted on."
            )
        if isinstance(x, Embeddings):
            self.check_fingerprint(side, x.fingerprint)
        rows = as_tensor(x).float()
        self._check_rows(side, rows)
        return self.calibration.domain(side).p_values(rows)

    def out_of_domain(
        self, x: Vectors, *, side: Side = "source", false_flags: float = 0.05
    ) -> Tensor:
        """Which items are unlike those that the adapter learned from: bool ``(n,)``.

        Args:
            x: Embeddings of ``side``, ``(n, d_side)``.
            side: Which side that is.
            false_flags: Share of items like those of training that may be flagged, in (0, 1).

        Raises:
            ValueError: As for ``typicality``, or ``false_flags`` is out of range.
        """
        if not 0 < false_flags < 1:
            raise ValueError(
                f"false_flags must lie in (0, 1); got {false_flags}. Pass 0.05 for one item in 20."
            )
        return self.typicality(x, side=side) <= false_flags

    def update(self, pairs: PairedEmbeddings | Vectors, target: Vectors | None = None) -> Adapter:
        """Another adapter, of the pairs so far and these, without the old ones.

        Second moments add up: the maps are those that the same closed form gives on all pairs
        together, to rounding (1e-6). That needs an adapter of ``align.fit(..., updatable=True)``.

        Kept from the first fit: which closed form it is, with its ridges, powers and blend; shares
        of parts; which correction and expansion of galleries; both centres, the mean directions
        that are subtracted before moments are taken; and the held-out numbers of the card, which
        counts the pairs that they are of. None of these is chosen or estimated anew, so where many
        pairs have come since, or of another kind, fit all of them again. Renewed: maps, training
        items, and the reference set of the correction, which is of all pairs up to 8,192 and of a
        random sample beyond, each pair as likely as another. Left out: the calibration, which
        is of the old maps.

        Args:
            pairs: New pairs of the same encoders, of which none is in training yet; or their
                sources, in any form that ``PairedEmbeddings.from_arrays`` takes.
            target: Their targets, ``(n, d_target)``, unless ``pairs`` holds both sides.

        Raises:
            ValueError: The adapter has no statistics: it was fitted without ``updatable``, it is
                the identity, or its maps were trained, tuned or given instructions. Or the pairs
                are of other encoders or widths, have a zero row, or are in training already.

        Examples:
            >>> import numpy as np, align
            >>> rng = np.random.default_rng(0)
            >>> captions = rng.standard_normal((300, 8))
            >>> photos = captions @ rng.standard_normal((8, 12)) + rng.standard_normal((300, 12))
            >>> adapter = align.fit(captions[:200], photos[:200], updatable=True)
            >>> adapter.update(captions[200:], photos[200:]).card.n_pairs
            300
        """
        pairs = as_pairs(pairs, target)
        self.check_fingerprint("source", pairs.source_fingerprint)
        self.check_fingerprint("target", pairs.target_fingerprint)
        with torch.no_grad():
            return _adapter(*updated(self.components(), self.card, pairs))

    def save(self, folder: str | Path) -> None:
        """Write ``folder`` whole or not at all; see ``align.adapters.artifact.files.save``."""
        files.save(self.components(), self.card, folder)

    def export(self, path: str | Path, *, side: Side = "source") -> tuple[Path, Path]:
        """Write ``queries`` and ``gallery`` as two ONNX models, for programs without torch.

        ``adapter.onnx`` is ``queries`` of the side that asks, and small: what answers a query loads
        it alone. ``adapter.gallery.onnx`` is ``gallery`` of the other side, expansion and
        correction included, for whoever fills the index. Each has one input, ``embeddings``
        ``(n, d_side)`` float32, and one output, ``queries`` or ``gallery``. They are two files
        since a runtime wants all inputs of a model, also for one of its outputs.

        Models check nothing: an input must be finite and have no zero row, and come from the
        encoder that the metadata names beside the digest of the adapter. A gallery takes memory
        for its similarities to the whole reference set, so map some thousand items at a time.

        Both are run by ONNX Runtime before they are written, and every row is within 1e-5 of its
        own length of what this adapter gives; a sharpness above 100 of the expansion, which ``fit``
        does not try, multiplies that.

        Args:
            path: The file of the queries, ``NAME.onnx``; the other is ``NAME.gallery.onnx`` beside
                it. Each appears whole or not at all, and replaces a file that is there.
            side: Which side asks.

        Returns:
            The two paths.

        Raises:
            ImportError: ``onnx`` or ``onnxruntime`` is missing.
            OSError: A file cannot be written.
            RuntimeError: The two runtimes do not agree.
            TypeError: A map is none of those in ``align.adapters.maps``.
            ValueError: ``path`` does not end in ``.onnx``, or ``side`` is neither ``"source"`` nor
                ``"target"``.
        """
        check_side(side)
        other = other_side(side)
        return export(
            self.components(),
            self.card,
            path,
            queries=(side, lambda x: self.queries(x, side=side)),
            gallery=(other, lambda y: self.gallery(y, side=other)),
        )

    def check_fingerprint(self, side: Side, fingerprint: str | None) -> None:
        """Raise ``ValueError`` if vectors of this encoder are not what ``side`` was fitted on."""
        card = self.card
        fitted = card.source_fingerprint if side == "source" else card.target_fingerprint
        if fitted is not None and fingerprint is not None and fingerprint != fitted:
            raise ValueError(
                f"this adapter's {side} side was fitted on vectors of {fitted}; "
                f"got vectors of {fingerprint}. Encode with the first, or fit an adapter anew."
            )

    def _map(self, side: Side, x: Vectors, *, ones: int = 0) -> Tensor:
        """Rows of one side in the shared space, and as many columns of ones."""
        check_side(side)
        side_map = self.source_map if side == "source" else self.target_map
        if isinstance(x, Embeddings):
            self.check_fingerprint(side, x.fingerprint)
        rows = as_tensor(x).float()
        alone = map_one_row(side_map, rows, ones=ones)
        if alone is not None:
            return alone
        self._check_rows(side, rows)
        with torch.inference_mode():
            mapped: Tensor = side_map(rows)
            return torch.cat([mapped, mapped.new_ones(len(mapped), ones)], 1) if ones else mapped

    def _check_rows(self, side: Side, rows: Tensor) -> None:
        side_map = self.source_map if side == "source" else self.target_map
        if rows.ndim != 2 or rows.shape[1] != side_map.d_in or not _have_directions(rows):
            check_matrix(f"{side} embeddings", rows, d=side_map.d_in)
            check_no_zero_rows(f"{side} embeddings", rows)


def load(folder_or_hub_id: str | Path, *, revision: str | None = None) -> Adapter:
    """The adapter that ``Adapter.save`` wrote, equal to the last bit, on the CPU.

    Nothing but tensors and JSON is read, and compared with the digests in ``config.json``: no code
    runs, no pickle is opened. While another process saves over the folder, the old or the new
    adapter is loaded, never parts of both.

    Args:
        folder_or_hub_id: A local folder, or an ``owner/name`` on the Hugging Face hub, of which
            only the four files of an adapter are downloaded. A local folder of that name goes
            first.
        revision: Branch, tag or commit of a hub id; ``None`` is its main branch.

    Raises:
        FileNotFoundError: There is no such folder or hub id, or one of its files is missing.
        OSError: A file cannot be read.
        ValueError: A file is damaged, of another version, or does not fit the others; or
            ``revision`` was given with a local folder.

    Examples:
        >>> import numpy as np, torch, align
        >>> x = np.random.default_rng(0).standard_normal((60, 4))
        >>> adapter = align.fit(x, x, effort="fast")
        >>> adapter.save("my-adapter")
        >>> torch.equal(align.load("my-adapter").source(x), adapter.source(x))
        True
    """
    return _adapter(*files.read(folder_or_hub_id, revision=revision))


def _adapter(components: Components, card: Card) -> Adapter:
    return Adapter(card=card, **{f.name: getattr(components, f.name) for f in fields(components)})


def _have_directions(x: Tensor) -> bool:
    """Whether rows are surely finite and not zero, in one pass; the slow checks say which is not.

    The length of a row that holds NaN or infinity is no finite number. Squares that leave the range
    of float32 hide that a row is sound, never that it is not.
    """
    if len(x) == 0:
        return False
    shortest, longest = torch.linalg.vector_norm(x, dim=1).aminmax()
    return bool(shortest > 0) and bool(longest < math.inf)
