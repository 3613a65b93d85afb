"""Frames of clips whose shots and times are planted."""

import pytest

pytest.importorskip("av", reason="videos need PyAV: pip install 'isthmus[video]'")

import align.data.videos as videos
from align.data.videos import frame_at, frame_times, sampled_frames, scene_frames, video_problem
from tests.data.clips import BLUE, GREEN, RED, write_clip, write_sound

SHOTS = [(RED, 10), (GREEN, 20), (BLUE, 10)]


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "clip.mp4", SHOTS)


def colour(picture):
    return max(range(3), key=lambda channel: picture.getpixel((9, 9))[channel])


def test_uniform_frames_of_a_clip_of_four_seconds_are_in_the_middles_of_its_quarters(clip):
    assert frame_times(clip, frames=4) == pytest.approx([0.5, 1.5, 2.5, 3.5])
    taken = sampled_frames(clip, frames=4)
    assert [frame.second for frame in taken] == pytest.approx([0.5, 1.5, 2.5, 3.5])
    assert [colour(frame.picture) for frame in taken] == [0, 1, 1, 2]


def test_scenes_are_cut_where_the_two_planted_cuts_are(clip):
    times = frame_times(clip, frames=3, sampling="scenes")
    assert times == pytest.approx([0.5, 2.0, 3.5])
    taken = sampled_frames(clip, frames=3, sampling="scenes")
    assert [colour(frame.picture) for frame in taken] == [0, 1, 2]


def test_further_frames_go_to_the_longest_scene():
    times = [float(second) for second in range(8)]
    changes = [0, 0, 1, 0, 0, 0, 0, 0]
    assert scene_frames(times, changes, 2) == [1, 5]
    assert scene_frames(times, changes, 3) == [1, 3, 6]


def test_of_equal_cuts_the_earlier_counts_and_of_small_changes_none():
    times = [float(second) for second in range(6)]
    assert scene_frames(times, [0, 0, 1, 0, 1, 0], 2) == [1, 4]
    assert scene_frames(times, [0, 0.2, 0.2, 0, 0, 0], 2) == [1, 4]  # halves of one scene


def test_frames_are_as_often_as_time_goes_by_where_the_rate_varies(tmp_path):
    ticks = [*range(10), *range(10, 50, 10), *range(50, 60)]  # ten frames, four seconds, ten frames
    clip = write_clip(tmp_path / "vfr.mkv", [(RED, 10), (GREEN, 4), (BLUE, 10)], ticks=ticks)
    shown = [colour(frame.picture) for frame in sampled_frames(clip, frames=6)]
    assert shown == [0, 1, 1, 1, 1, 2]


def test_seconds_count_from_the_first_frame_wherever_timestamps_begin(tmp_path):
    ticks = [37 + each for each in range(20)]
    clip = write_clip(tmp_path / "late.mkv", [(RED, 20)], ticks=ticks)
    assert frame_times(clip, frames=2) == pytest.approx([0.5, 1.5])


def test_a_clip_of_one_frame_gives_one_and_no_more(tmp_path):
    clip = write_clip(tmp_path / "one.mp4", [(RED, 1)])
    assert frame_times(clip, frames=8) == [0.0]


def test_what_is_shown_at_a_second_is_found(clip):
    assert [colour(frame_at(clip, second)) for second in (0.0, 0.95, 1.0, 2.9, 3.0, 99.0)] == [
        0, 0, 1, 1, 2, 2,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"#EXTM3U\n#EXTINF:1\nhttp://example.invalid/a.ts\n", "begins as none of them does"),
        (b"\0\0\0\x18ftypisom" + bytes(500), "gave "),
    ],
)
def test_what_is_no_video_is_refused_by_its_name(tmp_path, content, message):
    file = tmp_path / "holiday.mp4"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"holiday\.mp4' {message}"):
        sampled_frames(file, frames=2)
    assert video_problem(file).startswith("is unreadable")


def test_a_file_of_sound_alone_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"song\.mp4' has no video stream"):
        sampled_frames(write_sound(tmp_path / "song.mp4"), frames=2)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
def test_a_file_that_is_cut_off_is_refused(tmp_path, ending):
    file = write_clip(tmp_path / f"cut.{ending}", [(RED, 100), (GREEN, 100), (BLUE, 100)])
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    with pytest.raises(ValueError, match=rf"cut\.{ending}'"):
        sampled_frames(file, frames=2)


@pytest.mark.parametrize(
    ("limit", "most", "came"),
    [
        ("MOST_FRAMES", 30, "more than 30 frames"),
        ("MOST_SECONDS", 2.0, "more than 2 seconds"),
        ("MOST_PIXELS", 64 * 48 - 1, "frames of 64 x 48"),
        ("MOST_BYTES", 100, "bytes"),
    ],
)
def test_what_costs_too_much_is_refused(clip, monkeypatch, limit, most, came):
    monkeypatch.setattr(videos, limit, most)
    with pytest.raises(ValueError, match=rf"may have at most .*clip\.mp4' has .*{came}"):
        sampled_frames(clip, frames=2)


def test_a_missing_file_is_named(tmp_path):
    assert video_problem(tmp_path / "none.mp4") == "is missing"
    with pytest.raises(ValueError, match=r"none\.mp4"):
        sampled_frames(tmp_path / "none.mp4", frames=2)
