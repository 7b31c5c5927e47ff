"""README and documentation are run before they are believed."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pyarrow.parquet as pq
import pytest
import typer
from ruamel.yaml import YAML

from cli.app import app
from flows import events
from flows.execution.workspace import git
from pipelines import features
from pipelines.config import params, stage
from pipelines.config.setting_names import NAMES
from pipelines.data import split
from pipelines.validation import expectations
from tools import reference

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {path: path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]}
README = PAGES[ROOT / "README.md"]
WRITTEN = {path: text for path, text in PAGES.items() if "<!-- Written by `make reference`" not in text}
PACKAGES = ("flows", "infra", "monitoring", "pipelines", "serving")
PARAMS = ["params.yaml", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("sql/*/params.yaml"))]
# said of any dataset
LONE = {
    "expectations.yaml", "fingerprint.sql", "available_at.yaml", "left_out.sql", "outcomes.sql", "training_set.sql",
    "watermark.sql", "scoring_set.sql",
}  # fmt: skip
MADE = re.compile(r"reports/|data/|sql/subscribers/|<")  # by a run, or with a part to fill in


def code(text):
    """Lines of the bash blocks, and what stands in backticks."""
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL))
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [*blocks.splitlines(), *inline]


def command_of(words):
    """The command that a line names, and the words after it; fails where there is none."""
    command = typer.main.get_command(app)
    while isinstance(command, typer.core.TyperGroup) and words:
        assert words[0] in command.commands, f"evergreen {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def called(text):
    """Words after each `evergreen` that a text tells to run."""
    for line in code(text):
        for rest in re.findall(r"(?:^|&& |\$\()evergreen ([a-z][^&;#)]*)", line.strip()):
            yield rest.split()


def test_the_readme_is_read_in_ten_minutes():
    assert len(README.splitlines()) <= 160
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert len(pictures) <= 4 and "docs/pictures/architecture.svg" in pictures


@pytest.mark.parametrize("page", sorted(WRITTEN), ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_targets_and_files_that_a_page_names_are_there(page):
    for words in called(PAGES[page]):
        command, rest = command_of(words)
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known, words
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    lines = code(PAGES[page])
    assert {target for line in lines for target in re.findall(r"^make ([a-z-]+)", line.strip())} <= targets
    modules = {name for line in lines for name in re.findall(r"python -m ((?:infra|tools|serving)[a-z_.]*)", line)}
    assert [name for name in modules if not list(ROOT.glob(f"{name.replace('.', '/')}*"))] == []
    assert [path for path in named_files(PAGES[page]) if not (ROOT / path).exists()] == []
    # of the decisions only the index is held to what is true today
    links = re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", PAGES[page])
    assert [link for link in links if not (page.parent / link).exists()] == []


def named_files(text):
    paths = [path for path in code(text) if re.fullmatch(r"[a-z_]+(/[a-z_0-9<>]+)*(/|\.(py|sql|yaml|txt))", path)]
    return [path for path in paths if path not in LONE and not MADE.search(path)]


def test_every_command_is_told_of():
    told = {" ".join(words) for text in WRITTEN.values() for words in called(text)}
    told |= {" ".join(words) for words in called("\n".join(f"`{line.strip()}`" for line in recipes_of_make()))}
    commands = [path.removeprefix("evergreen ") for path, _ in reference.commands(typer.main.get_command(app), "evergreen")]
    assert [name for name in commands if not any(f"{line} ".startswith(f"{name} ") for line in told)] == []


def recipes_of_make():
    return [line.replace("$(BIN)/", "") for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("\t")]


def test_every_page_that_the_code_names_is_there():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    named = {}
    for file in files:
        if Path(file).suffix in {".py", ".yaml", ".yml", ".toml", ".sql", ".md"} or file == "Makefile":
            text = (ROOT / file).read_text(encoding="utf-8")
            named |= dict.fromkeys(re.findall(r"\bdocs/[\w/.-]+\.(?:md|json|png|svg)", text), file)
    made = "docs/index.html", "docs/great_expectations.html"
    assert {page: file for page, file in named.items() if page not in made and not (ROOT / page).exists()} == {}


def test_every_picture_is_shown():
    text = "\n".join(PAGES.values()) + (ROOT / "mkdocs.yml").read_text()
    assert [path.name for path in (DOCS / "pictures").iterdir() if f"pictures/{path.name}" not in text] == []


@pytest.mark.parametrize("path", sorted(reference.files()))
def test_what_is_made_of_the_code_is_current(path):
    assert (ROOT / path).read_text(encoding="utf-8") == reference.files()[path], f"{path} is stale: run `make reference`"


def test_settings_that_pages_name_are_known():
    pattern = r"\b((?:EVERGREEN|SOURCE|LOAD|PROMOTER|SCORER|WATCHER)_[A-Z_]+)\b"
    assert {name for text in PAGES.values() for name in re.findall(pattern, text)} <= {*NAMES}


def test_the_database_page_names_every_table_and_view():
    ddl = "\n".join(path.read_text() for path in (ROOT / "sql/schema/versions").glob("*.sql"))
    made = set(re.findall(r"^create (?:or replace )?(?:table|view) (evergreen\.[a-z_]+)", ddl, flags=re.MULTILINE))
    for old, new in re.findall(r"^alter table (evergreen\.[a-z_]+) rename to ([a-z_]+)", ddl, flags=re.MULTILINE):
        made = made - {old} | {f"evergreen.{new}"}
    named = set(re.findall(r"^\| `(evergreen\.[a-z_]+)`", PAGES[DOCS / "reference/database.md"], flags=re.MULTILINE))
    assert made == named


def test_the_events_page_names_every_event():
    named = set(re.findall(r"^\| `evergreen\.([a-z]+)`", PAGES[DOCS / "reference/events.md"], flags=re.MULTILINE))
    assert named == set(events.SAYS)


def test_the_errors_page_quotes_errors_that_there_are():
    quoted = re.findall(r"^\| `([^`]+)` \|", PAGES[DOCS / "reference/errors.md"], flags=re.MULTILINE)
    code = "\n".join(path.read_text(encoding="utf-8") for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    joined = re.sub(r'["\']\n\s*f?["\']', "", code)  # texts that go on in the next line
    assert quoted and [text for text in quoted if text not in joined] == []


def test_a_decision_says_what_when_and_why():
    for file in sorted((DOCS / "decisions").glob("0*.md")):
        title, _, status, _, why, *_ = PAGES[file].split("\n")
        assert title.startswith("# ") and why, file.name
        pattern = r"(before )?\d{4}-\d\d-\d\d, (accepted|rejected|superseded by \[\d{4}\]\(\d{4}-[a-z0-9-]+\.md\))"
        assert re.fullmatch(pattern, status), file.name


@pytest.mark.parametrize("name", PARAMS)
def test_the_schema_for_editors_accepts_the_params_that_we_ship_and_no_others(name):
    text = (ROOT / name).read_text()
    first = text.splitlines()[0]
    assert first == "# yaml-language-server: $schema=docs/reference/params.schema.json"
    schema = json.loads((DOCS / "reference/params.schema.json").read_text())
    values = YAML(typ="safe").load(text)
    jsonschema.validate(values, schema)
    values["tune"]["trails"] = 6
    with pytest.raises(jsonschema.ValidationError, match="trails"):
        jsonschema.validate(values, schema)


def test_the_site_is_built_and_asks_no_other_server(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    foreign = re.compile(
        r"""<(?:script|img|iframe|link rel="?(?:stylesheet|preconnect|icon))[^>]+(?:src|href)="?(?:https?:)?//"""
    )
    assert [page.name for page in tmp_path.rglob("*.html") if foreign.search(page.read_text())] == []


