"""Does the moment come out? Texts that find clips, and the second in them, by an encoder of photos.

    ISTHMUS_DATA=... python -m experiments.video [--quick]

Clips are made, not filmed: four photos of Flickr8k, each panned for one to three seconds, cut
together (``experiments.datasets.clips``). A query is the first caption of a photo; right is the
clip that holds it, and the shot. Photos of the clips that are searched are of ``dev`` and those of
training of ``train``. Three adapters of the same encoders are compared: of 6,000 photos and no
clip; of 480 captions with their photos; and of the same 480 captions with the clips that hold them.

A clip is one vector, the mean of its frames, or a vector for each frame and MaxSim; one frame is
its middle or one drawn from 16. All get the corrections that the adapter chose, frames as well as
means. Intervals (95 %) resample clips, with all their captions. The moment is judged in the right
clip: whether its best frame lies in the right shot, beside the share of its frames that do.
The record is ``experiments/results/video.json``, with a figure.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from align._files.cache import cache_folder
from align.adapters.adapter import Adapter
from align.data.embeddings import PairedEmbeddings
from align.data.multi_vector import MultiVector
from align.encoders.cache.store import EmbeddingStore
from align.encoders.spec import load_encoder
from align.encoders.video import VideoEncoder
from align.fitting.model_selection.fit import fit
from align.scoring.late_interaction import maxsim
from align.scoring.pair_scores import best_tokens
from experiments.datasets.clips import Clip, make_clips
from experiments.pages import markdown_table, percent
from experiments.record import RESULTS, read_record, write_record
from experiments.tasks import LITE0, MINILM, load_task, raw_task

SHOTS = 4
PHOTOS, FEW, CLIPS = "all photos", "photos of few clips", "few clips"
MEAN, FRAMES, MIDDLE, RANDOM = "mean of frames", "frames, MaxSim", "middle frame", "random frame"


@dataclass(frozen=True, slots=True)
class Config:
    """What is made and compared."""

    photos: int = 6000
    clips: int = 80
    training_clips: int = 120
    frames: tuple[int, ...] = (2, 4, 8, 16)
    scenes: tuple[int, ...] = (4,)
    training_frames: int = 4
    seed: int = 0
    resamples: int = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share in [0, 1] and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """One way to represent clips; the moment is none of one vector."""

    adapter: str
    system: str
    sampling: str
    frames: int
    recall_at_1: Estimate
    recall_at_10: Estimate
    moment: Estimate | None
    moment_chance: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """All lines, and what a random order gives."""

    queries: int
    chance_at_1: float
    chance_at_10: float
    lines: tuple[Line, ...]


def run(config: Config) -> Result:
    """Make the clips, encode what is new, and search."""
    folder = cache_folder() / "clips"
    store = EmbeddingStore(cache_folder() / "vectors-of-clips")
    task, raw = load_task("flickr8k"), raw_task("flickr8k")
    made = _clips(raw.gallery.target, folder / "dev", config.clips, seed=config.seed)
    few = config.training_clips * SHOTS
    trained = _clips(raw.pool.target, folder / "train", config.training_clips, seed=config.seed)
    image, text = load_encoder(LITE0), load_encoder(MINILM)

    def encoder(frames: int, sampling: str = "uniform") -> VideoEncoder:
        return VideoEncoder(image, frames=frames, sampling=sampling)  # type: ignore[arg-type]  # one of two

    photos = task.pool.take(range(few))
    of_clips = store.encode(encoder(config.training_frames), [clip.path for clip in trained])
    means = of_clips.repeat_interleave(SHOTS, dim=0)
    clips = [str(row // SHOTS) for row in range(few)]  # captions of one clip stay in one fold
    pairs = PairedEmbeddings(photos.source, means, photos.ids, tuple(clips))
    everything = task.pool.take(range(config.photos))
    adapters = {PHOTOS: fit(everything), FEW: fit(photos), CLIPS: fit(pairs)}

    queries = store.encode(text, raw.gallery.source[: config.clips * SHOTS])
    settings = [("uniform", n) for n in config.frames] + [("scenes", n) for n in config.scenes]
    paths = [clip.path for clip in made]
    lines = []
    single = store.encode_tokens(encoder(1), paths)
    most = store.encode_tokens(encoder(max(config.frames)), paths)
    drawn = _one_of_each(most, seed=config.seed)
    for name in (PHOTOS, FEW, CLIPS):
        adapter = adapters[name]
        for system, vectors in ((MIDDLE, single.tokens), (RANDOM, drawn)):
            scores = adapter.queries(queries) @ adapter.gallery(vectors).T
            lines.append(_line(config, name, system, "uniform", 1, scores, None))
        for sampling, n in settings if name == PHOTOS else [("uniform", 8)]:
            if n not in (*config.frames, *config.scenes):
                continue
            encoding = encoder(n, sampling)
            frames = store.encode_tokens(encoding, paths)
            pooled = F.normalize(torch.stack([each.mean(0) for each in frames]), dim=1)
            scores = adapter.queries(queries) @ adapter.gallery(pooled).T
            lines.append(_line(config, name, MEAN, sampling, n, scores, None))
            times = [encoding.frame_times(path) for path in paths]
            lines.append(
                _of_frames(config, name, adapter, queries, frames, times, made, sampling, n)
            )
    chance = 1 / config.clips
    return Result(len(queries), chance, min(10 * chance, 1.0), tuple(lines))


def _clips(photos: Sequence[Path], folder: Path, number: int, *, seed: int) -> list[Clip]:
    return make_clips(photos[: number * SHOTS], folder, shots=SHOTS, seed=seed)


def _one_of_each(frames: MultiVector, *, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    picked = [each[int(torch.randint(len(each), (1,), generator=generator))] for each in frames]
    return torch.stack(picked)


def _of_frames(
    config: Config,
    name: str,
    adapter: Adapter,
    queries: Tensor,
    frames: MultiVector,
    times: Sequence[Sequence[float]],
    clips: Sequence[Clip],
    sampling: str,
    n: int,
) -> Line:
    """A vector a frame: scores by MaxSim, and the shot of the best frame of the right clip."""
    asked = MultiVector.from_equal(adapter.queries(queries)[:, None])
    held = MultiVector(adapter.gallery(frames.tokens), frames.offsets)
    rows = [(query, query // SHOTS) for query in range(len(queries))]
    places = best_tokens(asked, held, rows).places.tolist()
    right, chance = [], []
    for (query, clip), place in zip(rows, places, strict=True):
        shot = clips[clip].shots[query % SHOTS]
        inside = [shot.start <= second < shot.stop for second in times[clip]]
        right.append(inside[place])
        chance.append(sum(inside) / len(inside))
    moment = (torch.tensor(right).float(), float(np.mean(chance)))
    return _line(config, name, FRAMES, sampling, n, maxsim(asked, held), moment)


def _line(
    config: Config,
    name: str,
    system: str,
    sampling: str,
    n: int,
    scores: Tensor,
    moment: tuple[Tensor, float] | None,
) -> Line:
    owner = torch.arange(len(scores)) // SHOTS
    own = scores[torch.arange(len(scores)), owner]
    ranks = (scores >= own[:, None]).sum(dim=1)  # ties count against the right clip
    shares = [_estimate(config, (ranks <= k).float()) for k in (1, 10)]
    found = None if moment is None else _estimate(config, moment[0])
    chance = None if moment is None else moment[1]
    return Line(name, system, sampling, n, *shares, found, chance)


def _estimate(config: Config, values: Tensor) -> Estimate:
    """The mean over queries, with an interval over resampled clips."""
    by_clip = values.view(-1, SHOTS).mean(dim=1).numpy()
    generator = np.random.default_rng(config.seed)
    drawn = generator.integers(len(by_clip), size=(config.resamples, len(by_clip)))
    low, high = np.quantile(by_clip[drawn].mean(axis=1), [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high))


HEADER = ("adapter of", "a clip is", "sampling", "frames", "R@1, %", "R@10, %", "right shot, %",
          "by chance, %")  # fmt: skip


def table() -> str:
    """Every line of the record, for a page."""
    try:
        return _table(read_record("video")["result"]["lines"])
    except FileNotFoundError:
        return "Not recorded yet."


def _table(lines: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for line in lines:
        chance = line["moment_chance"]
        rows.append([
            str(line["adapter"]), str(line["system"]), str(line["sampling"]), str(line["frames"]),
            percent(line["recall_at_1"]), percent(line["recall_at_10"]), percent(line["moment"]),
            f"{100 * chance:.1f}" if isinstance(chance, float) else "",
        ])  # fmt: skip
    return markdown_table(HEADER, rows)


def figure(result: Result, path: Path) -> None:
    """Recall at 1 against the number of frames, for the adapter of photos, as PNG."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(6.0, 3.8), layout="constrained")
    axes = drawn.add_subplot()
    mine = [each for each in result.lines if each.adapter == PHOTOS]
    middle = next(each for each in mine if each.system == MIDDLE)
    for system, mark in ((FRAMES, "o"), (MEAN, "s")):
        for sampling, style in (("uniform", "-"), ("scenes", "--")):
            lines = [x for x in mine if (x.system, x.sampling) == (system, sampling)]
            lines = [middle, *lines] if sampling == "uniform" else lines
            x = [each.frames for each in lines]
            value = [100 * each.recall_at_1.value for each in lines]
            around = [
                [100 * (each.recall_at_1.value - each.recall_at_1.low) for each in lines],
                [100 * (each.recall_at_1.high - each.recall_at_1.value) for each in lines],
            ]
            axes.errorbar(x, value, around, fmt=mark + style, capsize=2,
                          label=f"{system}, {sampling}")  # fmt: skip
    axes.axhline(100 * result.chance_at_1, color="grey", linewidth=1, label="chance")
    axes.set_xscale("log", base=2)
    axes.set_xlabel("frames of a clip")
    axes.set_ylabel("recall at 1, %")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    drawn.savefig(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print the table, write the record and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10 clips, and 8 frames at most")
    given = parser.parse_args(arguments)
    config = Config()
    if given.quick:
        config = Config(600, 10, 15, (8,), (4,), 2, resamples=200)
    result = run(config)
    print(_table(asdict(result)["lines"]))
    if not given.quick:
        figure(result, RESULTS / "video.png")
        print(write_record("video", config=asdict(config), result=asdict(result)))


if __name__ == "__main__":
    main()
