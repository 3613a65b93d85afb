import weakref

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from align.data.multi_vector import MultiVector
from align.scoring import fde as fde_module
from align.scoring.fde import FDE
from align.scoring.kernels import reference
from align.scoring.topk import nearest


def ragged(count, d, rng, low=1, high=12):
    lengths = torch.randint(low, high + 1, (count,), generator=rng).tolist()
    return MultiVector.pack([torch.randn(length, d, generator=rng) for length in lengths])


def scores(fde, queries, documents):
    return fde.queries(queries) @ fde.documents(documents).T


@pytest.mark.parametrize("repetitions", [1, 3])
def test_without_bits_it_is_the_sum_of_a_query_and_the_mean_of_a_document(rng, repetitions):
    queries, documents = ragged(4, 8, rng), ragged(6, 8, rng)
    sums = torch.stack([query.sum(0) for query in queries])
    means = torch.stack([document.mean(0) for document in documents])
    fde = FDE(8, repetitions, bits=0)
    assert fde.width == repetitions * 8
    torch.testing.assert_close(fde.queries(queries), sums.repeat(1, repetitions) / repetitions)
    torch.testing.assert_close(fde.documents(documents), means.repeat(1, repetitions))
    torch.testing.assert_close(scores(fde, queries, documents), sums @ means.T)


@pytest.mark.parametrize("bits", [0, 1, 5])
def test_documents_of_one_token_score_exactly_their_maxsim(rng, bits):
    queries, documents = ragged(5, 16, rng), ragged(7, 16, rng, high=1)
    exact = reference.maxsim(queries, documents)
    torch.testing.assert_close(scores(FDE(16, 4, bits), queries, documents), exact)


def test_a_document_token_of_its_own_bucket_meets_the_query_token_in_it():
    # Opposite tokens lie on different sides of any hyperplane, so no bucket mixes the two.
    tokens = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])
    both = MultiVector.pack([tokens])
    assert scores(FDE(2, 3, 1), both, both).item() == pytest.approx(10.0)
    assert scores(FDE(2, 3, 0), both, both).item() == pytest.approx(0.0)


@pytest.mark.parametrize("bits", [0, 2, 6])
def test_without_a_projection_it_never_exceeds_maxsim(rng, bits):
    queries, documents = ragged(20, 6, rng), ragged(30, 6, rng)
    found = scores(FDE(6, 2, bits), queries, documents)
    assert (found <= reference.maxsim(queries, documents) + 1e-4).all()


def by_hand(fde, items, signs, planes, side):
    """The definition token by token, codes as strings of bits."""
    buckets = [format(k, f"0{fde.bits}b")[::-1] for k in range(2**fde.bits)]
    rows = []
    for tokens in items:
        row = []
        for r in range(fde.repetitions):
            g = planes[:, r * fde.bits : (r + 1) * fde.bits]
            codes = ["".join("1" if x > 0 else "0" for x in token @ g) for token in tokens]
            s = signs[:, r * fde.projection : (r + 1) * fde.projection]
            for bucket in buckets:
                apart = [sum(x != y for x, y in zip(code, bucket, strict=True)) for code in codes]
                near = min(apart) if side == "document" else 0
                chosen = [t @ s for t, far in zip(tokens, apart, strict=True) if far == near]
                total = sum(chosen, torch.zeros(fde.projection))
                row.append(total / (len(chosen) if side == "document" else fde.repetitions))
        rows.append(torch.cat(row))
    return torch.stack(rows)


@pytest.mark.parametrize("bytes_", [1, 20_000, 64 << 20])
def test_buckets_are_summed_averaged_and_filled_as_by_hand(rng, monkeypatch, bytes_):
    monkeypatch.setattr(fde_module, "_BYTES", bytes_)
    fde = FDE(5, 3, bits=3, projection=4, seed=7)
    items = ragged(9, 5, rng)
    draws = fde._draw(torch.device("cpu"))
    assert sorted(set(draws.signs.flatten().tolist())) == [-0.5, 0.5]
    document = by_hand(fde, items, draws.signs, draws.planes, "document")
    query = by_hand(fde, items, draws.signs, draws.planes, "query")
    assert (query == 0).any() and not (document == 0).any()
    torch.testing.assert_close(fde.documents(items), document)
    torch.testing.assert_close(fde.queries(items), query)


