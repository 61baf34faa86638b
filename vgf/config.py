"""The configuration of a run, as structured configs: a wrong name or type is an error that names the key.

YAML files in ``configs/`` fill these in: ``task`` (what to solve), ``method`` (how particles are
moved at test time), ``preset`` (sizes and lengths). ``configs/config.yaml`` has the defaults list.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from vgf.cores import cores
from vgf.language.settings import TextConfig

__all__ = [
    "ActorConfig", "BudgetConfig", "Config", "DataConfig", "EvalConfig", "MethodConfig", "NetConfig", "OnlineConfig",
    "SACConfig", "TDConfig", "TrainConfig", "TransportConfig",
]  # fmt: skip


@dataclass
class SACConfig:
    """task=mujoco: the SAC run of stable-baselines3 whose data stand in for D4RL's; its seed is data.seed."""

    steps: int = 80_000  # environment steps in all
    environments: int = 4  # played side by side
    updates: int = 2  # gradient steps after a step in each environment
    hidden: int = 128  # width of the two layers of actor and critics
    learning_rate: float = 1e-3  # of actor and critics
    start: int = 4_000  # environment steps of random actions before the first update
    medium: float = 0.5  # the medium policy is the first to come this share of the way from random to final return
    rollout: int = 50_000  # transitions recorded of the medium and of the final policy


@dataclass
class DataConfig:
    """Where transitions come from."""

    source: str = "auto"  # auto | path | download | generate
    path: str | None = None  # a data file; of OGBench its validation file is found beside it
    transitions: int | None = 200_000  # how many to make or use; null: the official size
    seed: int = 0  # of generated episodes, of those that are drawn or held out, of the goals in probe.npz
    folder: str = field(
        default_factory=lambda: os.environ.get("VGF_DATA", "~/.cache/vgf/data")
    )  # where data sets are kept; the variable VGF_DATA moves it
    mirrors: list[str] = field(
        default_factory=lambda: ["https://rail.eecs.berkeley.edu/datasets/ogbench"]
    )  # tried in this order for OGBench's files
    columns: dict[str, str] = field(default_factory=dict)  # task=custom, mujoco: standard name -> the file's name
    held_out: float = 0.1  # task=custom, mujoco: share of the episodes that validate
    action_low: float | None = None  # task=custom: bounds of the data's actions; null: env's, or [-1, 1] without one
    action_high: float | None = None  # with action_low
    rewards: str = "d4rl"  # task=mujoco: d4rl (its transformations, for training alone) | raw
    sac: SACConfig = field(default_factory=SACConfig)
    memory_gb: float | None = None  # shards: resident at a time; null: 1 on a CPU, half of a GPU's free memory
    swap_every: int = 1000  # shards: updates between swaps of one
    sha256: str | None = None  # of the training file that is downloaded, or of data.path, when you know it
    processes: int = field(default_factory=lambda: len(cores()))  # that generate episodes


@dataclass
class NetConfig:
    """Sizes of all networks."""

    hidden: int = 256  # width of every layer
    layers: int = 3  # hidden layers of every network
    heads: int = 2  # critics in the ensemble
    extras: list[str] = field(default_factory=list)  # for single rules: gradient, noisy, flow_map, optimal
    reference: str = "flow"  # the behaviour-cloned source of particles: flow | gaussian
    policy: str | None = None  # a source trained for reward in its place; the trainers that have one set it
    judge: bool = True  # critics of the held-out episodes, which value moved particles and never move one
    activation: str = "gelu"  # gelu | relu
    policy_norm: bool = True  # LayerNorm in sources; critics always have it


@dataclass
class TDConfig:
    """The particles of a TD target (train.critic=td): how the source's actions are moved before they are valued."""

    rule: str = "vgf"  # that moves them: a rule of vgf.transport.RULES
    particles: int = 10  # a next state
    steps: int | None = None  # budget of the move; null: the rule's default
    size: float | None = None  # budget of the move; null: the rule's default
    moved_by: str = "online"  # the critic that moves: online | target; the target critic values
    aggregate: str = "mean"  # of the heads that move; train.aggregate is of those that value
    alpha: float = 0.2  # of rule=vgf: the gradient is divided by it


@dataclass
class ActorConfig:
    """Train-time baselines: how strongly a policy is trained away from the reference."""

    alpha: float = 10.0  # FQL: weight of the distance from the reference; ReBRAC: beta_1
    critic_alpha: float = 0.0  # ReBRAC: beta_2, the same distance in the TD target
    inverse_temperature: float = 0.1  # QAM: tau, weight of the value gradient
    normalize_q: bool = False  # FQL: divide Q by its mean size, as ReBRAC always does


