import pytest
import torch
import torch.nn.functional as F

from align.adapters.closed_form.csa import csa
from align.adapters.recipes.formulas import canonical
from align.adapters.recipes.moments import paired_moments, prepare


def test_the_score_is_the_published_formula(pairs):
    a, rho, b = canonical(paired_moments(*pairs), (1e-4, 1e-4))
    z = prepare(pairs[0])[1].double() @ a
    w = prepare(pairs[1])[1].double() @ b
    # s(x, y) = sum_i rho_i z_i w_i / (|z| |w|), for two pairs at a time.
    expected = F.normalize(z, dim=1) * rho @ F.normalize(w, dim=1).T
    adapter = csa(*pairs)
    found = adapter.source(pairs[0]) @ adapter.target(pairs[1]).T
    # prepare() gives unit rows; the map projects rows that are only centred: same directions.
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=0)


def test_both_sides_have_unit_norm_in_slots_of_their_own(pairs):
    adapter = csa(*pairs, dim=3)
    source, target = adapter.source(pairs[0]), adapter.target(pairs[1])
    assert adapter.dim == 5
    torch.testing.assert_close(source.norm(dim=1), torch.ones(80))
    assert (source[:, 4] == 0).all() and (target[:, 3] == 0).all()


def test_settings_out_of_range_are_refused(pairs):
    with pytest.raises(ValueError, match="ridge must be finite and at least 0; got -1"):
        csa(*pairs, ridge=-1.0)
    with pytest.raises(ValueError, match=r"dim must lie in \[1, 6\].*got 7"):
        csa(*pairs, dim=7)