def test_a_projection_is_right_on_average_over_seeds(rng):
    items = ragged(1, 12, rng, low=3)
    plain = scores(FDE(12, 1, 0), items, items).item()
    drawn = torch.stack(
        [scores(FDE(12, 1, 0, projection=6, seed=s), items, items) for s in range(400)]
    )
    error = drawn.std() / 20
    assert abs(drawn.mean() - plain) < 4 * error < abs(plain) / 2


def clustered(rng, count=600, d=32):
    """Documents of tokens around four of 60 topics, and queries like tokens of one document."""
    topics = F.normalize(torch.randn(60, d, generator=rng), dim=1)
    documents = []
    lengths = torch.randint(4, 24, (count,), generator=rng)
    for number in range(count):
        own = torch.randint(60, (4,), generator=rng)
        picked = own[torch.randint(4, (int(lengths[number]),), generator=rng)]
        noise = torch.randn(len(picked), d, generator=rng) / d**0.5
        documents.append(F.normalize(topics[picked] + noise, dim=1))
    queries = []
    for document in documents[:20]:
        picked = document[torch.randint(len(document), (8,), generator=rng)]
        noise = torch.randn(8, d, generator=rng) / d**0.5
        queries.append(F.normalize(picked + 0.5 * noise, dim=1))
    return MultiVector.pack(queries), MultiVector.pack(documents)


def found_of(exact, fde, queries, documents):
    found = nearest(fde.queries(queries), fde.documents(documents), k=100).indices
    return (exact[:, :, None] == found[:, None]).any(2).float().mean().item()


def test_its_top_hundred_holds_nearly_all_of_the_exact_top_ten(rng):
    queries, documents = clustered(rng)
    exact = reference.maxsim(queries, documents).topk(10).indices
    found = found_of(exact, FDE(32, 20, 4), queries, documents)
    assert found > 0.95
    assert found > found_of(exact, FDE(32, 1, 0), queries, documents) + 0.05
    assert found_of(exact, FDE(32, 20, 4, projection=8), queries, documents) > 0.8


def test_the_order_of_tokens_is_immaterial(rng):
    items = ragged(10, 6, rng, low=2)
    mixed = MultiVector.pack([item[torch.randperm(len(item), generator=rng)] for item in items])
    fde = FDE(6, 3, 4, projection=3)
    assert not torch.equal(mixed.tokens, items.tokens)
    torch.testing.assert_close(fde.documents(mixed), fde.documents(items))
    torch.testing.assert_close(fde.queries(mixed), fde.queries(items))


def test_each_item_is_encoded_by_itself(rng):
    items = ragged(10, 6, rng)
    fde = FDE(6, 3, 4)
    alone = torch.cat([fde.documents(items[row : row + 1]) for row in range(10)])
    torch.testing.assert_close(alone, fde.documents(items))


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int8], ids=str
)
def test_tokens_count_as_what_they_stand_for(rng, dtype):
    items = ragged(20, 6, rng)
    items = items.quantized() if dtype == torch.int8 else items.to(dtype=dtype)
    fde = FDE(6, 3, 4, projection=4)
    encoded = fde.documents(items)
    assert encoded.dtype == torch.float32
    assert torch.equal(encoded, fde.documents(items.to(dtype=torch.float32)))
    assert torch.equal(fde.queries(items), fde.queries(items.to(dtype=torch.float32)))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("at_a_time", [1, 3, 64])
def test_tokens_on_a_hyperplane_lie_on_the_side_that_float64_says(at_a_time, threads, rng):
    fde = FDE(64, 4, bits=3)
    planes = fde._draw(torch.device("cpu")).planes
    tokens = torch.randn(64, 64, generator=rng)
    # Each token is moved onto one plane, so that what is left of the product is its rounding.
    plane = planes[:, torch.arange(64) % 12].double().T
    inside = (tokens.double() * plane).sum(1, keepdim=True) / plane.square().sum(1, keepdim=True)
    tokens = (tokens.double() - inside * plane).float()
    exact = tokens.double() @ planes.double() > 0
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = [fde_module._above(some, planes) for some in torch.split(tokens, at_a_time)]
    finally:
        torch.set_num_threads(before)
    assert torch.cat(found).equal(exact)
    assert not (tokens @ planes > 0).equal(exact)


