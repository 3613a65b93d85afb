"""An exported adapter against the installed sentence-transformers: saved, loaded, and the same."""

import copy

import pytest
import torch
import torch.nn.functional as F

import align
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.closed_form.rcca import rcca
from align.adapters.corrections.hubness import InvertedSoftmax
from align.adapters.corrections.preference import Preference
from align.adapters.corrections.reference_set import Expansion, ReferenceSet
from align.adapters.maps.linear import AffineMap, BlendMap, IdentityMap, LinearMap, RelativeMap
from align.adapters.maps.networks import ProjectionMap
from align.adapters.trainable import projection_network, residual
from tests.helpers.tiny_models import *  # noqa: F403  # fixtures

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:transformers")

TEXTS = ["a dog", "a cat on the beach", "red bridge runs", "sits under blue", "the dog sits"]
CODE = ["blue cat", "the dog on a bridge", "red red", "a beach under the cat", "runs"]


@pytest.fixture(scope="module")
def exporter():
    from align.integrations.sentence_transformers import to_sentence_transformers

    return to_sentence_transformers


@pytest.fixture(scope="module")
def text_model(sbert):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(sbert), device="cpu")


@pytest.fixture(scope="module")
def code_model(sentence_folder):
    """Another width, vectors of any length, and a prompt before each item."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling

    folder = sentence_folder(
        Pooling(16, "cls"),
        Dense(16, 10),
        prompts={"search": "query "},
        default_prompt_name="search",
    )
    return SentenceTransformer(str(folder), device="cpu")


VOCABULARY = "dog cat beach runs sits under bridge".split()


def linear(rng, d_in, dim):
    weight = torch.randn(d_in, dim, generator=rng)
    return LinearMap(0.3 * torch.randn(d_in, generator=rng), weight)


def affine(rng, d_in, dim):
    whole = linear(rng, d_in, dim)
    return AffineMap(whole.mean, whole.weight, torch.randn(dim, generator=rng))


def projection(rng, d_in, dim):
    sizes = (d_in,), (d_in, 20), (20,), (20, dim), (dim,)
    return ProjectionMap(*(torch.randn(size, generator=rng) for size in sizes))


def adapter_of(source_map, target_map, **options):
    return Adapter(
        source_map, target_map, Card("by hand", 0, source_map.d_in, target_map.d_in), **options
    )


def saved_and_loaded(model, folder):
    from sentence_transformers import SentenceTransformer

    model.save_pretrained(str(folder), create_model_card=False)
    return SentenceTransformer(str(folder), device="cpu", trust_remote_code=False)


def encoded(model, items):
    return model.encode(items, convert_to_tensor=True)


@pytest.mark.parametrize("make", [linear, affine, projection], ids=lambda make: make.__name__)
def test_a_saved_model_gives_what_the_adapter_gives_on_both_sides(
    make, exporter, text_model, code_model, rng, tmp_path
):
    adapter = adapter_of(make(rng, 16, 12), make(rng, 10, 12))
    model = saved_and_loaded(exporter(adapter, source=text_model, target=code_model), tmp_path)
    asked = model.encode_query(TEXTS, convert_to_tensor=True)
    found = model.encode_document(CODE, convert_to_tensor=True)
    torch.testing.assert_close(asked, adapter.source(encoded(text_model, TEXTS)))
    torch.testing.assert_close(found, adapter.target(encoded(code_model, CODE)))
    torch.testing.assert_close(model.similarity(asked, found), asked @ found.T)


def test_the_identity_only_normalises(exporter, code_model, tmp_path):
    adapter = adapter_of(IdentityMap(10), IdentityMap(10))
    model = saved_and_loaded(exporter(adapter, source=code_model, target=code_model), tmp_path)
    torch.testing.assert_close(encoded(model, CODE), F.normalize(encoded(code_model, CODE)))


def test_the_target_side_may_ask(exporter, text_model, code_model, rng):
    adapter = adapter_of(linear(rng, 16, 12), linear(rng, 10, 12))
    model = exporter(adapter, source=text_model, target=code_model, queries="target")
    asked = model.encode_query(CODE, convert_to_tensor=True)
    torch.testing.assert_close(asked, adapter.target(encoded(code_model, CODE)))


def test_one_encoder_gives_a_model_of_its_side_alone(exporter, code_model, rng, tmp_path):
    adapter = adapter_of(linear(rng, 16, 12), linear(rng, 10, 12))
    model = saved_and_loaded(exporter(adapter, target=code_model), tmp_path)
    expected = adapter.target(encoded(code_model, CODE))
    for encode in (model.encode, model.encode_query, model.encode_document):
        torch.testing.assert_close(encode(CODE, convert_to_tensor=True), expected)
    assert model.get_embedding_dimension() == 12


def test_pictures_are_documents_where_the_encoder_takes_them(
    exporter, text_model, clip, pictures, rng, tmp_path
):
    from sentence_transformers import SentenceTransformer

    seeing = SentenceTransformer(str(clip), device="cpu")
    adapter = adapter_of(linear(rng, 16, 12), linear(rng, 10, 12))
    model = saved_and_loaded(exporter(adapter, source=text_model, target=seeing), tmp_path)
    found = model.encode_document(pictures, convert_to_tensor=True)
    torch.testing.assert_close(found, adapter.target(encoded(seeing, pictures)))


def test_a_fitted_closed_form_is_exported_as_precisely_as_it_computes(
    exporter, text_model, code_model, tmp_path
):
    texts = [f"{a} {b} {c}" for a in ("red", "blue", "a") for b in VOCABULARY for c in VOCABULARY]
    source, target = encoded(text_model, texts), encoded(code_model, texts)
    adapter = rcca(source, target)
    model = saved_and_loaded(exporter(adapter, source=text_model, target=code_model), tmp_path)
    exported = encoded_pair(model, texts)
    plain = adapter.source(source), adapter.target(target)
    # Vectors of a random network lie so close that rounding shows: our own error is the budget.
    precise = copy.deepcopy(adapter).double()
    exact = precise.source_map(source.double()), precise.target_map(target.double())
    for ours, theirs, truth in zip(plain, exported, exact, strict=True):
        assert (theirs - truth).abs().max() <= 2 * (ours - truth).abs().max() + 1e-6


def encoded_pair(model, texts):
    return (
        model.encode_query(texts, convert_to_tensor=True),
        model.encode_document(texts, convert_to_tensor=True),
    )


def corrected_adapter(rng, *, expansion=None):
    reference_sets = (F.normalize(torch.randn(30, 12, generator=rng)) for _ in range(2))
    reference = ReferenceSet(*reference_sets, expansion=expansion, hubness=InvertedSoftmax(10.0))
    return adapter_of(linear(rng, 16, 12), linear(rng, 10, 12), reference=reference)


def test_queries_alone_search_a_gallery_with_its_correction(exporter, text_model, rng, tmp_path):
    adapter = corrected_adapter(rng, expansion=Expansion(0.5, 5.0))
    model = saved_and_loaded(exporter(adapter, source=text_model), tmp_path)
    asked = model.encode_query(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(asked, adapter.queries(encoded(text_model, TEXTS)))
    assert asked.shape[1] == adapter.d_search == 13
    gallery = adapter.gallery(torch.randn(40, 10, generator=rng))
    ours = adapter.queries(encoded(text_model, TEXTS)) @ gallery.T
    torch.testing.assert_close((asked @ gallery.T).argsort(), ours.argsort())


def test_a_gallery_correction_is_refused_unless_it_is_dropped(
    exporter, text_model, code_model, rng
):
    adapter = corrected_adapter(rng)
    both = {"source": text_model, "target": code_model}
    with pytest.raises(ValueError, match=r"corrects or expands those of the target side"):
        exporter(adapter, **both)
    with pytest.raises(ValueError, match=r"of the source side.*drop_correction=True"):
        exporter(adapter, **both, queries="target")
    model = exporter(adapter, **both, drop_correction=True)
    asked = model.encode_query(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(asked, adapter.source(encoded(text_model, TEXTS)))


def refused_maps(rng):
    plain = linear(rng, 16, 12)
    rooted = LinearMap(plain.mean, plain.weight, root=True)
    parted = LinearMap(plain.mean, plain.weight, parts=align_parts(8, 8))
    return {
        "signed square roots": rooted,
        "parts that are normalised": parted,
        "a blend of 2 maps": BlendMap([plain, plain], (0.5, 0.5)),
        "a RelativeMap": RelativeMap(plain.mean, torch.eye(12, 16), k=2, power=1.0),
        "a residual, which adds two branches": residual(
            adapter_of(plain, plain), generator=None
        ).source_map,
    }


def align_parts(*widths):
    from align.adapters.maps.parts import Parts

    return Parts.even(widths)


def test_an_architecture_that_modules_cannot_express_is_named(exporter, text_model, rng):
    for name, part in refused_maps(rng).items():
        adapter = adapter_of(part, IdentityMap(part.dim))
        with pytest.raises(ValueError, match=f"the source map of this adapter is .*{name}"):
            exporter(adapter, source=text_model)


def test_a_preference_for_kinds_is_refused(exporter, text_model, rng):
    preference = Preference(torch.zeros(4, 2), (5, 5))
    adapter = adapter_of(linear(rng, 16, 12), linear(rng, 10, 12), preference=preference)
    with pytest.raises(ValueError, match=r"without instructions only.*align\.Embedder"):
        exporter(adapter, source=text_model)


def test_an_encoder_that_does_not_fit_is_refused(exporter, text_model, code_model, rng, sbert):
    from sentence_transformers import SentenceTransformer

    adapter = projection_network(16, 10, hidden=8, generator=rng)
    with pytest.raises(ValueError, match=r"got neither source nor target"):
        exporter(adapter)
    with pytest.raises(ValueError, match=r"the source encoder must give .* 16 columns.*got 10"):
        exporter(adapter, source=code_model)
    short = SentenceTransformer(str(sbert), device="cpu", truncate_dim=16)
    with pytest.raises(ValueError, match=r"untruncated; got 16 columns and truncate_dim=16"):
        exporter(adapter, source=short)
    half = SentenceTransformer(str(sbert), device="cpu").half()
    with pytest.raises(ValueError, match=r"float32.*got \['torch.float16'\].*\.float\(\)"):
        exporter(adapter, source=half)
    with pytest.raises(ValueError, match=r'side must be "source" or "target"'):
        exporter(adapter, source=text_model, queries="both")


def test_the_output_of_a_multi_vector_encoder_is_packed_as_it_is(bert, tmp_path):
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer

    tokens = {"module_input_name": "token_embeddings"}
    MultiVectorEncoder(
        modules=[
            Transformer(str(bert)),
            Dense(16, 8, bias=False, activation_function=None, **tokens),
            Normalize(**tokens),
        ],
        device="cpu",
    ).save_pretrained(str(tmp_path), create_model_card=False)
    model = MultiVectorEncoder(str(tmp_path), device="cpu")
    asked, found = model.encode_query(TEXTS), model.encode_document(CODE)
    ours = align.maxsim(align.MultiVector.pack(asked), align.MultiVector.pack(found))
    torch.testing.assert_close(ours, model.similarity(asked, found))
