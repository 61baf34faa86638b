"""Reward models: finished texts to numbers, and numbers to gradients at the reference's token embeddings.

A reward reads prompt and completion as one text. One that shares its tokenizer with the reference can also read the
reference's tokens as they are, or embeddings in their place; only then does it have a gradient there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from vgf.errors import UserError
from vgf.language.decoding import Samples
from vgf.language.hub import SAFE, UNREADABLE, first_line
from vgf.language.reference import Reference, embedding_table

__all__ = ["RewardModel", "load_reward", "token_ids"]

_ROWS_AT_ONCE = 64


class RewardModel:
    """A sequence classifier with one output.

    Attributes:
        name: what errors and reports call it.
        model, tokenizer: of transformers.
        max_length: tokens it reads; of longer texts these are the first one and the last (:func:`token_ids`).
    """

    has_gradient = True

    def __init__(self, name: str, model: Any, tokenizer: Any, max_length: int = 512) -> None:
        self.name, self.model, self.tokenizer = name, model.eval().requires_grad_(False), tokenizer
        self.max_length = max_length
        if model.config.num_labels != 1:
            raise UserError(f"{name} has {model.config.num_labels} outputs; a reward model has one")

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @cached_property
    def embeddings(self) -> Tensor:
        """Token embeddings [V, d], as the model reads them."""
        return embedding_table(self.model)

    def shares_tokens(self, reference: Reference) -> bool:
        """Whether a token means the same to both, so that gradients at embeddings carry over."""
        same_rows = len(self.embeddings) == len(reference.embeddings)
        return same_rows and self.tokenizer.get_vocab() == reference.tokenizer.get_vocab()

    def require_gradient(self, reference: Reference) -> None:
        """Refuse to guide a reference whose tokens it does not share.

        Raises:
            UserError: different tokenizers; the line names the rules that do not need a gradient.
        """
        if not self.shares_tokens(reference):
            raise UserError(
                f"{self.name} and the reference have different tokenizers, so its gradient does not reach the "
                "reference's tokens; train the reward on the reference's first blocks (reward.model=reference), or use "
                "method=hidden, whose value heads only need the reward's scores"
            )

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Rewards of K texts, prompt and completion put together.

        Raises:
            UserError: when one of them is not finite.
        """
        texts = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
        rows = [token_ids(self.tokenizer, text, self.max_length) for text in texts]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))  # rows of like length side by side
        scores = [0.0] * len(rows)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            chosen = order[start : start + _ROWS_AT_ONCE]
            ids, mask = right_padded([rows[i] for i in chosen], self.tokenizer.pad_token_id)
            inputs = {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}
            values = self.model(**inputs).logits[:, 0].float()
            for i, value in zip(chosen, values.tolist(), strict=True):
                scores[i] = value
        bad = [i for i, score in enumerate(scores) if not math.isfinite(score)]
        if bad:
            found = f"{texts[bad[0]][:60]!r} as {scores[bad[0]]}"
            raise UserError(f"{self.name} scores {found}; it cannot be used as a reward")
        return scores

    def at_embeddings(self, samples: Samples, embedded: Tensor) -> Tensor:
        """Rewards [B, N] of embeddings [B, N, T, d] put in the place of the samples' tokens; differentiable in them.

        What the samples' mask leaves out, and end tokens, is not read, nor what :func:`token_ids` would leave out.
        Read, though no score reads them: a chat template around the prompt, and the tokens of a stop string.
        """
        batch, particles, length, width = embedded.shape
        prompts, rows = samples.prompts, batch * particles
        before = self.model.get_input_embeddings()(prompts.ids).repeat_interleave(particles, 0)  # [B*N, P, d]
        whole = torch.cat([before, embedded.view(rows, length, width).to(before.dtype)], 1)
        seen = torch.cat([prompts.mask.repeat_interleave(particles, 0), self._read(samples).flatten(0, 1)], 1)
        place = seen.cumsum(1)
        seen &= (place == 1) | (place > place[:, -1:] - self.max_length + 1)
        # Padding goes to the left, in the order that is there: the last position is then the last token read.
        order = seen.long().argsort(dim=1, stable=True)[:, -self.max_length :]
        whole = whole.gather(1, order.unsqueeze(-1).expand(-1, -1, width))
        mask = seen.gather(1, order)
        positions = (mask.cumsum(1) - 1).clamp_min(0)
        output = self.model(inputs_embeds=whole, attention_mask=mask.long(), position_ids=positions)
        return output.logits[:, 0].float().view(batch, particles)

    def gradient(self, samples: Samples, embedded: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Rewards [B, N] and their gradient at embeddings [B, N, T, d], by default those of the samples' tokens."""
        with torch.enable_grad():
            if embedded is None:
                embedded = self.model.get_input_embeddings()(samples.tokens).float()
            x = embedded.detach().requires_grad_()
            values = self.at_embeddings(samples, x)
            (g,) = torch.autograd.grad(values.sum(), x)
        return values.detach(), g.nan_to_num(0.0, 0.0, 0.0)

    def _read(self, samples: Samples) -> Tensor:
        """[B, N, T]: generated tokens that are not end tokens."""
        special = torch.tensor(self.tokenizer.all_special_ids, device=samples.tokens.device)
        return samples.mask & ~torch.isin(samples.tokens, special)


def token_ids(tokenizer: Any, text: str, max_length: int) -> list[int]:
    """Token ids of a text as rewards read it, in training and in use; encoders get their special tokens.

    Of a text with more than ``max_length`` of them the first is kept, which encoders read, and the last
    ``max_length - 1``.
    """
    ids = list(tokenizer(text, truncation=False)["input_ids"])
    return ids if len(ids) <= max_length else [ids[0], *ids[len(ids) - max_length + 1 :]]


def right_padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Rows of different lengths as ids and mask [K, L]: encoders read their first token, decoders their last."""
    longest = max(1, *(len(row) for row in rows)) if rows else 1
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = 1
    return ids, mask


def load_reward(name: str, path: Path, device: torch.device, dtype: torch.dtype, max_length: int = 512) -> RewardModel:
    """Load a reward model that was saved with its tokenizer.

    Raises:
        UserError: no sequence classifier there, an incomplete one, one with more than one output, or a tokenizer that
            cannot pad.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            path, dtype=dtype, use_safetensors=True, output_loading_info=True, **SAFE
        )
        tokenizer = AutoTokenizer.from_pretrained(path, **SAFE)
    except (*UNREADABLE, SafetensorError) as error:
        raise UserError(f"{path} holds no reward model ({first_line(error)})") from error
    if missing := sorted(info["missing_keys"]):  # transformers would draw them at random
        raise UserError(f"{path} holds no reward model (its weights lack {missing[0]})")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise UserError(f"the tokenizer in {path} has neither a pad nor an end-of-sequence token; set one in it")
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id  # by which decoders find the last token
    return RewardModel(name, model.to(device), tokenizer, max_length)
