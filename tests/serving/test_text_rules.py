"""However a text is written, SQL, batch scoring, the API and its reasons read the same value of it."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import features
from pipelines.config import params
from pipelines.data import postgres
from serving import explanation
from tests.support import served_versions as versions

RULES = {"trim": True, "lower": True, "missing": {"plan": ["na", "?"]}}
SQL = "select case when lower(trim(v)) in ('na', '?', '') then '' else lower(trim(v)) end from unnest(%s::text[]) as v"
WORDS = ["basic", "fiber", "na", "?", "", "Straße", "Ünal", "ΟΔΟΣ", "gold"]
ANY = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
VARIANTS = st.builds(
    lambda word, before, after, write: " " * before + write(word) + after,
    st.sampled_from(WORDS),
    st.integers(0, 3),
    st.sampled_from(["", " ", "  ", "\t", "\u00a0"]),
    st.sampled_from([str, str.upper, str.lower, str.title]),
)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(versions, "SCHEMA", versions.SCHEMA | {"texts": RULES})
        return versions.served(tmp_path_factory.mktemp("served") / "bundle")


@pytest.fixture(scope="module")
def database(postgres_url):
    with postgres.connect(postgres_url) as connection:
        yield connection


def row(plan):
    return (5.0, 70.5, 0.0, plan, "two year")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(VARIANTS | st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=8), min_size=1)
)
def test_sql_batch_and_the_api_read_the_same(served, database, texts):
    wanted = [value for (value,) in database.execute(SQL, [texts]).fetchall()]
    assert [features.read_text(text, "plan", RULES) for text in texts] == wanted
    api = served.score([row(text) for text in texts])
    names = [*versions.SCHEMA["numbers"], *versions.KNOWN]
    table = pa.table({name: list(cells) for name, cells in zip(names, zip(*map(row, texts), strict=True), strict=True)})
    np.testing.assert_array_equal(served.model.score(table).astype(np.float32), api)
    np.testing.assert_array_equal(served.score([row(text) for text in wanted]), api)
    assert [served.warnings(row(text)) for text in texts] == [served.warnings(row(text)) for text in wanted]


@pytest.mark.parametrize(("written", "meant"), [(" Fiber ", "fiber"), ("NA", None), ("  ", None), ("Gold ", "gold")])
def test_reasons_are_those_of_the_value_that_is_meant(served, written, meant):
    found, wanted = (explanation.reasons(served, [row(plan)])[0] for plan in (written, meant))
    assert found == wanted


def test_training_learns_the_values_that_are_read():
    rows = pa.table({"id": range(90), "y": [0, 1] * 45, "plan": [" Gold", "gold ", "NA"] * 30})
    data = params.DataParams(
        dataset="t", as_of=None, fingerprint=None, entity="id", time=None, target="y", protected=[], personal=[],
        history_days=1, horizon_days=0, embargo_days=0,
    )  # fmt: skip
    chosen = params.FeaturesParams(exclude=[], min_category_rows=1, max_categories=9, texts=params.TextRules(**RULES))
    schema = features.learn_schema(rows, data, chosen)
    assert schema["categories"] == {"plan": ["gold"]} and schema["texts"] == RULES
    assert features.codes(rows, schema)[:3, 0].tolist() == [2.0, 2.0, 1.0]
    assert "texts" not in features.learn_schema(rows, data, chosen.model_copy(update={"texts": params.TextRules()}))
