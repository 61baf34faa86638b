"""Value heads: the reward that a completion will end with, read from the reference's residual stream on the way.

An ensemble of small perceptrons regresses the final reward from the state of one layer at every prefix of reference
samples (Monte Carlo: every prefix of a sample has the sample's reward as its target). States are standardised, each
coordinate to mean 0 and deviation 1 over the reference's samples, and so are rewards; a distance in these coordinates
is in units of the reference's own spread.

The heads only need scores of finished texts. So they are the bridge to rewards that have no gradient at the reference's
tokens: other tokenizers, Python functions, verifiers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vgf.errors import UserError
from vgf.language.decoding import Samples, Sampling, decode
from vgf.language.reference import Prompts, Reference
from vgf.nets.mlp import MLP

__all__ = ["ValueHeads", "beside_tokens", "fit_heads", "sample_with_states"]


_PATIENCE = 400  # updates


class ValueHeads(nn.Module):
    """E perceptrons (state [K, width] -> reward) in standardised coordinates.

    Args:
        width: size of the residual stream.
        layer: the block whose output they read.
        hidden: width of the one hidden layer.
        heads: E.
    """

    def __init__(self, width: int, layer: int, hidden: int = 128, heads: int = 4) -> None:
        super().__init__()
        self.layer, self.hidden = layer, hidden
        self.net = MLP(width, 1, [hidden], heads=heads, layer_norm=False)
        self.mean: Tensor
        self.std: Tensor
        self.reward: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.register_buffer("reward", torch.tensor([0.0, 1.0]))  # mean and deviation of rewards

    def standardised(self, states: Tensor) -> Tensor:
        """States [..., width] in standardised coordinates, float32."""
        return (states.float() - self.mean) / self.std

    def restored(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`standardised`."""
        return x * self.std + self.mean

    def forward(self, x: Tensor) -> Tensor:
        """Rewards [E, K] at standardised states x [K, width]."""
        values: Tensor = self.net(x).squeeze(-1)
        return values * self.reward[1] + self.reward[0]


def sample_with_states(
    reference: Reference, prompts: Prompts, particles: int, sampling: Sampling, seed: int, layer: int
) -> tuple[Samples, Tensor]:
    """Reference samples, and the state of ``layer`` before each of their tokens, [B, N, T, width]."""
    states: list[Tensor] = []

    def watch(state: Tensor) -> Tensor:
        states.append(state[:, -1].float())
        return state

    samples = decode(reference, prompts, particles, sampling, seed, layer=layer, change=watch)
    found = torch.zeros(*samples.tokens.shape, reference.width, device=reference.device)
    found[:, :, : len(states)] = torch.stack(states, 1).view(*samples.tokens.shape[:2], len(states), -1)
    return samples, found


def beside_tokens(reference: Reference, states: Tensor, tokens: Tensor) -> Tensor:
    """States beside the embeddings of the tokens that followed, [B, N, T, 2 * width]: what Q(h, e) is fitted to."""
    return torch.cat([states, reference.model.get_input_embeddings()(tokens).float()], -1)


def fit_heads(
    states: Tensor,
    mask: Tensor,
    rewards: Tensor,
    layer: int,
    *,
    hidden: int = 128,
    heads: int = 4,
    seed: int = 0,
    steps: int = 1500,
    batch_size: int = 512,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.1,
    held_out: float = 0.1,
) -> tuple[ValueHeads, float]:
    """Fit value heads; the last prompts are held out, and the weights that predict them best are kept.

    Fitting ends where held-out prefixes have not been predicted better for ``_PATIENCE`` updates.

    Args:
        states: [B, N, T, width], from :func:`sample_with_states`.
        mask: [B, N, T], the tokens that were generated.
        rewards: [B, N], of the finished completions.
        held_out: share of the prompts that only measure, in (0, 1).

    Returns:
        The heads, and the correlation of their mean with the reward at held-out prefixes (nan where these rewards are
        all the same; the heads are then the last ones).

    Raises:
        UserError: rewards that are all the same, too few prompts to hold any out, or a reward, a state or a loss that
            is not finite.
    """
    prompts = len(states)
    kept = prompts - max(1, round(held_out * prompts))
    if kept < 1:
        raise UserError("value heads need samples of two prompts or more, to hold some out")
    _require_finite(states, mask, rewards)
    targets = rewards.unsqueeze(-1).expand(mask.shape)
    x, y = states[:kept][mask[:kept]], targets[:kept][mask[:kept]]  # [M, width], [M]
    x_out, y_out = states[kept:][mask[kept:]], targets[kept:][mask[kept:]]
    if not y.std() > 0:
        raise UserError(
            f"the reward gives every sample of the {kept} prompts that are learned from the same value; "
            "there is nothing to learn from: use more prompts (text.heads.prompts) or a reward that tells more apart"
        )

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ValueHeads(states.shape[-1], layer, hidden, heads).to(states.device)
    model.mean.copy_(x.mean(0))
    model.std.copy_(x.std(0) + 1e-6)
    model.reward.copy_(torch.stack([y.mean(), y.std()]))
    x, x_out = model.standardised(x), model.standardised(x_out)

    generator = torch.Generator(x.device).manual_seed(seed)
    optimizer = torch.optim.AdamW(model.net.parameters(), lr=learning_rate, weight_decay=weight_decay)
    best, best_correlation = {k: v.clone() for k, v in model.state_dict().items()}, -1.0
    found_at = 0
    for step in range(1, steps + 1):
        rows = torch.randint(len(x), (batch_size,), generator=generator, device=x.device)
        loss = ((model(x[rows]) - y[rows]) / model.reward[1]).square().mean()
        if not loss.isfinite():
            raise UserError(
                f"the loss of the value heads is not finite at step {step} of {steps}; lower text.heads.learning_rate"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 100 == 0 or step == steps:
            with torch.no_grad():
                predicted = model(x_out).mean(0)
            correlation = float(torch.corrcoef(torch.stack([predicted, y_out]))[0, 1])
            # Also where held-out rewards are all the same (NaN): there is nothing to choose by.
            if not correlation <= best_correlation:
                best, best_correlation = {k: v.clone() for k, v in model.state_dict().items()}, correlation
                found_at = step
            elif step - found_at >= _PATIENCE:
                break
    model.load_state_dict(best)
    return model.eval().requires_grad_(False), best_correlation


def _require_finite(states: Tensor, mask: Tensor, rewards: Tensor) -> None:
    for what, bad in (
        ("the reward", ~rewards.isfinite()),
        ("the reference's state", (mask & ~states.isfinite().all(-1)).any(-1)),
    ):
        if bad.any():
            prompt, sample = bad.nonzero()[0].tolist()
            raise UserError(
                f"{what} of sample {sample} of training prompt {prompt} is not finite; no value heads fit it"
            )
