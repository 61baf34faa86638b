"""Value heads: what several processes sample is what one samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from small_text import save_model, text_config, text_problem

from vgf.config import Config
from vgf.language.problem import TextProblem
from vgf.trainers import value


def remade(config: Config, device: torch.device) -> TextProblem:
    """The problem, in another process."""
    return text_problem(config)


def test_two_processes_sample_what_one_does(tmp_path: Path) -> None:
    config = text_config(save_model(tmp_path / "tiny"))
    problem = replace(text_problem(config), remake=remade)
    one, two = (value._sampled(config, problem, processes) for processes in (1, 2))
    assert sorted(one) == sorted(two) == [0, 1], "sixteen prompts, eight side by side"
    assert not torch.equal(one[0]["tokens"], one[1]["tokens"])
    for place, part in one.items():
        assert torch.equal(part["tokens"], two[place]["tokens"])
        assert torch.equal(part["rewards"], two[place]["rewards"])
        torch.testing.assert_close(part["states"], two[place]["states"])
