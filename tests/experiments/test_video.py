"""Clips of four shots: which clip is found, in which shot, and what the page says of it."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from align.data.multi_vector import MultiVector
from experiments import video
from experiments.video import SHOTS, Config, Result, _line, _one_of_each

QUERIES = 3 * SHOTS


def line(scores, moment=None):
    return _line(Config(), "photos", video.FRAMES, "uniform", 8, scores, moment)


def test_each_query_is_ranked_among_the_clips_and_ties_count_against_its_own():
    scores = torch.zeros(QUERIES, 3)
    assert line(scores).recall_at_1.value == 0 and line(scores).recall_at_10.value == 1
    scores[torch.arange(QUERIES), torch.arange(QUERIES) // SHOTS] = 1
    found = line(scores)
    assert (found.recall_at_1.value, found.recall_at_1.low, found.recall_at_1.high) == (1, 1, 1)
    assert found.moment is None and found.moment_chance is None


def test_intervals_resample_clips_with_all_their_captions():
    scores = torch.zeros(QUERIES, 3)
    scores[:SHOTS, 0] = 1  # one clip of three is found, by all of its captions
    found = line(scores, (torch.ones(QUERIES), 0.25)).recall_at_1
    assert found.value == pytest.approx(1 / 3) and (found.low, found.high) == (0, 1)


def test_one_frame_of_each_clip_is_drawn_and_the_same_again():
    frames = MultiVector.from_equal(torch.arange(24.0).view(4, 6, 1))
    drawn = _one_of_each(frames, seed=0)
    assert torch.equal(drawn, _one_of_each(frames, seed=0))
    assert [int(value) // 6 for value in drawn[:, 0]] == [0, 1, 2, 3]


def test_the_page_and_the_figure_show_every_line(monkeypatch, tmp_path):
    scores = torch.eye(3).repeat_interleave(SHOTS, dim=0)
    lines = [line(scores, (torch.ones(QUERIES), 0.25))]
    middle = _line(Config(), video.PHOTOS, video.MIDDLE, "uniform", 1, scores, None)
    result = Result(QUERIES, 1 / 3, 1.0, (*lines, middle))
    content = json.loads(json.dumps({"result": dataclasses.asdict(result)}))
    monkeypatch.setattr(video, "read_record", lambda name: content)
    rows = video.table().splitlines()
    assert len(rows) == 4 and "| 100.0 [100.0, 100.0] | 25.0 |" in rows[2]
    assert rows[3].endswith("|  |  |")
    video.figure(result, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
