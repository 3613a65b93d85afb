import json
import sys
from types import ModuleType

import pytest

from align.fitting.training.logs import jsonl, tensorboard


def test_each_record_is_a_line_and_lines_are_kept(tmp_path):
    path = tmp_path / "new" / "log.jsonl"
    for step in (1, 2):
        jsonl(path)({"step": step, "loss": 0.5 / step})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]


def test_a_missing_tensorboard_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(
        ImportError, match=r"needs the package tensorboard.*pip install tensorboard"
    ):
        tensorboard(tmp_path)


def test_numbers_go_to_tensorboard_by_step(monkeypatch, tmp_path):
    written = []

    class SummaryWriter:
        def __init__(self, folder):
            written.append(folder)

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def flush(self):
            written.append("flush")

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    tensorboard(tmp_path)({"step": 3, "loss": 0.5, "temperature": 0.05})
    assert written == [tmp_path, ("loss", 0.5, 3), ("temperature", 0.05, 3), "flush"]
