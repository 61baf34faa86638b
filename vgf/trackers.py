"""Trackers: where metrics go besides ``metrics.jsonl`` and ``eval.csv``, which are always written.

``tracker=tensorboard`` writes event files into the run directory, ``tracker=wandb`` and ``tracker=trackio`` log to a
project called ``vgf``; ``"tracker=[tensorboard,wandb]"`` does both. All get the names of ``metrics.jsonl``, and
``eval/METHOD/BUDGET/...`` for what was evaluated. A tracker that fails is one warning line; the run goes on without.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import Context, copy_context
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from vgf.errors import UserError, did_you_mean

__all__ = ["TRACKERS", "Trackers", "tracker_names"]

_PROJECT = "vgf"
_SECONDS_TO_CONNECT = 30
_SECONDS_TO_FINISH = 60.0


class _Tracker(Protocol):
    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def finish(self) -> None: ...


class _TensorBoard:
    def __init__(self, run_dir: Path, config: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(run_dir / "tensorboard"))
        self._writer.add_text("config", "\n".join(f"    {key}: {value}" for key, value in config.items()), 0)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finish(self) -> None:
        self._writer.close()


class _WandB:
    """Steps are a metric of their own: evaluations of an earlier step may come later."""

    def __init__(self, run_dir: Path, config: Mapping[str, Any]) -> None:
        import wandb

        settings = wandb.Settings(init_timeout=_SECONDS_TO_CONNECT, console="off", reinit="create_new")
        self._run: Any = wandb.init(
            project=_PROJECT, name=_name(run_dir), dir=str(run_dir), config=dict(config), settings=settings
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log({"step": step, **metrics})

    def finish(self) -> None:
        self._run.finish()


class _Trackio:
    """Talks to its own run: the module's functions talk to the last one begun, which several seeds would share.

    A run that begins ends the one before it, as far as it knows of one; so each begins in a context of its own.
    """

    def __init__(self, run_dir: Path, config: Mapping[str, Any]) -> None:
        import trackio

        with contextlib.redirect_stdout(sys.stderr):  # it tells how to open its dashboard
            self._run: Any = Context().run(
                trackio.init, project=_PROJECT, name=_name(run_dir), config=dict(config), resume="allow"
            )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def finish(self) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            self._run.finish()


def _name(run_dir: Path) -> str:
    return "-".join(run_dir.absolute().parts[-2:])


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any]], _Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _WandB,
    "trackio": _Trackio,
}


def tracker_names(value: Any) -> list[str]:
    """The trackers that the key ``tracker`` names.

    Raises:
        UserError: one is unknown, or its package is not installed.
    """
    given = [value] if isinstance(value, str) or not isinstance(value, Sequence) else value
    names = [str(name) for name in given if name not in (None, "none")]
    for name in names:
        if name not in TRACKERS:
            valid = ["none", *TRACKERS]
            raise UserError(f"tracker={name} is unknown; use one of {', '.join(valid)}.{did_you_mean(name, valid)}")
        if importlib.util.find_spec(name) is None:
            raise UserError(f"tracker={name} needs the package {name}: pip install 'vgf[{name}]'")
    return names


class Trackers:
    """Those of a run, started with the first metrics; without any, calls do nothing. Nothing they do raises.

    Args:
        names: keys of ``TRACKERS``.
        run_dir: of the run.
        config: dotted keys and plain values.
    """

    def __init__(
        self, names: Sequence[str] = (), run_dir: Path = Path(), config: Mapping[str, Any] | None = None
    ) -> None:
        self._waiting = {name: partial(TRACKERS[name], run_dir, config or {}) for name in names}
        self._running: dict[str, _Tracker] = {}

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send metrics of a training step; a tracker that fails is left out from then on."""
        for name, make in self._waiting.items():
            with _warning_of(name):
                self._running[name] = make()
        self._waiting = {}
        for name in list(self._running):
            tracker = self._running.pop(name)
            with _warning_of(name):
                tracker.log(step, metrics)
                self._running[name] = tracker

    def finish(self) -> None:
        """Let them send what they still hold, for a minute at most."""
        for name, tracker in self._running.items():
            last = threading.Thread(target=copy_context().run, args=(_finish, name, tracker), daemon=True)
            last.start()
            last.join(_SECONDS_TO_FINISH)
            if last.is_alive():
                _warn(name, f"still sending after {_SECONDS_TO_FINISH:.0f} s; its own files hold the rest")
        self._running = {}


def _finish(name: str, tracker: _Tracker) -> None:
    with _warning_of(name):
        tracker.finish()


@contextlib.contextmanager
def _warning_of(name: str) -> Iterator[None]:
    """One warning line in the place of whatever somebody else's package may raise: metrics are in the run directory."""
    try:
        yield
    except Exception as error:
        _warn(name, f"{type(error).__name__}: {' '.join(str(error).split()) or 'no reason given'}")


def _warn(name: str, reason: str) -> None:
    print(f"warning: tracker={name} is left out from here on ({reason})", file=sys.stderr)
