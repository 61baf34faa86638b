"""``/act``: observations to actions of a control run, at a budget per request; ``/info``: what the run is.

Every call of the networks has the same number of rows, and each observation's particles begin at an even one. Matrix
products round a row differently in a product of another size, and at another place of a block of rows; an answer would
depend on who asks at the same time. It differs from :meth:`vgf.policy.Policy.act` by such rounding alone.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response

from vgf.config import Config, MethodConfig
from vgf.errors import UserError
from vgf.evaluation import particle_noise
from vgf.methods import method_names
from vgf.policy import Policy
from vgf.serve.batching import Abandoned, Batcher
from vgf.serve.http import ApiError, Fields, json_response, read_fields
from vgf.serve.limits import Limits, read_budget
from vgf.transport import Budget

__all__ = ["ControlService"]

_SLOTS = 8  # observations of every call


class ActFields(Fields):
    """A request to ``/act``; observations are [S] or [B, S]."""

    observations: list[float] | list[list[float]]
    budget: Any = None
    seed: int | None = None
    method: str | None = None


@dataclass(frozen=True)
class _Key:
    method: str
    budget: Budget


class ControlService:
    """Serves a policy.

    Args:
        policy: of the run.
        config: the run's.
        limits: on requests.
        window: seconds that a request waits for company.
    """

    def __init__(self, policy: Policy, config: Config, limits: Limits, window: float) -> None:
        self.policy, self.config, self.limits = policy, config, limits
        self.batcher = Batcher(self._decide, most=_SLOTS, window=window, seconds=limits.seconds, waiting=limits.waiting)
        self.methods = self._methods()
        own = policy.method.method
        self.method = own if own in self.methods else next(iter(self.methods))  # method=all has none of its own
        self.router = APIRouter()
        self.router.add_api_route("/act", self.act, methods=["POST"])

    async def act(self, request: Request) -> Response:
        """Choose actions: one row of the answer for each observation, or bare values for a single one."""
        asked = await read_fields(request, ActFields, self.limits.body)
        rows = self._observations(asked.observations)
        name = asked.method or self.method
        if name not in self.methods:
            raise ApiError(400, f"method {name[:60]!r} is unknown; this run has {', '.join(self.methods)}", "method")
        try:
            budget = read_budget(asked.budget, self.methods[name], self.limits)
        except UserError as error:
            raise ApiError(400, str(error), "budget") from error
        seed = secrets.randbits(31) if asked.seed is None else asked.seed
        if not 0 <= seed < 2**63:
            raise ApiError(400, f"seed={seed} must be 0 or more and fit 63 bits", "seed")
        key = _Key(name, budget)
        found = await self.batcher.answers([(key, (row, seed, number)) for number, row in enumerate(rows)])
        several = len(asked.observations) > 0 and isinstance(asked.observations[0], list)
        answer = {field: [row[field] for row in found] if several else found[0][field] for field in found[0]}
        return json_response(answer | {"method": name, "budget": dataclasses.asdict(budget), "seed": seed})

    def info(self) -> dict[str, Any]:
        """What a client has to know."""
        sizes = self.policy.networks.sizes
        return {
            "kind": "control",
            "task": self.config.task,
            "env": self.config.env,
            "observation": sizes.observation,
            "action": sizes.action,
            "chunk": sizes.chunk,
            "step": self.policy.step,
            "methods": {
                name: {
                    "knob": method.transport.knob,
                    "budget": dataclasses.asdict(read_budget(None, method, self.limits)),
                    "largest": dataclasses.asdict(self.limits.largest(method)),
                }
                for name, method in self.methods.items()
            },
            "method": self.method,
        }

    def _methods(self) -> Mapping[str, MethodConfig]:
        """The run's own method, as configured, and every other one that it has networks for."""
        found = {}
        for name in method_names():
            method = self.policy.resolve(name)
            try:
                self.policy.require(method)
            except UserError:
                continue
            found[name] = method
        return found

    def _observations(self, given: Sequence[Any]) -> np.ndarray:
        size = self.policy.networks.sizes.observation
        rows = given if given and isinstance(given[0], list) else [given]
        if len(rows) > self.limits.rows:
            raise ApiError(400, f"{len(rows)} observations are more than this server's limit of {self.limits.rows}")
        if wrong := [len(row) for row in rows if len(row) != size]:
            raise ApiError(400, f"an observation has {wrong[0]} numbers; this run's have {size}", "observations")
        with np.errstate(over="ignore"):
            array = np.asarray(rows, np.float32)  # [B, S]
        if not np.isfinite(array).all():
            raise ApiError(400, "observations hold a number that is not finite in float32", "observations")
        return array

    def _decide(self, key: _Key, rows: Sequence[Any], wanted: Callable[[], bool]) -> list[dict[str, Any]]:
        if not wanted():
            raise Abandoned
        method, policy = self.methods[key.method], self.policy
        filled = [*rows, *[rows[0]] * (_SLOTS - len(rows))]
        copies = 2 if method.transport.particles % 2 else 1
        noise = [particle_noise(seed, number, 0, policy.noise_shape(method)) for _, seed, number in filled]
        states = np.stack([observation for observation, _, _ in filled])  # [B, S]
        decided = policy.decide(states.repeat(copies, 0), np.stack(noise).repeat(copies, 0), key.budget, method)
        return [
            {
                "actions": decided.actions[i, 0].tolist(),
                "chunks": decided.actions[i].tolist(),
                "values": _finite(decided.values[i]),
                "judged": _finite(decided.judged[i]),
                "travelled": _finite(decided.travelled[i]),
            }
            for i in range(0, copies * len(rows), copies)
        ]


def _finite(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
