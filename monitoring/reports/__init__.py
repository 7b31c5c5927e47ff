"""Pages: each module makes a view-model, plain data that says what is shown, and the template of its name shows it."""

from functools import partial
from pathlib import Path

from pipelines import page

render = partial(page.render, folder=Path(__file__).parent / "templates")
