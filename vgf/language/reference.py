"""The reference language model: frozen weights, its blocks and embeddings, and prompts in its tokens.

Any decoder-only model of transformers will do whose memory is a cache of keys and values; recurrent layers (Mamba,
RWKV) are refused. The library needs three parts of it: the blocks (whose outputs are the residual stream), the token
embeddings [V, d], and the logits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vgf.errors import UserError

if TYPE_CHECKING:
    from vgf.language.noise import GumbelNoise

__all__ = ["Listener", "Prompts", "Reference", "blocks_of", "embedding_table", "left_padded"]

Listener = Callable[[Tensor, Tensor, Tensor], None]  # (tokens, log probabilities, rows still going), [rows] each

_LOGITS_AT_ONCE = 2**24  # numbers; whole batches of logits would take gigabytes


@dataclass(frozen=True)
class Prompts:
    """B prompts in the reference's tokens, padded on the left.

    Attributes:
        texts: what the user wrote, B of them.
        ids: [B, P] token ids.
        mask: [B, P] bool, False on padding.
        first: index of the first one among all prompts of a run; with the seed it fixes their noise.
        keys: (seed, index) of each prompt, where prompts of different calls are decoded side by side; None: the seed
            of the call, and indices from ``first`` on.
    """

    texts: tuple[str, ...]
    ids: Tensor
    mask: Tensor
    first: int = 0
    keys: tuple[tuple[int, int], ...] | None = None

    def noise_keys(self, seed: int) -> list[tuple[int, int]]:
        """(seed, index) of each prompt in a call with this seed: with a particle's number, they fix its noise."""
        return list(self.keys or ((seed, self.first + row) for row in range(len(self.texts))))


