"""Frozen encoders of videos: an encoder of pictures, on some of their frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, get_args
from urllib.parse import urlencode

import torch
import torch.nn.functional as F
from torch import Tensor

from align._checks import check_at_least, check_one_of
from align._display.lines import changed_fields, one_line
from align._display.panel import render
from align._display.parts import Panel
from align.data.encoding import Encoder, JoinedEncoder, spec_of
from align.data.multi_vector import MultiVector
from align.data.videos import Sampling, frame_times, sampled_frames
from align.encoders.batches import checked_items, run_batches
from align.encoders.panels import encoder_words
from align.encoders.pretrained.weights import fingerprint

VideoPooling = Literal["mean", "tokens"]


@dataclass(frozen=True, eq=False)
class VideoEncoder:
    """One vector for each video, or one for each of some frames, by a frozen encoder of pictures.

    Items are paths of video files (MP4, MOV, Matroska, WebM, AVI), decoded by PyAV, which
    ``pip install 'isthmus[video]'`` brings. An adapter that was fitted on pictures of
    ``image_encoder`` takes videos too, since a frame is a picture: no pair of a text and a video
    is needed.

    Attributes:
        image_encoder: Encodes the frames.
        frames: Frames of each video, at most; a video with fewer gives all that it has.
        sampling: ``"uniform"``, the middles of equal spans of time, or ``"scenes"``, the middles
            of scenes; see ``align.data.videos``.
        pooling: What a ``Retriever`` stores of a video: ``"mean"``, the vector of ``encode``; or
            ``"tokens"``, one vector a frame, so that a search finds the best frame and a hit says
            at which ``second`` it is shown.

    Raises:
        TypeError: ``image_encoder`` encodes no pictures.
        ValueError: An option is out of range.

    Examples:
        >>> import align
        >>> clips = align.VideoEncoder(align.load_encoder("image:efficientnet-lite0"), frames=4)
        >>> clips.dim, clips.spec
        (1280, 'video?frames=4:image:efficientnet-lite0')
    """

    modality: ClassVar[str] = "video"

    image_encoder: Encoder
    _: KW_ONLY
    frames: int = 8
    sampling: Sampling = "uniform"
    pooling: VideoPooling = "mean"

    def __post_init__(self) -> None:
        kind = getattr(self.image_encoder, "modality", None)
        if kind != "image":
            raise TypeError(
                "frames need an encoder of pictures; got one of modality "
                f"{kind!r}, a {type(self.image_encoder).__name__}. Pass an ImageEncoder."
            )
        check_at_least("frames", self.frames, 1)
        check_one_of("sampling", self.sampling, get_args(Sampling), "Use uniform if in doubt.")
        check_one_of("pooling", self.pooling, get_args(VideoPooling), "Use mean if in doubt.")

    def __repr__(self) -> str:
        options = [each for each in changed_fields(self) if not each.startswith("image_encoder")]
        return one_line("VideoEncoder", encoder_words(self.image_encoder), *options)

    def _repr_html_(self) -> str:
        facts = {
            "frames": self.frames,
            "sampling": self.sampling,
            "pooling": self.pooling,
            "encoder of frames": encoder_words(self.image_encoder),
        }
        return render(Panel("VideoEncoder", facts=dict(facts)))

    @property
    def dim(self) -> int:
        """Width of the vectors, that of the encoder of frames."""
        return self.image_encoder.dim

    @property
    def token_dim(self) -> int:
        """Width of the vectors of frames, the same."""
        return self.dim

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the encoder of frames, their number and sampling.

        Not with ``pooling``, which chooses between vectors that are the same either way.
        """
        parts = {"frames": self.frames, "image": self.image_encoder.fingerprint}
        return fingerprint(self.modality, "frames", self.sampling, parts)

    @property
    def spec(self) -> str | None:
        """How to build it again, for ``load_encoder``; ``None`` where the frames' has no name."""
        inner = spec_of(self.image_encoder)
        composite = isinstance(self.image_encoder, JoinedEncoder)
        if inner is None or composite or not inner.startswith("image:"):
            return None
        given = {"frames": self.frames, "sampling": self.sampling, "pooling": self.pooling}
        defaults = {"frames": 8, "sampling": "uniform", "pooling": "mean"}
        chosen = {name: value for name, value in given.items() if value != defaults[name]}
        return f"video{'?' if chosen else ''}{urlencode(chosen)}:{inner}"

    def encode(self, items: Sequence[str | Path], *, progress: bool | None = None) -> Tensor:
        """The mean of the unit-norm vectors of the frames of each video, of unit norm itself.

        Args:
            items: ``n`` paths, at least one.
            progress: Whether to draw a progress bar; by default in a terminal or notebook.

        Returns:
            ``(n, dim)`` float32 on the CPU.

        Raises:
            TypeError: An item is no path.
            ValueError: There are no items, or a file is no video within the limits of
                ``align.data.videos``.
            ModuleNotFoundError: PyAV is not installed.
        """
        means = [frames.mean(dim=0) for frames in self.encode_tokens(items, progress=progress)]
        return F.normalize(torch.stack(means), dim=1)

    def encode_tokens(
        self, items: Sequence[str | Path], *, progress: bool | None = None
    ) -> MultiVector:
        """The unit-norm vectors of the frames of each video, in order; errors as ``encode``'s."""

        def forward(paths: list[str | Path], rows: list[int]) -> list[Tensor]:
            taken = sampled_frames(paths[0], frames=self.frames, sampling=self.sampling)
            pictures = [frame.picture for frame in taken]
            return [F.normalize(self.image_encoder.encode(pictures, progress=False), dim=1)]

        listed = checked_items(items, (str, Path), "the path of a video")
        made = run_batches(listed, forward, batch_size=1, progress=progress, label="video")
        return MultiVector.pack(made)

    def frame_times(self, item: str | Path) -> list[float]:
        """The second, from the first frame of a video, of each vector of ``encode_tokens``."""
        return frame_times(item, frames=self.frames, sampling=self.sampling)
