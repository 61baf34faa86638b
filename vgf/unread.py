"""Keys of the command line that a run would not read: refused, so that nobody waits for what was never going to happen.

Only what is named there: a preset or a stored run may well say something for another critic or trainer.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from vgf.config import Config
from vgf.errors import UserError

__all__ = ["require_read", "require_read_by_demonstration"]

_By = dict[str, tuple[str, tuple[str, ...]]]  # key, or group of keys -> the key that decides, and values of it

_READ_WITH: _By = {  # these values alone; the first is what is advised
    "text": ("task", ("llm_reward",)),
    "online": ("trainer", ("online",)),
    "train.td": ("train.critic", ("td",)),
    "train.expectile": ("train.critic", ("iql",)),
    "train.sql_alpha": ("train.critic", ("sql",)),
    "train.actor.alpha": ("trainer", ("fql", "rebrac")),
    "train.actor.critic_alpha": ("trainer", ("rebrac",)),
    "train.actor.normalize_q": ("trainer", ("fql",)),
    "train.actor.inverse_temperature": ("trainer", ("qam",)),
    "train.flow_times": ("net.reference", ("flow",)),
    "train.updates_per_launch": ("compile", ("graph",)),
    "transport.temperature": ("transport.select", ("softmax",)),
    "transport.expectile": ("transport.select", ("expectile",)),
    "transport.bandwidth": ("transport.rule", ("vgf",)),
}
_OF_CONTROL = (
    "net", "data", "train", "online", "compile", "eval.episodes", "eval.baselines", "eval.environments", "eval.videos",
    "transport.critic", "transport.temperature", "transport.expectile", "transport.bandwidth",
)  # fmt: skip
_UNREAD_WITH: _By = dict.fromkeys(_OF_CONTROL, ("task", ("llm_reward",))) | {
    "train.critic": ("trainer", ("extras",)),
    "train.td": ("trainer", ("extras",)),
    "train.expectile": ("trainer", ("fql", "rebrac", "extras")),
    "train.sql_alpha": ("trainer", ("fql", "rebrac", "extras")),
}
_OF_DEMONSTRATION = ("task", "seed", "run_dir")  # all keys that a task with nothing to train reads


def require_read(config: Config, given: Iterable[str]) -> None:
    """Raise a UserError for the first key of the command line that says nothing to this run.

    Args:
        config: what the run is going to be.
        given: keys that the command line names, without their values.
    """
    for key in given:
        for by, values in _of(key, _UNREAD_WITH):
            if (value := attrgetter(by)(config)) in values:
                raise UserError(f"{key} says nothing to {by}={value}; leave it out")
        for by, values in _of(key, _READ_WITH):
            if (value := attrgetter(by)(config)) not in values:
                raise UserError(f"{key} says nothing to {by}={value}; use {by}={values[0]}, or leave it out")


def require_read_by_demonstration(task: str, given: Iterable[str]) -> None:
    """Raise a UserError for the first key that a task with nothing to train does not read."""
    if unread := [key for key in given if key not in _OF_DEMONSTRATION]:
        raise UserError(
            f"{unread[0]} says nothing to task={task}, which reads {', '.join(_OF_DEMONSTRATION)}; leave it out"
        )


def _of(key: str, table: _By) -> list[tuple[str, tuple[str, ...]]]:
    """What a table says of a key and of the groups that it is in."""
    return [decides for group, decides in table.items() if f"{key}.".startswith(f"{group}.")]
