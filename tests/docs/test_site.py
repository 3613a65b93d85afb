"""The site names every public object once, and its navigation every page."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import align
import probes

ROOT = Path(__file__).parents[2]


def test_every_public_name_has_one_place_in_the_reference():
    text = "\n".join(page.read_text() for page in (ROOT / "docs/api").glob("*.md"))
    named = Counter(re.findall(r"^::: (\S+)$", text, re.MULTILINE))
    public = {f"align.{name}" for name in align.__all__ if name != "__version__"}
    public |= {f"probes.{name}" for name in probes.__all__}
    public |= {"align.light.load", "align.light.Adapter"}  # a module, imported by itself
    assert named == Counter(public)
