"""The pieces of an update read networks of their own: no thread waits for a tensor that another one has locked."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from small import problem, small_config

from vgf.trainers import critics
from vgf.trainers.nonfinite import summed
from vgf.trainers.offline import objective
from vgf.trainers.pieces import Readers, gradients_of, losses_of
from vgf.trainers.trainer import Trainer

CPU = torch.device("cpu")


def trainer_of(**changes) -> Trainer:
    config = small_config(**{"train__precision": "float32", **changes})
    return Trainer(config, problem(validation=True), CPU, objective(config))


def test_every_piece_reads_the_same_numbers_through_tensors_of_its_own():
    trainer = trainer_of(net__extras=["gradient", "noisy", "flow_map", "optimal"])
    read = []
    pieces = trainer._pieces(*trainer.draws(trainer.data))

    def noted(piece):
        def losses(networks):
            read.append(dict(networks.named_parameters()))
            return piece(networks)

        return losses

    _, gradients = gradients_of([noted(piece) for piece in pieces], trainer.readers, nullcontext)
    assert len(read) == len(pieces) > 4
    tensors = [parameter for parameters in read for parameter in parameters.values()]
    assert len({id(tensor) for tensor in tensors}) == len(tensors)
    trainer.optimizer.step(gradients)
    for name, parameter in trainer.networks.named_parameters():
        for parameters in read:
            assert parameters[name].data_ptr() == parameter.data_ptr(), name
            assert parameters[name].requires_grad == parameter.requires_grad, name


def test_gradients_of_pieces_that_train_a_network_together_are_added_up():
    linear = torch.nn.Linear(3, 1, bias=False)
    readers = Readers(linear, dict(linear.named_parameters()))

    def piece(networks: torch.nn.Module) -> dict[str, torch.Tensor]:
        return {"a/loss": networks.weight.square().sum()}

    _, (gradient,) = gradients_of([piece, piece, piece], readers, nullcontext, 0.5)
    torch.testing.assert_close(gradient, 3 * linear.weight.detach())


@pytest.mark.parametrize("fails", [False, True])
def test_threads_that_share_a_td_target_find_no_parameter_that_has_a_gradient(monkeypatch, fails):
    trainer = trainer_of(train__critic="td", train__td__particles=4)
    seen = []
    whole = critics.transport

    def watched(*args, **settings):
        seen.append([name for name, p in trainer.networks.named_parameters() if p.requires_grad])
        if fails:
            raise ValueError("in a share")
        return whole(*args, **settings)

    monkeypatch.setattr(critics, "transport", watched)
    before = {name: p.requires_grad for name, p in trainer.networks.named_parameters()}
    draw, _ = trainer.draws(trainer.data)
    noise = draw.spare["critic"].view(len(draw.noise), 4, -1)
    with torch.no_grad(), pytest.raises(ValueError, match="in a share") if fails else nullcontext():
        critics.transported_value(trainer.networks, draw.batch.next_observations, noise, trainer.config)
    assert seen
    assert not any(seen)
    assert before == {name: p.requires_grad for name, p in trainer.networks.named_parameters()}
    assert any(before.values())


READ_AND_TRAIN = """
import threading, torch
from vgf.trainers.pieces import Readers
network = torch.nn.Linear(3, 1, bias=False)
readers = Readers(network, dict(network.named_parameters()))
(one, _), (other, parameters) = readers.first(2)
turns, end = [0, 0], threading.Event()

def read():
    with torch.no_grad():
        while not end.is_set():
            one.weight.mT  # takes the tensor's lock, and keeps Python's
            turns[0] += 1

def train():
    while not end.is_set():
        torch.autograd.grad(other.weight.squeeze(0).sum(), parameters)  # takes Python's lock under the tensor's
        turns[1] += 1

threads = [threading.Thread(target=f, daemon=True) for f in (read, train)]
for thread in threads: thread.start()
end.wait(3)
end.set()
for thread in threads: thread.join()
print(min(turns))
"""


def test_a_thread_that_reads_and_one_that_trains_do_not_wait_for_each_other_for_ever():
    found = subprocess.run([sys.executable, "-c", READ_AND_TRAIN], capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) > 10


@pytest.mark.parametrize("critic", ["iql", "td"])
def test_readers_follow_what_the_optimiser_and_the_target_networks_write(critic):
    """After some updates the gradients are those of networks that everything reads directly."""
    trainer = trainer_of(train__critic=critic, train__td__particles=3)
    for _ in range(5):
        trainer.advance()
    draw = trainer.draw(trainer.data, trainer.streams["batches"], trainer.streams)
    expected = losses_of(trainer.networks, trainer.objective, trainer.config, draw)
    parameters = list(trainer.parameters.values())
    plain = torch.autograd.grad(summed(expected), parameters, allow_unused=True)
    found, gradients = gradients_of(trainer._pieces(draw, None), trainer.readers, nullcontext)
    torch.testing.assert_close(found, {name: loss.detach() for name, loss in expected.items()})
    for ours, theirs in zip(gradients, plain, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("critic", ["iql", "td"])
def test_weights_rounded_once_give_what_autocast_gives_that_rounds_at_every_use(critic):
    """Bit for bit; a TD target takes LayerNorm's scale into a weight, which is rounded before that as well as after."""
    trainer = trainer_of(train__precision="bfloat16", train__critic=critic, train__td__particles=3)
    for _ in range(4):
        trainer.advance()
    draw = trainer.draw(trainer.data, trainer.streams["batches"], trainer.streams)
    weight = trainer.networks.q.dense[0].weight
    with torch.no_grad():
        weight.add_(0.25)  # as whoever loads a checkpoint does, and no optimiser
    trainer.readers.round()
    at_every_use = Readers(trainer.networks, trainer.parameters)
    (losses, ours), (expected, theirs) = (
        gradients_of(trainer._pieces(draw, None), readers, trainer._precision)
        for readers in (trainer.readers, at_every_use)
    )
    found = dict(zip(trainer.parameters, ours, strict=True))
    assert found["q.dense.0.weight"].dtype == torch.bfloat16
    assert found["q.output.weight"].dtype == torch.float32
    near = {"rtol": 0.0, "atol": 0.0} if critic == "iql" else {"rtol": 0.05, "atol": 0.05}
    torch.testing.assert_close(losses, expected, **near)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, check_dtype=False, **near)


def test_the_judge_reads_its_weights_as_they_are_when_its_turn_comes():
    """They are not rounded where nobody reads them, which is in two of three updates."""
    trainer = trainer_of(train__precision="bfloat16")
    for _ in range(6):
        trainer.advance()
    draw, held_out = trainer.draws(trainer.data)
    assert held_out is not None
    at_every_use = Readers(trainer.networks, trainer.parameters)
    losses, ours = trainer._gradients(draw, held_out)
    expected, theirs = gradients_of(trainer._pieces(draw, held_out), at_every_use, trainer._precision)
    assert any(name.startswith("judge") for name in losses)
    torch.testing.assert_close(losses, expected, rtol=0.0, atol=0.0)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, check_dtype=False, rtol=0.0, atol=0.0)


def test_compiled_updates_read_the_weights_themselves():
    trainer = trainer_of(train__precision="bfloat16", compile="on")
    ((networks, parameters),) = trainer.readers.first(1)
    assert networks is trainer.networks
    assert all(a is b for a, b in zip(parameters, trainer.parameters.values(), strict=True))
