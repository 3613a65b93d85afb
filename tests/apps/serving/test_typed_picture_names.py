"""The name of a picture that is typed into the page is not searched for as words."""

import pytest

from align.apps.serving.gallery import Question
from tests.apps.serving.small_gallery import gallery


@pytest.mark.parametrize("name", ["red.png", "my RED.JPG", "https://example.org/red.webp?w=80"])
def test_a_typed_name_of_a_picture_is_refused_and_no_file_is_looked_up(tmp_path, name):
    made = gallery(tmp_path)
    with pytest.raises(ValueError, match=r"a typed query must be words; .* put the name in quotes"):
        made.search(Question("text", name), k=1)
    # In quotes it is words.
    assert made.search(Question("text", f'"{name}" red'), k=1).hits