def test_the_seed_decides_and_the_global_state_does_not(rng):
    items = ragged(4, 6, rng)
    before = torch.random.get_rng_state()
    first = FDE(6, 2, 3, 4, seed=1).documents(items)
    torch.manual_seed(5)
    assert torch.equal(FDE(6, 2, 3, 4, seed=1).documents(items), first)
    assert not torch.allclose(FDE(6, 2, 3, 4, seed=2).documents(items), first)
    torch.random.set_rng_state(before)
    FDE(6, 2, 3, 4).documents(items)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_repetitions_differ(rng):
    encoded = FDE(6, 2, 3).documents(ragged(4, 6, rng)).view(4, 2, -1)
    assert not torch.allclose(encoded[:, 0], encoded[:, 1])


def test_no_items_have_no_encodings():
    none = MultiVector(torch.empty(0, 6), torch.zeros(1, dtype=torch.int64))
    assert FDE(6, 2, 3).documents(none).shape == (0, 96)


def test_encoding_tracks_no_gradients(rng):
    tokens = torch.randn(4, 6, generator=rng, requires_grad=True)
    assert not FDE(6, 2, 3).queries(MultiVector.pack([tokens])).requires_grad


class LiveBytes(TorchDispatchMode):
    """Bytes of the tensors that operations made and that still exist, at the highest."""

    def __init__(self, given):
        super().__init__()
        self.given = given.untyped_storage().data_ptr()
        self.held, self.peak = {}, 0

    def _drop(self, pointer):
        self.held[pointer][1] -= 1
        if self.held[pointer][1] == 0:
            del self.held[pointer]

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for made in result if isinstance(result, tuple | list) else [result]:
            if isinstance(made, torch.Tensor) and made.untyped_storage().data_ptr() != self.given:
                storage = made.untyped_storage()
                pointer = storage.data_ptr()
                self.held.setdefault(pointer, [storage.nbytes(), 0])[1] += 1
                weakref.finalize(made, self._drop, pointer)
        self.peak = max(self.peak, sum(size for size, _ in self.held.values()))
        return result


@pytest.mark.parametrize("projection", [None, 8])
@pytest.mark.parametrize("bits", [3, 7])
@pytest.mark.parametrize("lengths", [[20] * 400, [20_000], [1, 20_000, 1] * 2])
def test_memory_stays_within_the_stated_bytes(rng, monkeypatch, projection, bits, lengths):
    monkeypatch.setattr(fde_module, "_BYTES", 2 << 20)
    items = MultiVector.pack([torch.randn(t, 16, generator=rng).half() for t in lengths])
    fde = FDE(16, 4, bits, projection)
    with LiveBytes(items.tokens) as live:
        encoded = fde.documents(items)
    assert encoded.nbytes + (1 << 18) < live.peak < encoded.nbytes + (2 << 20)


def test_the_cost_of_encoding_counts_hashes_and_projections():
    assert FDE(8, 3, 2).encoding_flops(10) == 2 * 10 * 8 * 3 * 2
    assert FDE(8, 3, 2, projection=4).encoding_flops(10) == 2 * 10 * 8 * 3 * (2 + 4)


def test_tokens_of_another_width_are_refused(rng):
    with pytest.raises(ValueError, match=r"must have width 6; got 5\. Make an FDE with the dim"):
        FDE(6, 2, 3).queries(ragged(2, 5, rng))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dim": 0}, "dim must be finite and at least 1; got 0"),
        ({"repetitions": 0}, "repetitions must be finite and at least 1; got 0"),
        ({"bits": -1}, r"bits must lie in \[0, 10\]; got -1.*raise repetitions first"),
        ({"bits": 11}, r"bits must lie in \[0, 10\]; got 11"),
        ({"projection": 0}, r"projection must lie in \[1, 6\].*got 0"),
        ({"projection": 7}, r"projection must lie in \[1, 6\], the width of a token; got 7"),
    ],
)
def test_numbers_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        FDE(**{"dim": 6, "repetitions": 2, "bits": 3} | wrong)
