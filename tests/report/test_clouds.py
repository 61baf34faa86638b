"""Particles before and after: what is stored, which states are shown, and the pictures."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from vgf.methods import load_method
from vgf.nets import ActorCritic, NetSizes
from vgf.policy import Policy
from vgf.probe import particle_clouds
from vgf.report.clouds import Clouds, cloud_svgs, read_clouds, write_clouds


def clouds(size: int = 6, states: int = 3) -> Clouds:
    rng = np.random.default_rng(0)
    twins = rng.normal(size=(states, 20, size)).astype(np.float32)
    return Clouds("qgf", 0.02, 100, np.arange(states), twins + 0.3, twins)


def test_what_is_written_is_read_back_and_a_damaged_file_is_none(tmp_path):
    assert read_clouds(tmp_path) is None
    write_clouds(tmp_path, clouds())
    stored = read_clouds(tmp_path)
    assert stored is not None
    assert (stored.method, stored.budget, stored.step) == ("qgf", 0.02, 100)
    assert (stored.particles == clouds().particles).all()
    content = (tmp_path / "particles.npz").read_bytes()
    (tmp_path / "particles.npz").write_bytes(content[: len(content) // 2])
    assert read_clouds(tmp_path) is None


@pytest.mark.parametrize("size", [1, 2, 6])
def test_a_picture_a_state_whatever_the_size_of_an_action(size):
    pictures = cloud_svgs(clouds(size))
    assert len(pictures) == 3
    assert all("travelled 0.3" in picture for picture in pictures)
    assert ("component 1 (" in pictures[0]) == (size > 2)


def test_principal_components_keep_a_move_along_them(tmp_path):
    twins = np.zeros((1, 5, 4), np.float32)
    twins[0, :, 2] = np.arange(5)
    moved = twins + np.array([0, 0, 2, 0], np.float32)
    (picture,) = cloud_svgs(Clouds("qgf", 1, 1, np.arange(1), moved, twins))
    assert re.search(r"component 1 \(100%\)", picture)


def test_states_that_moved_little_to_much_are_shown():
    torch.manual_seed(0)
    policy = Policy(ActorCritic(NetSizes(observation=3, action=2, chunk=2, hidden=16, layers=1)), load_method("qgf"), 5)
    states = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    found = particle_clouds(policy, states, load_method("vgf"), 2)
    assert found.particles.shape == found.twins.shape == (4, 40, 4)
    far = np.sqrt(((found.particles - found.twins) ** 2).mean(-1)).mean(1)
    assert (np.diff(far) >= 0).all()
    assert far[-1] > far[0] > 0
    assert len(set(found.states)) == 4
    same = particle_clouds(policy, states, load_method("vgf"), 0)
    assert (same.particles == same.twins).all()