def test_an_upgrade_touches_none_of_the_files_that_are_the_users(tmp_path):
    page = PAGES[DOCS / "how-to/keep-several-models.md"].split("## Upgrade a clone")[1]
    project, clone = tmp_path / "project", tmp_path / "clone"
    project.mkdir()
    commit(
        project, {"params.yaml": "model: churn\nowner: us\n", "infra.py": "old\n", "sql/churn/training_set.sql": "select 1\n"}
    )
    git(tmp_path, "clone", "--quiet", str(project), str(clone))
    for key, value in {"user.name": "me", "user.email": "me@example.org"}.items():
        git(clone, "config", key, value)
    mine = {"params.yaml": "model: mine\nowner: me\n", "sql/mine/training_set.sql": "select 2\n"}
    commit(clone, mine)
    commit(project, {"params.yaml": "model: churn\nowner: others\nfresh: 1\n", "infra.py": "new\n"})
    subprocess.run(["bash", "-c", re.search(r"```bash\n(.*?)```", page, re.DOTALL)[1]], cwd=clone, check=True)
    assert {path: (clone / path).read_text() for path in mine} == mine
    assert (clone / "infra.py").read_text() == "new\n"
    assert git(clone, "status", "--porcelain") == ""


def commit(folder, files):
    """Commit files in a folder that becomes a repository where it is none."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch=main")
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "change")


def test_the_recipe_for_an_expectation_works(tmp_path):
    block = re.search(r"```yaml\n(.*?)```", PAGES[DOCS / "how-to/add-an-expectation.md"], re.DOTALL)[1]
    (tmp_path / "expectations.yaml").write_text(block)
    (found,) = expectations.read_expectations(tmp_path / "expectations.yaml")
    assert found.kwargs["column"] == "tenure_months"


def test_the_recipe_for_a_candidate_works(tmp_path, monkeypatch):
    page = PAGES[DOCS / "how-to/add-a-candidate.md"]
    for folder in ("pipelines", "monitoring"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    subprocess.run(re.search(r"```bash\n(.*?)```", page, re.DOTALL)[1], shell=True, check=True)
    yaml = YAML()
    values = yaml.load(Path("params.yaml"))
    values["candidates"].update(yaml.load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])["candidates"])
    yaml.dump(values, Path("params.yaml"))
    _write_training_rows(tmp_path)
    command = ["-m", "pipelines.stages.train", "--candidate", "ridge", "--training", "training.parquet"]
    command += ["--schema", "schema.json", "--past", "recency.json", "--model", "models/ridge"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert "ridge: out-of-fold ROC-AUC" in done.stdout, done.stderr
    made = {"model.onnx", "oof.parquet", "shap.json", "training.json", "trials.json"}
    assert {path.name for path in Path("models/ridge").iterdir()} == made


def _write_training_rows(folder):
    import numpy as np
    import pyarrow as pa

    random = np.random.default_rng(1)
    tenure = random.integers(0, 70, 600)
    table = pa.table(
        {
            "customer_id": np.arange(600),
            "snapshot_date": pa.array([0] * 600, pa.date32()),
            "churned": pa.array((random.random(600) < 0.1 + 0.4 * (tenure < 12)).astype("int32")),
            "tenure_months": pa.array(tenure, pa.int32()),
            "plan": random.choice(["basic", "fiber"], 600),
        }
    )
    config = params.read(ROOT / "params.yaml")
    divided = split.split(table, config.data, config.split)
    pq.write_table(divided, folder / "training.parquet")
    stage.write_json(folder / "recency.json", {"by_fold": [None] * config.split.folds, "overall": None})
    learnt = features.learn_schema(table, config.data, config.features.model_copy(update={"exclude": []}))
    stage.write_json(folder / "schema.json", learnt)


def test_an_error_ends_a_command_with_its_text_alone(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "cli.app", "data", "pin"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "ERROR: params.yaml is missing: run this in the project's folder."


@pytest.mark.parametrize("name", PARAMS)
def test_params_that_we_ship_are_usable(name):
    assert params.read(ROOT / name).enabled


def test_the_version_is_the_packages():
    done = subprocess.run(
        [Path(sys.executable).with_name("evergreen"), "--version"], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"evergreen \d+\.\d+\.\d+\n", done.stdout)
