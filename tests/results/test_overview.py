"""The table of all control tasks: one column a task, whichever experiment measured it."""

from __future__ import annotations

from dataclasses import replace

from vgf.results.experiment import Expected
from vgf.results.overview import overview
from vgf.results.registry import experiments, read


def table(parts) -> list[list[str]]:
    rows = [line for part in parts for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_tasks_of_the_registry_are_columns_with_their_recorded_numbers():
    head, *rows = table(overview(experiments()))
    assert head[0] == ""
    assert len(head) == len(set(head)) == 12
    found = {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}
    assert len(found) == 15
    scene, cubes = read("scene").expected, read("cube-single").expected
    assert scene
    assert cubes
    assert found["`qgf`"]["scene"] == f"{100 * scene.values['qgf'][0]:.0f}"
    assert found["best of 8"]["cube-single task 3"] == f"{100 * cubes.values['best_of_n, task 3'][0]:.0f}"


def test_the_mean_is_of_tasks_and_a_method_that_one_of_them_lacks_is_left_out():
    def made(name: str, **values: list[float]):
        expected = Expected("c", "d", "m", values=values | {"IQM of all, here": [0.0]}, chosen={"qgf": 0.1})
        return replace(read("scene"), name=name, expected=expected)

    reference = {"cloned flow": [0.0, 0.0, 0.1]}
    one = made("one", **reference, qgf=[0.5, 0.4, 0.6], vgf=[0.25])
    other = made("other", **reference, qgf=[1.0, 0.9, 1.0])
    assert table(overview([one, other])) == [
        ["", "one", "other", "mean"], ["cloned flow", "0", "0", "0"], ["`qgf`", "50", "100", "75"],
    ]  # fmt: skip
    assert not list(overview([replace(one, expected=None)]))
