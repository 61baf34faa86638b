"""YAMLs of the registry are read strictly: what does not fit is one line that says where."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vgf import UserError
from vgf.results.experiment import Expected, Experiment
from vgf.results.registry import read_file, write_expected
from vgf.results.strict import into

WHOLE = {
    "name": "one", "title": "One", "question": "?", "status": "not run", "group": "Control",
    "runs": [{"command": "python -m vgf.run run_dir=a", "grid": {"seed": [0, 1]}}],
    "measures": [{"name": "m", "method": "qgf", "budget": 0.1, "minus": {"method": "reference"}}],
}  # fmt: skip


def test_a_whole_file_is_read(tmp_path: Path):
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(WHOLE))
    experiment = read_file(tmp_path / "one.yaml")
    assert experiment.runs[0].grid == {"seed": [0, 1]}
    assert experiment.measures[0].minus is not None
    assert experiment.measures[0].minus.method == "reference"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"titel": "x"}, "'titel' is not a key here. Did you mean 'title'"),
        ({"title": 3}, "title must be text, not 3"),
        ({"runs": {"command": "x"}}, "runs must be a list"),
        ({"runs": [{"comand": "x"}]}, r"runs\[0\]: 'comand' is not a key here. Did you mean 'command'"),
        ({"runs": [{"name": "x"}]}, "'command' is missing"),
        ({"measures": [{"name": "m", "method": "qgf", "travelled": "far"}]}, "travelled must be a number, not 'far'"),
        ({"measures": [{"name": "m", "method": "qgf", "step": True}]}, "step must be a whole number, not True"),
        ({"status": "ran"}, "status='ran' must be one of run, partly run, not run"),
        ({"name": "two"}, "must be the file's"),
        (
            {"expected": {"commit": "a", "date": "b", "machine": "c", "values": {"m": ["x"]}}},
            r"m\[0\] must be a number",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(change: dict, said: str, tmp_path: Path):
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(WHOLE | change))
    with pytest.raises(UserError, match=said) as error:
        read_file(tmp_path / "one.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "\xff"])
def test_a_broken_file_is_one_line(text: str, tmp_path: Path):
    (tmp_path / "one.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"one\.yaml"):
        read_file(tmp_path / "one.yaml")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*WHOLE, "expected", "commit"]), inner),
    )
)
def test_any_data_is_an_experiment_or_a_user_error(data: object):
    try:
        made = into(Experiment, data, "any.yaml")
    except UserError:
        return
    assert isinstance(made, Experiment)


def test_writing_what_came_out_leaves_the_rest_alone(tmp_path: Path):
    path = tmp_path / "one.yaml"
    head = yaml.safe_dump(WHOLE, sort_keys=False)
    path.write_text("# a comment\n" + head + "expected:\n  commit: old\n  date: x\n  machine: y\n\nnot_run: much\n")
    expected = Expected("abc", "2026-01-02", "some, 2 cores", seconds=12.0, values={"m": [0.5, 0.25, 0.75]})
    write_expected(path, expected, "partly run")
    read = read_file(path)
    assert (read.status, read.expected, read.not_run) == ("partly run", expected, "much")
    assert path.read_text().startswith("# a comment\n")
    before = path.read_text()
    write_expected(path, expected, "partly run")
    assert path.read_text() == before
