"""What was published is what serves: a bundle that differs by anything is refused by the name of the file."""

from __future__ import annotations

import os
import random
import re
import shutil

import pytest

from pipelines.config.errors import EvergreenError
from serving.version import Served
from tests.support import served_versions as versions

MUTATIONS = 1000
KINDS = ["flip", "truncate", "append", "empty", "missing", "added", "hidden", "link", "hard", "folder", "swapped"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle, its champion and a folder to work in."""
    folder = versions.write(tmp_path_factory.mktemp("bundle") / "bundle")
    return folder, versions.champion(folder)


def mutate(folder, drawn):
    """Harm one thing; the name by which it must be refused, and the kind of harm."""
    path = drawn.choice(sorted(folder.iterdir()))
    kind = drawn.choice(
        ["flip", "truncate", "append", "empty", "missing", "added", "link", "hard", "folder", "swapped", "hidden"]
    )
    content = bytearray(path.read_bytes())
    if kind == "flip":
        content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
        path.write_bytes(content)
    elif kind == "truncate":
        path.write_bytes(content[: drawn.randrange(len(content))])
    elif kind == "append":
        path.write_bytes(content + drawn.randbytes(drawn.randrange(1, 20)))
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "missing":
        path.unlink()
    elif kind in {"added", "hidden"}:
        path = folder / (("." if kind == "hidden" else "") + drawn.choice(["extra.py", "model.onnx.bak", "x/y.json"]))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    elif kind == "link":
        path.rename(folder.parent / "elsewhere")
        path.symlink_to(folder.parent / "elsewhere")
    elif kind == "hard":  # to another file than it was
        path.unlink()
        other = drawn.choice([one for one in folder.iterdir() if one.is_file()])
        os.link(other, path)
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "swapped":
        other = drawn.choice([one for one in folder.iterdir() if one != path])
        kept = other.read_bytes()
        other.write_bytes(content)
        path.write_bytes(kept)
    return path.relative_to(folder).as_posix(), kind


@pytest.mark.parametrize("part", range(10))
def test_every_mutation_is_refused_by_name(bundle, tmp_path, part):
    folder, champion = bundle
    for number in range(part * MUTATIONS // 10, (part + 1) * MUTATIONS // 10):
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        name, kind = mutate(copy, random.Random(number))
        with pytest.raises(EvergreenError, match=re.escape(f"{name}: ")):
            Served.load(champion, copy)
            pytest.fail(f"mutation {number} ({kind} of {name}) was loaded")
        shutil.rmtree(copy)
        (tmp_path / "elsewhere").unlink(missing_ok=True)


def test_a_folder_that_is_a_link_is_refused(bundle, tmp_path):
    folder, champion = bundle
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(EvergreenError, match="the folder: is a link"):
        Served.load(champion, tmp_path / "link")


def test_the_bytes_that_were_checked_are_those_that_are_used(bundle, tmp_path, monkeypatch):
    """A file that changes between its check and its reading."""
    folder, champion = bundle
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    monkeypatch.setattr("pipelines.onnx_model.verify", lambda found, _: (found / "model.onnx").write_bytes(b"other"))
    with pytest.raises(EvergreenError, match=r"model\.onnx: changed"):
        Served.load(champion, copy)


def test_a_graph_that_gives_no_probability_is_refused(tmp_path):
    from onnx import TensorProto, helper

    made = versions.write(tmp_path / "bundle")
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["numbers"], ["probability"], keepdims=1)],
        "sum",
        [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, [None, 3]),
         helper.make_tensor_value_info("categories", TensorProto.STRING, [None, 2])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, None)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (made / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(EvergreenError, match="its graph gives"):
        Served.load(versions.champion(made), made)
