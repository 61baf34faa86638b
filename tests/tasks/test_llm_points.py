"""What a language run evaluates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vgf.config import Config
from vgf.errors import UserError
from vgf.language.check import check_text
from vgf.methods import load_method
from vgf.tasks.llm_points import points_of


def _config(method: str = "hidden", **text: Any) -> Config:
    config = Config(task="llm_reward", **vars(load_method(method)))
    config.text = replace(config.text, **text)
    return config


def test_a_method_that_is_a_control_as_well_is_evaluated_once() -> None:
    config = _config("tilt")
    assert "tilt" in config.text.controls
    points = [(point.method, point.budget) for point in points_of(config, {})]
    assert len(set(points)) == len(points)


@pytest.mark.parametrize(("text", "lower"), [({}, 0.7), ({"temperature": 0.5}, 0.35), ({"sharper": 0.2}, 0.2)])
def test_the_control_that_sharpens_is_below_the_sampling_temperature(text: dict[str, float], lower: float) -> None:
    (point,) = (point for point in points_of(_config(**text), {}) if point.method == "temperature")
    assert point.budget == pytest.approx(lower)


def test_greedy_decoding_has_nothing_sharper() -> None:
    config = _config(temperature=0.0, sharper=0.5)
    check_text(config)
    assert "temperature" not in {point.method for point in points_of(config, {})}


def test_a_control_that_would_not_sharpen_is_refused() -> None:
    with pytest.raises(UserError, match=r"text.sharper=0.7 is not below text.temperature=0.7"):
        check_text(_config(temperature=0.7, sharper=0.7))
    check_text(_config(temperature=0.7, sharper=0.7, controls=["best_of_n"]))
