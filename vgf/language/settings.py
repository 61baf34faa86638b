"""The keys under ``text`` of a run's configuration: reference, prompts, sampling, rewards, value heads, finetuning."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

__all__ = ["FinetuneConfig", "HeadsConfig", "LimitsConfig", "RewardConfig", "TextConfig"]

_REFERENCE = "HuggingFaceTB/SmolLM2-135M-Instruct"
_JUDGE = "sentence-transformers/all-MiniLM-L6-v2"


@dataclass
class RewardConfig:
    """One reward: a trained model that is loaded, a model that is trained here, or a function."""

    model: str = "reference"  # reference: its first blocks; a path or hub name to train from; a scorer such as vader
    path: str | None = None  # a finished reward model (folder or hub name); nothing is trained
    data: str = "reviews"  # preference pairs: reviews, a file, a folder or a hub name
    columns: dict[str, str] = field(default_factory=dict)  # prompt, chosen, rejected -> the data set's names
    pairs: int | None = 6000  # how many to use; null: all
    words: int = 24  # length of the passages that reviews are cut into
    layers: int | None = 10  # of model=reference: blocks kept
    train_layers: int | None = 3  # top blocks that learn; null: all
    lora: int | None = None  # rank of adapters in all linear layers, in the place of train_layers
    epochs: float = 1.0  # over the pairs
    batch_size: int = 8  # pairs
    learning_rate: float = 5e-4  # of AdamW
    max_length: int = 512  # tokens of prompt and completion; of longer texts the first token and the last ones


@dataclass
class HeadsConfig:
    """Value heads, fitted to rewards of reference samples."""

    layer: int | None = None  # whose output they read and move; null: two thirds of the way up
    prompts: int = 320  # training prompts, the first of the file: of value heads and of trainers
    hidden: int = 128  # width of each head's layer
    heads: int = 4  # in the ensemble
    steps: int = 1500  # updates at most; it ends where held-out prefixes are predicted no better
    batch_size: int = 512  # tokens of an update
    learning_rate: float = 1e-3  # of AdamW
    weight_decay: float = 0.1  # of AdamW


@dataclass
class FinetuneConfig:
    """Adapters that need no gradient at test time: trainer=distill and, on the same reward and prompts, its rivals."""

    rounds: int = 2  # distill: of sampling, moving, selecting and training
    prompts: int = 160  # distill: training prompts of a round; dpo: all of them. At most text.heads.prompts
    keep: int = 4  # distill: completions kept of each prompt, the best of moved and unmoved ones by the proxy
    reference_share: float = 0.2  # distill: share of the examples that are plain samples of the reference
    generations: int = 8  # grpo, rloo, dpo: completions of a prompt that are compared with each other
    beta: float = 0.05  # grpo, rloo, dpo: weight of the divergence from the reference
    max_steps: int = 100  # grpo, rloo: updates
    lora: int = 16  # rank of the adapter, which is in all linear layers of the blocks
    learning_rate: float = 3e-4  # of AdamW
    epochs: float = 2.0  # distill: of each round; dpo
    batch_size: int = 16  # completions of an update; dpo: pairs
    measured: int = 64  # training prompts on whose samples an adapter's proxy, NLL and KL are reported


@dataclass
class LimitsConfig:
    """A text that has moved further from its twin than this is its twin."""

    changed: float | None = None  # share of tokens that may differ
    nll_rise: float | None = None  # nats a token under the reference


@dataclass
class TextConfig:
    """A language run."""

    model: str = _REFERENCE  # the reference: a folder, a .gguf file or a hub name
    adapter: str | None = None  # LoRA weights on top of it, such as trainer=distill makes
    dtype: str = "auto"  # float32 | bfloat16 | auto: bfloat16
    cache: str = field(
        default_factory=lambda: os.environ.get("VGF_MODELS", "~/.cache/vgf")
    )  # where models are kept; the variable VGF_MODELS moves it
    prompts: str = "reviews"  # reviews: their first words; reward: its own; a file, folder or hub name with prompts
    columns: dict[str, str] = field(default_factory=dict)  # prompt, completion -> the data set's names
    split: str = "train"  # of a data set from the hub
    opening: int = 4  # words of a review that make a prompt
    held_out: int = 100  # prompts that evaluation uses and nothing else sees
    chat: bool = False  # put prompts through the chat template
    new_tokens: int = 20  # length of a completion at most
    temperature: float = 1.0  # of sampling
    top_k: int | None = None  # keep only the likeliest tokens; null: all
    top_p: float | None = None  # keep the likeliest tokens of this total probability; null: all
    stop: list[str] = field(default_factory=list)  # a text ends before the first of these strings
    batch: int = 12  # prompts decoded side by side
    seeds: int = 3  # of the noise in evaluation
    reward: RewardConfig = field(default_factory=RewardConfig)
    gold: RewardConfig = field(
        default_factory=lambda: RewardConfig(model=_JUDGE, train_layers=None, learning_rate=1e-4)
    )
    second: RewardConfig | None = field(default_factory=lambda: RewardConfig(model="vader"))
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    auto_prompts: int = 36  # budget=auto: training prompts on which the judge compares budgets
    sweep_seeds: int = 1  # of them for the budgets that are not the configured one, tilt and length
    sweep_prompts: int | None = 48  # held-out prompts for those, in whole batches; null: all
    controls: list[str] = field(
        default_factory=lambda: ["best_of_n", "temperature", "random", "tilt", "length"]
    )  # evaluated beside the method
    sharper: float | None = None  # temperature of the control that only sharpens; null: 0.7 times temperature
    candidates: list[int] = field(default_factory=lambda: [16, 18])  # of the control best_of_n
