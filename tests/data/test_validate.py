"""What ``python -m vgf.data`` says about data: every finding with its row, exit statuses, the figure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import record, save_hdf5, save_npz, table, without_successors

from vgf.data.__main__ import main
from vgf.data.recording import Recording
from vgf.data.validate import inspect, summary

MADE = record([4, 2, 3, 12], [False, False, True, True])


def put(name: str, value: float, *where: int | slice) -> Callable[[Recording], Recording]:
    def change(recording: Recording) -> Recording:
        array = getattr(recording, name).copy()
        array[where] = value
        return replace(recording, **{name: array})

    return change


def follow(recording: Recording) -> Recording:
    """Next observations that agree with changed observations."""
    following = np.append(recording.observations[1:], recording.observations[:1], axis=0)
    return replace(recording, next_observations=following)


def twice(recording: Recording) -> Recording:
    names = ("observations", "actions", "rewards", "next_observations", "terminated", "ends")
    return replace(recording, **{name: np.concatenate([getattr(recording, name)] * 2) for name in names})


CASES: dict[str, tuple[Callable[[Recording], Recording], bool, str]] = {
    "NaN": (
        put("observations", np.nan, 7, 1),
        True,
        r"observations are NaN or infinite in 1 rows, first in row 7 \(episode 2, step 1\)",
    ),
    "infinite reward": (put("rewards", np.inf, 20), True, "rewards are NaN or infinite in 1 rows, first in row 20"),
    "unmarked end": (
        put("next_observations", 5.0, 2),
        True,
        r"not the following row's observations in 1 rows .* row 2 \(episode 0, step 2\)",
    ),
    "never terminates": (put("terminated", 0, slice(None)), False, "no episode terminates, all are cut"),
    "masks": (put("terminated", 1, 10), False, "masks are 0 in 1 rows inside episodes, first in row 10"),
    "one episode": (lambda r: r.episodes([3]), False, "one episode only"),
    "one step": (lambda _: record([3, 1, 4], [True] * 3), False, r"1 of 3 episodes have one step, first in row 3"),
    "duplicates": (
        twice,
        True,
        r"4 episodes repeat an earlier one, first in row 21 \(episode 4, step 0\), which is episode 0 again",
    ),
    "still observation": (
        lambda r: follow(put("observations", 2.0, slice(None), 1)(r)),
        False,
        "1 of 3 dimensions of observations never change: 1",
    ),
    "still action": (put("actions", 0.5, slice(None), 0), False, "1 of 2 dimensions of actions never change: 0"),
    "still actions": (put("actions", 0.5), True, "2 of 2 dimensions of actions never change: 0, 1"),
    "actions outside": (
        put("actions", -1.75, 8, 1),
        False,
        r"outside \[-1, 1\] in 1 rows \(4\.76%\), first in row 8 \(episode 2, step 2\), by 0\.75 at most \(dimension 1",
    ),
    "one reward": (put("rewards", 0.0), True, "every reward is 0: there is nothing to learn from"),
    "placeholder": (
        put("rewards", -999.0, slice(3, 6)),
        False,
        r"reward -999 occurs 3 times, first in row 3 \(episode 0, step 3\), while all others lie in \[",
    ),
    "remark": (lambda r: replace(r, remarks=("12 rows are dropped",)), False, "12 rows are dropped"),
}


@pytest.mark.parametrize("case", CASES)
def test_findings(case: str) -> None:
    change, serious, message = CASES[case]
    assert inspect(MADE) == []
    findings = inspect(change(MADE))
    matching = [finding for finding in findings if re.search(message, finding.text)]
    assert len(matching) == 1, findings
    assert matching[0].serious == serious
    assert findings[0].serious == any(finding.serious for finding in findings)
    assert "\n" not in matching[0].text


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_anything_can_be_inspected(data: st.DataObject) -> None:
    """Whatever values are in it, and what it says names rows that there are."""
    lengths = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    made = record(lengths, [data.draw(st.booleans()) for _ in lengths])
    values = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1.0, 3e38, -3e38, 1e-40])
    for name in ("observations", "actions", "rewards", "next_observations"):
        for _ in range(data.draw(st.integers(0, 3))):
            made = put(name, data.draw(values), data.draw(st.integers(0, len(made) - 1)))(made)
    text = summary(made)
    assert f"{sum(lengths):,} transitions in {len(lengths)} episodes" in text
    broken = not all(np.isfinite(getattr(made, name)).all() for name in ("observations", "actions", "rewards"))
    assert broken <= any("NaN or infinite" in finding.text for finding in inspect(made))


def test_check_prints_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_hdf5(tmp_path / "x.hdf5", table(MADE))
    assert main(["check", str(path)]) == 0
    printed = capsys.readouterr().out
    for part in (
        "21 transitions in 4 episodes",
        "2 episodes terminate, 2 are cut",
        "lengths       2 to 12",
        "nothing odd",
    ):
        assert part in printed
    lowest, highest = MADE.actions[:, 1].min(), MADE.actions[:, 1].max()
    assert f"1: [{lowest:.4g}, {highest:.4g}]" in printed


def test_exit_statuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = table(MADE)
    arrays["rewards"][9] = np.nan
    assert main(["check", str(save_npz(tmp_path / "x.npz", arrays))]) == 1
    assert "WRONG  rewards are NaN or infinite in 1 rows, first in row 9" in capsys.readouterr().out
    assert main(["check", str(save_npz(tmp_path / "y.npz", without_successors(MADE)))]) == 0
    assert "note   2 last rows of cut episodes are dropped" in capsys.readouterr().out
    for arguments in (["check", "no.npz"], ["info", "no.npz"], ["check", str(tmp_path / "x.npz"), "--columns", "x"]):
        assert main(arguments) == 2
        printed = capsys.readouterr()
        assert printed.err.startswith("vgf.data: ")
        assert printed.err.count("\n") == 1
        assert not printed.out


def test_columns_are_renamed(tmp_path: Path) -> None:
    arrays = table(MADE)
    arrays["state"], arrays["r"] = arrays.pop("observations"), arrays.pop("rewards")
    path = str(save_npz(tmp_path / "x.npz", arrays))
    assert main(["check", path]) == 2
    assert main(["check", path, "--columns", "observations=state", "rewards=r"]) == 0


@pytest.mark.parametrize("case", ["usual", "broken", "one row", "many actions"])
def test_info_draws_a_figure(
    tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {
        "usual": MADE,
        "broken": put("actions", np.nan)(put("rewards", np.inf, 3)(MADE)),
        "one row": record([1], [True]),
        "many actions": replace(MADE, actions=np.tile(MADE.actions, 7)),
    }[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    path = save_npz(tmp_path / "data" / "x.npz", table(made))
    assert main(["info", str(path)]) == 0
    height, width, _ = matplotlib.image.imread(tmp_path / "x.npz.png").shape
    assert width == 1456
    assert (height > 1000) == (case == "many actions")
    assert ("without the last 2 action dimensions" in capsys.readouterr().out) == (case == "many actions")


def test_info_writes_where_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_npz(tmp_path / "x.npz", table(MADE))
    assert main(["info", str(path), "--out", str(tmp_path / "figures" / "f.png")]) == 0
    assert matplotlib.image.imread(tmp_path / "figures" / "f.png").std() > 0.05
    assert main(["info", str(path), "--out", str(tmp_path / "f.pdf")]) == 2
    assert "give it a name that ends in .png" in capsys.readouterr().err
    assert not (tmp_path / "f.pdf").exists()
    assert main(["info", str(path), "--out", str(path / "f.png")]) == 2
    assert "a file is in the way" in capsys.readouterr().err