class Reference:
    """A causal language model as a source of particles. Its weights never change.

    Attributes:
        model: the transformers model, in evaluation mode, without gradients for its weights.
        tokenizer: its tokenizer; has a pad token.
        blocks: the transformer blocks, first to last.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.blocks = blocks_of(model)
        # The last positions of a batch are a strided view, for which matmul would copy the unembedding once a row.
        model.get_output_embeddings().register_forward_pre_hook(lambda module, inputs: (inputs[0].contiguous(),))
        self._listeners: list[Listener] = []
        ends = model.generation_config.eos_token_id
        ends = [ends] if isinstance(ends, int) else list(ends or [])
        if tokenizer.eos_token_id is not None:
            ends.append(tokenizer.eos_token_id)
        self.noise: tuple[Any, GumbelNoise | None] = (None, None)  # of the prompts in hand: vgf.language.noise
        self.end_tokens = torch.tensor(sorted(set(ends)), dtype=torch.long, device=self.device)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @cached_property
    def embeddings(self) -> Tensor:
        """Token embeddings [V, d], as the model reads them."""
        return embedding_table(self.model)

    @property
    def width(self) -> int:
        """Size of the residual stream."""
        return int(self.model.config.get_text_config().hidden_size)

    @property
    def context_length(self) -> int | None:
        """Longest sequence the model was built for, in tokens; None where it does not say."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    def prompts(self, texts: Sequence[str], *, chat: bool = False, new_tokens: int = 0, first: int = 0) -> Prompts:
        """Tokenise prompts, side by side, padded on the left.

        Args:
            texts: B prompts, not empty.
            chat: put each through the tokenizer's chat template, as the user's turn.
            new_tokens: room that has to be left in the context.
            first: see :class:`Prompts`.

        Raises:
            UserError: no prompts, an empty one, one that is no text or does not fit the context, no template.
        """
        if isinstance(texts, str):
            raise UserError("prompts are a single text; give a list of texts")
        texts = tuple(texts)
        if not texts:
            raise UserError("there are no prompts; give at least one")
        for i, text in enumerate(texts):
            _require_text(i + first, text)
        if chat and not self.tokenizer.chat_template:
            raise UserError("the reference's tokenizer has no chat template; use text.chat=false")
        rows = [self._encode(text, chat) for text in texts]
        if nothing := [i for i, row in enumerate(rows) if not row]:
            raise UserError(f"prompt {nothing[0] + first} has no token for the reference's tokenizer; give other words")
        return self.tokenised(texts, rows, new_tokens=new_tokens, first=first)

    def tokenised(
        self, texts: Sequence[str], rows: Sequence[Sequence[int]], *, new_tokens: int = 0, first: int = 0
    ) -> Prompts:
        """Prompts whose token ids are known, side by side, padded on the left.

        Args:
            texts: B of them, which rewards read.
            rows: their token ids, none empty.
            new_tokens, first: as in :meth:`prompts`.

        Raises:
            UserError: one does not fit the context.
        """
        limit = self.context_length
        if limit is not None:
            for i, row in enumerate(rows):
                if len(row) + new_tokens > limit:
                    raise UserError(
                        f"prompt {i + first} has {len(row)} tokens; with {new_tokens} new ones it exceeds the "
                        f"reference's context of {limit}; shorten it or text.new_tokens"
                    )
        ids, mask = left_padded(rows, self.tokenizer.pad_token_id)
        return Prompts(tuple(texts), ids.to(self.device), mask.to(self.device), first)

    def _encode(self, text: str, chat: bool) -> list[int]:
        if not chat:
            return list(self.tokenizer(text)["input_ids"])
        turn = [{"role": "user", "content": text}]
        return list(self.tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)["input_ids"])

    def texts(self, tokens: Tensor, mask: Tensor) -> list[str]:
        """Decode rows of token ids [K, T], without what the mask leaves out and without special tokens."""
        rows = [row[keep].tolist() for row, keep in zip(tokens, mask, strict=True)]
        return list(self.tokenizer.batch_decode(rows, skip_special_tokens=True))

    @contextlib.contextmanager
    def at_layer(self, layer: int, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """While active, ``change`` sees the residual stream after block ``layer`` and says what goes on from there.

        Args:
            layer: 1 to the number of blocks.
            change: hidden states [rows, positions, width] -> the same shape.
        """

        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            if isinstance(output, tuple):  # some architectures hand attention weights on as well
                return (change(output[0]), *output[1:])
            return change(output)

        if not 1 <= layer <= len(self.blocks):
            raise UserError(f"layer={layer} is out of range; the reference has blocks 1 to {len(self.blocks)}")
        handle = self.blocks[layer - 1].register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    @contextlib.contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """While active, ``listener`` is told every position as it is decoded; what it raises ends the decoding.

        Args:
            listener: (tokens, their log probabilities, rows still going), [rows] each -> None.
        """
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def tell(self, tokens: Tensor, log_probs: Tensor, going: Tensor) -> None:
        """Tell the listeners one position: tokens and log probabilities [rows], meant where ``going`` [rows]."""
        for listener in self._listeners:
            listener(tokens, log_probs, going)

    @torch.no_grad()
    def log_probs(self, prompts: Prompts, tokens: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
        """log p(token | prompt, tokens before it), [B, N, T] float32; zero where masked.

        Args:
            tokens, mask: [B, N, T].
            temperature: of p, > 0.
        """
        particles, length = tokens.shape[1:]
        ids = torch.cat([prompts.ids.repeat_interleave(particles, 0), tokens.flatten(0, 1)], 1)  # [B*N, P+T]
        seen = torch.cat([prompts.mask.repeat_interleave(particles, 0), mask.flatten(0, 1)], 1)
        rows = max(1, _LOGITS_AT_ONCE // (length * self.embeddings.shape[0]))
        found = [
            self._row_log_probs(i, s, length, temperature)
            for i, s in zip(ids.split(rows), seen.split(rows), strict=True)
        ]
        return torch.cat(found).view(tokens.shape) * mask

    def _row_log_probs(self, ids: Tensor, seen: Tensor, length: int, temperature: float) -> Tensor:
        positions = (seen.cumsum(1) - 1).clamp_min(0)
        output = self.model(
            input_ids=ids,
            attention_mask=seen.long(),
            position_ids=positions,
            logits_to_keep=length + 1,
            use_cache=False,
        )
        logits, taken = output.logits[:, -length - 1 : -1], ids[:, -length:]
        return torch.stack([_log_prob(row, tokens, temperature) for row, tokens in zip(logits, taken, strict=True)])


def _log_prob(logits: Tensor, tokens: Tensor, temperature: float) -> Tensor:
    """log p of tokens [T] under logits [T, V]: row by row, whole batches in float32 would be memory to no purpose."""
    return (logits.float() / temperature).log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


def _require_text(number: int, text: object) -> None:
    """Raise a UserError for a prompt that is no text, no Unicode, or empty."""
    if not isinstance(text, str):
        raise UserError(f"prompt {number} is of type {type(text).__name__}, not text")
    if not text.strip():
        raise UserError(f"prompt {number} is empty; a language model needs something to go on from")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"prompt {number} is not valid Unicode (character {error.start} is half a surrogate pair); read it as UTF-8"
        ) from error


def left_padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Rows of different lengths as ids [B, P] and mask [B, P], padding on the left."""
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, longest - len(row) :] = torch.tensor(row, dtype=torch.long)
        mask[i, longest - len(row) :] = True
    return ids, mask


def embedding_table(model: Any) -> Tensor:
    """What the model reads for each token, [V, d]: its embedding's rows, which Gemma's scales on the way."""
    embedding = model.get_input_embeddings()
    if type(embedding).forward is nn.Embedding.forward:
        return embedding.weight.detach()
    return embedding(torch.arange(len(embedding.weight), device=embedding.weight.device)).detach()


def blocks_of(model: nn.Module) -> nn.ModuleList:
    """The list of transformer blocks: the one module list as long as the configuration's number of layers."""
    count = model.config.get_text_config().num_hidden_layers  # type: ignore[operator, union-attr]
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not lists:
        raise UserError(f"{type(model).__name__} has no list of {count} blocks; it is not a decoder-only transformer")
    return lists[0]
