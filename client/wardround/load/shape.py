"""A load shape as a user names it, and its arrivals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from wardround.errors import WrongUse
from wardround.load import shapes


@dataclass(frozen=True, slots=True)
class Shape:
    """When requests are sent. `rate_rps` is the rate (of "ramp": the first), `to_rps` the last of a ramp.

    "closed": `users` who each wait for their answer and think for `think_s`. "trace": at `times_s`, `pace` times as
    fast.
    """

    kind: Literal["constant", "poisson", "gamma", "ramp", "closed", "trace"]
    duration_s: float
    rate_rps: float = 0.0
    to_rps: float = 0.0
    burstiness: float = 1.0
    users: int = 0
    think_s: float = 0.0
    times_s: tuple[float, ...] = ()
    pace: float = 1.0

    @property
    def title(self) -> str:
        """The shape in words."""
        if self.kind == "closed":
            thinking = f" who think for {self.think_s:g} s" if self.think_s else ""
            return f"{self.users} users{thinking} for {self.duration_s:g} s"
        if self.kind == "trace":
            return f"trace of {len(self.times_s):,} arrivals at {self.pace:g} times its pace"
        if self.kind == "ramp":
            return f"ramp from {self.rate_rps:g} to {self.to_rps:g} requests/s in {self.duration_s:g} s"
        bursts = f" (burstiness {self.burstiness:g})" if self.kind == "gamma" else ""
        return f"{self.kind}{bursts} {self.rate_rps:g} requests/s for {self.duration_s:g} s"

    @property
    def highest_rps(self) -> float:
        """The highest rate it goes to on average, 0 where it depends on the answers."""
        if self.kind == "trace":
            span_s = (max(self.times_s) - min(self.times_s)) / self.pace
            return len(self.times_s) / span_s if span_s else math.inf
        return 0.0 if self.kind == "closed" else max(self.rate_rps, self.to_rps)

    def arrivals(self, seed: int) -> list[float]:
        """The arrivals in seconds from the start; none of a closed loop. Raises `WrongUse` for what is no shape."""
        try:
            match self.kind:
                case "constant":
                    return list(shapes.constant(self.rate_rps, self.duration_s))
                case "poisson":
                    return list(shapes.poisson(self.rate_rps, self.duration_s, seed))
                case "gamma":
                    return list(shapes.gamma(self.rate_rps, self.duration_s, seed, burstiness=self.burstiness))
                case "ramp":
                    return list(shapes.ramp(self.rate_rps, self.to_rps, self.duration_s))
                case "trace":
                    return list(shapes.trace(self.times_s, pace=self.pace))
                case "closed":
                    return []
        except ValueError as error:
            raise WrongUse(f"--shape {self.kind}: {error}") from error
