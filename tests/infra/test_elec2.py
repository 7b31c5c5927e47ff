"""The study of elec2 on a table of its form: three columns vary that never had, and nothing else changes."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from pipelines.config import params
from studies import elec2

DAYS, WIDENED = 480, 362  # days; the first one on which the market is wider: 1997-05-04


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    random, rows = np.random.default_rng(1), DAYS * elec2.A_DAY
    wide = np.arange(rows) >= WIDENED * elec2.A_DAY
    price, demand = random.lognormal(-3, 0.4, rows), random.normal(0.42, 0.1, rows)
    chance = 1 / (1 + np.exp(-(2.0 * (np.log(price) + 3) + 8 * (demand - 0.42))))
    table = pa.table(
        {
            "period": np.arange(rows) % elec2.A_DAY / (elec2.A_DAY - 1),
            "nswprice": price,
            "nswdemand": demand,
            "vicprice": np.where(wide, random.lognormal(-5.8, 0.5, rows), 0.003467),
            "vicdemand": np.where(wide, random.normal(0.4, 0.1, rows), 0.422915),
            "transfer": np.where(wide, random.normal(0.5, 0.1, rows), 0.414912),
            "class": (random.random(rows) < chance).astype(int),
        }
    )
    file = tmp_path_factory.mktemp("elec2") / "elec.csv"
    pa.csv.write_csv(table, file)
    names, tables = zip(*elec2.months(file), strict=True)
    return names, tables, elec2.watch(tables, elec2.settings(params.read()))


def test_a_row_belongs_to_its_day_and_a_month_that_has_not_ended_is_left_out(studied):
    names, tables, _ = studied
    assert (names[0], names[-1], len(names)) == ("1996-05", "1997-07", 15)
    assert tables[0].num_rows == 25 * elec2.A_DAY and tables[1].num_rows == 30 * elec2.A_DAY


def test_the_widening_is_seen_and_is_neither_a_broken_feed_nor_a_reason_to_retrain(studied):
    names, _, said = studied
    by_name = {names[one.month - 1]: one for one in said}
    assert by_name["1997-05"].drift.above_limit and by_name["1997-06"].alarm
    assert {one.decision.action for one in said} <= {"none", "info"}


def test_the_page_has_a_row_a_window(studied):
    page = elec2.page(*studied)
    assert page.count("\n| 1997-") == 6 and "| alarm |" in page
