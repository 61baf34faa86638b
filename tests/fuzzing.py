"""Many cases for one property: a few hundred in the default suite, thousands in the slow one, counted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from vgf.complaints import one_line

__all__ = ["Count", "cases", "complaint", "run_cases"]


def cases(few: int, many: int) -> pytest.MarkDecorator:
    """Parametrise ``count`` with the cases of the default suite and of the slow one."""
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=pytest.mark.slow)])


class Count(dict[str, int]):
    """How often each outcome was seen."""

    def __missing__(self, outcome: str) -> int:
        return 0

    def add(self, outcome: str) -> None:
        self[outcome] += 1

    @property
    def total(self) -> int:
        return sum(self.values())


def run_cases(count: int, strategies: dict[str, Any], case: Callable[..., str]) -> Count:
    """Call ``case`` for ``count`` draws; it returns the name of the outcome. Checks that so many were run.

    Derandomised: what a test run meets should not be a matter of luck, least of all where libraries in C read bytes.
    """
    seen = Count()

    @settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(**strategies)
    def run(**drawn: Any) -> None:
        seen.add(case(**drawn))

    run()
    assert seen.total >= count
    print(f"{seen.total} cases: " + ", ".join(f"{n} {outcome}" for outcome, n in sorted(seen.items())))
    return seen


@contextlib.contextmanager
def complaint() -> Iterator[list[str]]:
    """Collects what a user would be told in one line; everything else comes through as the bug it is."""
    said: list[str] = []
    try:
        yield said
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        assert line.strip()
        assert "\n" not in line
        said.append(line)
