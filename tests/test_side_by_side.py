"""Pieces of work on threads of our own: the same results as a loop, whatever happens inside."""

from __future__ import annotations

import functools
import os
import threading
import time

import pytest
import torch

from vgf import UserError
from vgf.adam import SideBySideAdam
from vgf.config import Config
from vgf.side_by_side import evenly, set_side_threads, side_by_side, side_threads
from vgf.speed import use_cores


@pytest.fixture(params=[1, 2, 3], autouse=True)
def threads(request):
    set_side_threads(request.param)
    yield request.param
    set_side_threads(1)


def slow(result, seconds: float = 0.01):
    def job():
        time.sleep(seconds)
        return result

    return job


def test_results_come_in_the_order_of_the_jobs(threads):
    assert side_by_side([slow(i, 0.01 * (5 - i)) for i in range(5)]) == [0, 1, 2, 3, 4]
    assert side_by_side([]) == []
    together = threading.Barrier(threads, timeout=10)  # helpers may be slow to wake

    def name_of_thread(number: int) -> str:
        if number < threads:
            together.wait()
        return threading.current_thread().name

    names = side_by_side([functools.partial(name_of_thread, number) for number in range(3)])
    assert names[0] == threading.main_thread().name
    assert len(set(names)) == threads


def test_jobs_may_divide_their_own_work():
    """More levels than threads: whoever waits has nothing left that another thread has not begun."""

    def tree(depth: int) -> int:
        return 1 if depth == 0 else sum(side_by_side([lambda: tree(depth - 1)] * 3))

    assert tree(4) == 81


def test_the_earliest_exception_comes_out_when_nothing_runs_any_more(threads):
    running, began = [], []
    together = threading.Barrier(min(threads, 3), timeout=10)

    def job(number: int):
        began.append(number)
        running.append(number)
        if number < threads:
            together.wait()
        time.sleep(0.03 - 0.01 * number)  # the last fails first
        running.remove(number)
        raise UserError(f"job {number}")

    with pytest.raises(UserError, match="job 0"):
        side_by_side([lambda number=number: job(number) for number in range(3)])
    assert running == []
    assert len(began) == min(threads, 3)
    assert side_by_side([slow(1), slow(2)]) == [1, 2]  # and the threads go on


def test_an_interrupt_waits_for_what_has_begun():
    done = []

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side([interrupted, lambda: done.append(slow(1)())])
    so_far = len(done)
    time.sleep(0.03)
    assert len(done) == so_far


def test_jobs_run_in_the_mode_of_the_caller():
    x = torch.ones(4, 4, requires_grad=True)

    def job():
        time.sleep(0.005)
        return (x @ x), torch.get_num_threads()

    inside = torch.get_num_threads()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        made = side_by_side([job] * 4)
    assert all(y.dtype == torch.bfloat16 and not y.requires_grad and n == inside for y, n in made)
    assert all(y.dtype == torch.float32 and y.requires_grad for y, _ in side_by_side([job] * 4))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_makes_threads_of_its_own():
    assert side_by_side([slow(1), slow(2)]) == [1, 2]
    child = os.fork()
    if child == 0:
        os._exit(0 if side_by_side([slow(3), slow(4)]) == [3, 4] else 1)
    for _ in range(500):
        if (ended := os.waitpid(child, os.WNOHANG))[0]:
            break
        time.sleep(0.01)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert ended == (child, 0)


def test_tensors_are_divided_by_their_entries():
    tensors = [torch.zeros(n) for n in (7, 1, 5, 3, 2)]
    parts = evenly(tensors, 2)
    assert sorted(sum(t.numel() for t in part) for part in parts) == [9, 9]
    assert {id(t) for part in parts for t in part} == {id(t) for t in tensors}
    assert len(evenly(tensors[:1], 2)) == 1


def test_adam_steps_like_torchs_own(threads):
    torch.manual_seed(0)
    ours = [torch.randn(n, 3, requires_grad=True) for n in (4, 1, 9, 2)]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    adam, plain = SideBySideAdam(ours, 0.1), torch.optim.Adam(theirs, lr=0.1, fused=True)
    for lr in (0.1, 0.1, 0.02):
        adam.param_groups[0]["lr"] = plain.param_groups[0]["lr"] = lr
        gradients = [torch.full_like(p, 1.0 + k) * p.detach().bfloat16().float() for k, p in enumerate(ours[:3])]
        for parameter, gradient in zip(theirs, gradients, strict=False):
            parameter.grad = gradient
        adam.step([gradients[0], gradients[1].bfloat16(), gradients[2], None])
        plain.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert [len(adam.state[p]) for p in ours] == [3, 3, 3, 0]
    for a, b in zip(ours[:3], theirs, strict=False):
        for key, moment in plain.state[b].items():
            assert torch.equal(adam.state[a][key], moment), key
            assert adam.state[a][key].dtype == moment.dtype


def test_what_follows_a_step_sees_every_parameter_once_and_moved(threads):
    parameters = [torch.zeros(n, requires_grad=True) for n in (4, 1, 9, 2)]
    adam = SideBySideAdam(parameters, 0.1)
    seen: dict[int, bool] = {}

    def note(share):
        for parameter in share:
            assert id(parameter) not in seen
            seen[id(parameter)] = bool(parameter.detach().any())

    adam.step([*(torch.ones_like(parameter) for parameter in parameters[:3]), None], then=note)
    assert [seen[id(parameter)] for parameter in parameters] == [True, True, True, False]


@pytest.mark.parametrize(
    ("changes", "seeds", "device", "expected"),
    [
        ({}, 1, "cpu", (2, 1)),
        ({"threads": 1}, 1, "cpu", (1, 1)),
        ({"threads": 2}, 1, "cpu", (2, 1)),
        ({"threads": 8}, 1, "cpu", (2, 4)),
        ({"compile": "on"}, 1, "cpu", (1, 2)),
        ({}, 3, "cpu", (1, 1)),
        ({}, 1, "cuda", (1, 1)),
    ],
)
def test_cores_are_divided(monkeypatch, changes, seeds, device, expected):
    monkeypatch.setattr("vgf.speed.cores", lambda: list(range(4)))
    before = torch.get_num_threads()
    config = Config(**changes)
    config.net.hidden, config.train.batch_size = 64, 64
    try:
        use_cores(config, torch.device(device), seeds)
        assert (side_threads(), torch.get_num_threads()) == expected
        if not changes:
            config.net.hidden, config.train.batch_size = 1024, 1024
            use_cores(config, torch.device(device), seeds)
            assert side_threads() * torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
