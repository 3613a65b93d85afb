"""Files of tensors: what is said where the system takes one away while it is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from align._files import tensors

AGAIN = "Save it again."


def saved(folder: Path) -> Path:
    path = folder / "rows.safetensors"
    tensors.save({"rows": torch.arange(6.0).reshape(2, 3)}, path, {})
    return path


def test_a_file_moved_away_between_the_two_opens_of_safetensors_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, from_file = saved(tmp_path), torch.UntypedStorage.from_file

    def moved_away(*arguments: object, **named: object) -> object:
        path.rename(tmp_path / "elsewhere")
        return from_file(*arguments, **named)

    monkeypatch.setattr(torch.UntypedStorage, "from_file", moved_away)
    with pytest.raises(FileNotFoundError, match="must be readable; the system says: No such file"):
        tensors.open_tensors(path, again=AGAIN)
    assert (tmp_path / "elsewhere").exists()


def test_a_file_cut_between_the_two_opens_of_safetensors_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, from_file = saved(tmp_path), torch.UntypedStorage.from_file

    def cut(*arguments: object, **named: object) -> object:
        path.write_bytes(path.read_bytes()[:40])
        return from_file(*arguments, **named)

    monkeypatch.setattr(torch.UntypedStorage, "from_file", cut)
    with pytest.raises(ValueError, match=r"must be a whole safetensors file.*Save it again"):
        tensors.open_tensors(path, again=AGAIN)
