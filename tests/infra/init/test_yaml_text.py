"""What is written is what a reader of YAML finds, in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from cli.init.yaml_text import flow

VALUES = st.one_of(st.text(), st.booleans(), st.none(), st.integers(-(10**9), 10**9), st.floats(-1e9, 1e9))


@given(st.lists(VALUES, max_size=5))
def test_any_value_comes_back(values):
    text = flow({"column": values})
    assert "\n" not in text
    assert YAML(typ="safe").load(f"kwargs: {text}")["kwargs"]["column"] == values


@pytest.mark.parametrize("text", [":as_of", "No", "2024-01-31", "1", "50%", " x", "a: b", "a #b", "null", "", "\ufffe", "it's"])
def test_a_text_stays_a_text(text):
    assert YAML(typ="safe").load(f"- {flow(text)}") == [text]


def test_plain_words_need_no_quotes():
    assert flow(["Bank transfer (automatic)", "One year", "größe"]) == "[Bank transfer (automatic), One year, größe]"