@dataclass
class TrainConfig:
    """One training run of reference flow and critic."""

    steps: int = 25_000  # updates
    batch_size: int = 256  # transitions (chunks) of an update
    accumulate: int = 1  # micro-batches that an update's batch is cut into; less memory, the same update
    learning_rate: float = 3e-4  # of Adam
    discount: float = 0.99  # gamma, a step
    chunk: int = 1  # actions played open loop after one observation
    n_step: int | None = None  # rewards summed before bootstrapping; null: the chunk's length
    flow_steps: int = 10  # Euler steps of the reference flow
    flow_times: str = "grid"  # it is trained at: grid (those of its Euler steps, and 1) | uniform (all in [0, 1))
    critic: str = "iql"  # iql | sql | sarsa | td
    expectile: float = 0.9  # of iql
    sql_alpha: float = 1.0  # of sql
    aggregate: str = "min"  # how target heads become one value
    td: TDConfig = field(default_factory=TDConfig)
    actor: ActorConfig = field(default_factory=ActorConfig)
    freeze: list[str] = field(default_factory=list)  # networks that stay as they are: flow, q, v, policy, judge, extras
    target_rate: float = 0.005  # of the Polyak average
    precision: str = "auto"  # of the forward pass: float32 | bfloat16 | auto (bfloat16 where the hardware has it)
    updates_per_launch: int = 10  # of compile=graph
    nonfinite: str = "stop"  # stop | skip: what becomes of an update whose loss or gradient is not finite
    log_every: int = 500  # updates between lines of metrics.jsonl
    save_every: int = 2_500  # updates between checkpoints
    keep_every: int | None = None  # of save_every; checkpoints at multiples of it stay; null: the last two and the best


@dataclass
class OnlineConfig:
    """What trainer=online does after train.steps updates on the data."""

    steps: int = 20_000  # environment steps, one update each from online.start on
    start: int = 1_000  # environment steps before the first update
    method: str | None = "best_of_n"  # that plays while training; null: the run's own, at its own budget
    balanced: bool = False  # half of each batch from what was played
    eval_every: int = 5_000  # environment steps between evaluations


@dataclass
class TransportConfig:
    """How a method moves particles at test time."""

    rule: str = "qgf"  # a rule of vgf.transport.RULES, or of text
    knob: str = "size"  # the budget field that eval.budgets sweeps: steps | size
    particles: int = 1  # moved side by side for each decision
    select: str = "none"  # none | max | mean | softmax | expectile | keep_best
    temperature: float = 1.0  # of select=softmax
    expectile: float = 0.9  # of select=expectile
    gate: float | None = None  # a particle stops where heads disagree this many times as much as at its twin
    keep_best: bool = False  # a particle that ends worth less than its twin is its twin
    critic: str = "target"  # which critic moves and selects: target | online
    aggregate: str = "min"  # how the critic's heads become one value: min | mean | mean-RHO*std
    alpha: float = 1.0  # of rule=vgf: the value gradient is divided by it; less of it, more value
    bandwidth: float | None = None  # of rule=vgf's kernel; null: median heuristic
    step: str | None = None  # null: the rule's own
    options: dict[str, Any] = field(default_factory=dict)  # the rule's own options, such as samples of qpilots_m


@dataclass
class BudgetConfig:
    """The configured budget; null fields take the rule's default."""

    auto: bool = False  # budget=auto: the method's knob as far as critic and judge can be trusted
    steps: int | None = None  # moves after the flow, or guided Euler steps inside it
    size: float | None = None  # of one move: step size or guidance weight, in the rule's own unit
    radius: float | None = None  # furthest RMS distance per coordinate from the unmoved particle


@dataclass
class EvalConfig:
    """How a policy is scored."""

    episodes: int = 50  # at every budget
    budgets: list[float] | None = None  # values of the knob; null: the method's own sweep
    seed: int = 0  # of environments and particle noise: the same for every method and budget
    baselines: list[str] = field(default_factory=lambda: ["best_of_n"])  # methods at their own budget, or METHOD@BUDGET
    environments: int = 10  # slots played side by side; scores depend on this number, not on processes
    processes: int = field(default_factory=lambda: len(cores()))  # that step environments
    videos: int = 1  # episodes shown as GIFs, moved and unmoved, where frames can be drawn; 0: none


@dataclass
class MethodConfig:
    """What one file in ``configs/method`` says."""

    method: str = "qgf"  # how particles are moved at test time; all: every one the run has networks for
    transport: TransportConfig = field(default_factory=TransportConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    sweep: list[float] = field(default_factory=lambda: [0.0])  # values of the knob that eval.budgets defaults to


@dataclass
class Config(MethodConfig):
    """Everything about a run. Keys of the top level come first, groups after them."""

    task: str = "ogbench"  # what to solve
    preset: str = "default"  # sizes, lengths and budgets that go together
    trainer: str = "offline"  # how the networks come about
    mode: str = "train"  # train | eval
    env: str | None = "cube-single-play-singletask-task2-v0"  # null: no environment (task=custom)
    seed: int = 0  # of data order, networks and noise in training
    seeds: int | None = None  # train that many seeds at once, from ``seed`` upwards; each gets its own run directory
    init: str | None = None  # a run directory whose networks (and settings) training starts from
    run: str | None = None  # mode=eval: the run directory to evaluate
    run_dir: str = "runs/${env}/${preset}-seed${seed}"  # where everything about the run is kept
    resume: str = "auto"  # auto: go on with the run in run_dir | never: refuse to touch it
    compile: str = "off"  # off | on | graph (CUDA: several updates a launch; elsewhere as on)
    device: str = "auto"  # auto | cpu | cuda
    tracker: Any = "none"  # where metrics go besides the run directory: none, tensorboard, wandb, trackio, or a list
    threads: int | None = None  # cores to compute on; null: two (terms of an update side by side), large networks all
    data: DataConfig = field(default_factory=DataConfig)
    net: NetConfig = field(default_factory=NetConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    online: OnlineConfig = field(default_factory=OnlineConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    text: TextConfig = field(default_factory=TextConfig)  # language tasks

    @property
    def total_steps(self) -> int:
        """Steps of the whole training: updates on data, and environment steps where there are any."""
        return self.train.steps + (self.online.steps if self.trainer == "online" else 0)
