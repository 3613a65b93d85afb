"""Paired raw items, read from the files people have them in, with every bad row named."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from align._checks import as_list, check_length
from align._display.panel import render
from align.data import readers, validation
from align.data.panels import pairs_line, pairs_panel
from align.data.readers import PairsError, Table
from align.data.repeats import warn_of_repeats
from align.data.sides import SIDE_NAMES, SideNames, checked_side_names, side_names_of
from align.data.splits import names_of, row_index, take_split
from align.data.validation import Columns, OnError, spelled_alike, valid_pairs

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from pandas import DataFrame

    from align.data.embeddings import PairedEmbeddings
    from align.data.encoding import Cache, Encoder

__all__ = ["OnError", "Pairs", "PairsError"]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Raw items of two sides, row-matched.

    The readers share their arguments, which ``read`` describes. A column holds images if more than
    half of its filled cells end in .png, .jpg, .jpeg, .webp, .bmp, .gif, .tif or .tiff.

    Attributes:
        ids: ``n`` unique names.
        source: ``n`` items: texts, ``pathlib.Path`` of image files, or any objects.
        target: ``n`` items.
        groups: ``n`` group names.
        skipped: One line for each row that the reader dropped.
        source_modality: ``n`` names of modalities, or ``None`` if unknown.
        target_modality: The same of the targets.
        instructions: ``n`` texts that say what to look for, such as ``"find the picture"``, ``""``
            for none; ``None`` where no pair has any.
        side_names: What people call the sides: the names of the two columns that were read.

    Examples:
        >>> import align
        >>> english, french = ["a red dog", "a blue bird"], ["un chien rouge", "un oiseau bleu"]
        >>> pairs = align.Pairs.from_lists(english, french)
        >>> pairs.ids, pairs.target[1]
        (('0', '1'), 'un oiseau bleu')
    """

    ids: tuple[str, ...]
    source: tuple[Any, ...]
    target: tuple[Any, ...]
    groups: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    source_modality: tuple[str, ...] | None = None
    target_modality: tuple[str, ...] | None = None
    instructions: tuple[str, ...] | None = None
    side_names: SideNames = SIDE_NAMES

    def __post_init__(self) -> None:
        checked_side_names(self.side_names)
        validation.check_rows(self)

    @classmethod
    def from_lists(
        cls,
        source: Sequence[Any],
        target: Sequence[Any],
        *,
        ids: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
        source_modality: Sequence[str] | None = None,
        target_modality: Sequence[str] | None = None,
        instructions: Sequence[str] | None = None,
        side_names: Sequence[str] = SIDE_NAMES,
    ) -> Self:
        """Pair two lists; ids are ``"0"``, ``"1"``, ... and each pair its own group by default.

        Raises:
            ValueError: Lengths differ, ids repeat, or a modality has no such name.
            PairsError: A text is blank or a path leads to no file.
        """
        source, target = as_list("source", source), as_list("target", target)
        check_length("target", target, len(source))
        validation.check_items(source, target)
        names = names_of("ids", ids if ids is not None else range(len(source)))
        return cls(
            names,
            tuple(source),
            tuple(target),
            names_of("groups", groups) if groups is not None else names,
            source_modality=None if source_modality is None else spelled_alike(source_modality),
            target_modality=None if target_modality is None else spelled_alike(target_modality),
            instructions=None if instructions is None else tuple(instructions),
            side_names=checked_side_names(side_names),
        )

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        *,
        source: str,
        target: str,
        id: str | None = None,
        group: str | None = None,
        source_modality: str | None = None,
        target_modality: str | None = None,
        instruction: str | None = None,
        images: Collection[str] | None = None,
        on_error: OnError = "raise",
    ) -> Self:
        """Read the UTF-8 CSV at ``path``, whose first line names the columns; else as ``read``.

        Raises:
            PairsError: The file is malformed, a column is not there, or rows are bad.
            FileNotFoundError: There is no such file.
        """
        columns = Columns(source, target, id, group, source_modality, target_modality, instruction)
        return cls._from_table(
            readers.read_csv(Path(path), delimiter=","), columns, images, on_error
        )

    @classmethod
    def from_tsv(
        cls,
        path: str | Path,
        *,
        source: str,
        target: str,
        id: str | None = None,
        group: str | None = None,
        source_modality: str | None = None,
        target_modality: str | None = None,
        instruction: str | None = None,
        images: Collection[str] | None = None,
        on_error: OnError = "raise",
    ) -> Self:
        """Read the tab-separated file at ``path``, quoted as CSV is; else as ``read``."""
        columns = Columns(source, target, id, group, source_modality, target_modality, instruction)
        return cls._from_table(
            readers.read_csv(Path(path), delimiter="\t"), columns, images, on_error
        )

    @classmethod
    def from_jsonl(
        cls,
        path: str | Path,
        *,
        source: str,
        target: str,
        id: str | None = None,
        group: str | None = None,
        source_modality: str | None = None,
        target_modality: str | None = None,
        instruction: str | None = None,
        images: Collection[str] | None = None,
        on_error: OnError = "raise",
    ) -> Self:
        """Read one JSON object per line of ``path``, gzipped if it ends in .gz; as ``read``."""
        columns = Columns(source, target, id, group, source_modality, target_modality, instruction)
        return cls._from_table(readers.read_jsonl(Path(path)), columns, images, on_error)

    @classmethod
    def from_parquet(
        cls,
        path: str | Path,
        *,
        source: str,
        target: str,
        id: str | None = None,
        group: str | None = None,
        source_modality: str | None = None,
        target_modality: str | None = None,
        instruction: str | None = None,
        images: Collection[str] | None = None,
        on_error: OnError = "raise",
    ) -> Self:
        """Read the Parquet file at ``path``; as ``read``.

        Raises:
            ImportError: pyarrow is not installed.
        """
        columns = Columns(source, target, id, group, source_modality, target_modality, instruction)
        return cls._from_table(
            readers.read_parquet(Path(path), columns.to_read),
            columns,
            images,
            on_error,
        )

    @classmethod
    def from_pandas(
        cls,
        frame: DataFrame,
        *,
        source: str,
        target: str,
        id: str | None = None,
        group: str | None = None,
        source_modality: str | None = None,
        target_modality: str | None = None,
        instruction: str | None = None,
        images: Collection[str] | None = None,
        folder: str | Path = ".",
        on_error: OnError = "raise",
    ) -> Self:
        """The rows of a data frame; as ``read``, and messages name rows by the index.

        Without ``id`` the labels of the index are the ids, ``"0"``, ``"1"``, ... by default. Cells
        may also be ``pathlib.Path`` of image files, or pictures of Pillow. A relative path is one
        in ``folder``, or else in the working directory.

        Raises:
            TypeError: ``frame`` is no data frame of pandas.
            ValueError: The index repeats a label, or lacks one.
            PairsError: A column is not there, or rows are bad.
        """
        from align.data.frames import read_frame

        columns = Columns(source, target, id, group, source_modality, target_modality, instruction)
        return cls._from_table(read_frame(frame, Path(folder)), columns, images, on_error)

    @classmethod
    def from_folder(cls, folder: str | Path, *, on_error: OnError = "raise") -> Self:
        """Read images and the captions beside them: source is the caption, target the image.

        ``photo.jpg`` is described by ``photo.txt``, one caption per line. Captions of one image
        share a group, its path in ``folder``. Folders inside are searched too.

        Raises:
            PairsError: An image has no captions, a ``.txt`` no image, or an image is unreadable.
            NotADirectoryError: ``folder`` is not a folder.
        """
        columns = Columns("caption", "image", "id", "image")
        return cls._from_table(readers.read_folder(Path(folder)), columns, ["image"], on_error)

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        source: str,
        target: str,
        id: str | None = None,
        group: str | None = None,
        source_modality: str | None = None,
        target_modality: str | None = None,
        instruction: str | None = None,
        images: Collection[str] | None = None,
        on_error: OnError = "raise",
    ) -> Self:
        """Read by the suffix of ``path``: .csv, .tsv, .jsonl, .jsonl.gz, .parquet, or a folder.

        A folder is read as by ``from_folder``, and its columns are called caption and image.

        A row is bad if a cell is empty or not text, an image is missing or unreadable, an id
        occurred before, or the row itself is malformed.

        Args:
            path: The file or folder. Image paths in its cells are relative to its folder.
            source: Column of the source items; or several with ``+`` between them, such as
                ``"title+photo"``, for items of these parts, of which some cells may be empty.
            target: The same of the target items.
            id: Column of unique names; without one, they are ``"0"``, ``"1"``, ... over the rows
                of the file, bad ones included.
            group: Column of groups; every pair is its own group if left out. Pairs of one group
                never straddle a split, and count as matches of each other. Where one image has
                several captions, name the image column.
            source_modality: Column that names the modality of each source, for a side of several
                kinds of item: cells of modality image are paths and all others texts.
            target_modality: The same of the targets.
            instruction: Column of what to look for, beside the source; an empty cell is nothing.
            images: Which of these columns hold image paths, ``[]`` for none; by default those
                where more than half of the filled cells end like pictures. Refused beside columns
                of modalities. Headers are checked, and pixels decoded only when encoded.
            on_error: ``"raise"`` reports all bad rows in one error; ``"skip"`` drops them, logs a
                warning, and lists them in ``skipped``.

        Raises:
            ValueError: The suffix is another.
            PairsError: The file is malformed, a column is not there, or rows are bad.
            FileNotFoundError: There is no such file or folder.
        """
        path = Path(path)
        columns = Columns(source, target, id, group, source_modality, target_modality, instruction)
        if path.is_dir():
            columns = replace(columns, id=id or "id", group=group or "image")
            table, images = readers.read_folder(path), ["image"]
        else:
            table = readers.read_table(path, columns.to_read)
        return cls._from_table(table, columns, images, on_error)

    @classmethod
    def _from_table(
        cls, table: Table, columns: Columns, images: Collection[str] | None, on_error: OnError
    ) -> Self:
        good, bad = valid_pairs(table, columns, images, on_error)

        def values(name: str, column: str | None = "") -> Any:
            return None if column is None else tuple(getattr(pair, name) for pair in good)

        ids, source, target, groups = map(values, ("id", "source", "target", "group"))
        return cls(
            ids, source, target, groups, tuple(bad),
            values("source_modality", columns.source_modality),
            values("target_modality", columns.target_modality),
            values("instruction", columns.instruction),
            side_names_of(columns.source, columns.target),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return pairs_line(self)

    def _repr_html_(self) -> str:
        return render(pairs_panel(self))

    def take(self, rows: ArrayLike) -> Self:
        """The pairs at ``rows``, in that order; rows may not repeat. ``skipped`` is left behind."""
        picked = row_index(rows, len(self)).tolist()

        def at(values: tuple[Any, ...] | None) -> Any:
            return None if values is None else tuple(values[row] for row in picked)

        by_row = (each.name for each in fields(self) if each.name not in ("skipped", "side_names"))
        picks = {name: at(getattr(self, name)) for name in by_row}
        return type(self)(**picks, side_names=self.side_names)

    def split(self, *, test: float, val: float = 0.0, seed: int = 0) -> tuple[Self, ...]:
        """``(train, test)``, or ``(train, val, test)`` if ``val`` > 0; groups stay whole.

        The rows, errors and warning are those of ``PairedEmbeddings.split``.
        """
        warn_of_repeats((self.source, self.target), self.groups, "split", stacklevel=2)
        return take_split(self, self.groups, test=test, val=val, seed=seed)

    def encode(
        self,
        source_encoder: Encoder,
        target_encoder: Encoder,
        *,
        instruction_encoder: Encoder | None = None,
        store: Cache | None = None,
        progress: bool | None = None,
    ) -> PairedEmbeddings:
        """Encode both sides and the instructions, each distinct item once if there is a ``store``.

        Instructions go through ``instruction_encoder``, or else through ``source_encoder``, each
        distinct one once; targets through ``target_encoder``. ``progress`` draws a bar per
        side, by default in a terminal or notebook.

        Raises:
            ValueError: An image encoder would get texts, or a text encoder files; a
                ``MixedEncoder`` lacks the modalities; or the instructions would go to an encoder
                that takes no text.
        """
        from align.data.encoding import encode_pairs

        return encode_pairs(
            self, source_encoder, target_encoder,
            instruction_encoder=instruction_encoder, store=store, progress=progress,
        )  # fmt: skip

    def to_pandas(self) -> DataFrame:
        """One row per pair: both sides under ``side_names``, the group, and the index its ids.

        Modalities and instructions are columns where they are known. Read it back with
        ``Pairs.from_pandas(frame, source=..., target=..., group="group")``.

        Raises:
            ImportError: pandas is not installed.
            PairsError: A side is called as another column, such as group.
        """
        from align.data.frames import to_frame

        return to_frame(self)

    def to_csv(self, path: str | Path) -> None:
        """Write a CSV for ``Pairs.from_csv`` and the command line, whole or not at all.

        Columns are ``id``, both ``side_names``, ``group``, and what else is known. Pictures in the
        folder of the CSV are named from there, others by their whole path. Texts stay as they are,
        to be read back the same: a spreadsheet takes one that begins with ``=`` for a formula.

        Raises:
            PairsError: A side is called as another column, such as group.
            TypeError: An item is neither a text nor a path.
            ValueError: The name does not end in ``.csv``.
        """
        from align.data.writers import write_csv

        write_csv(self, Path(path))
