"""The embedded server: parameterless baselines behind the APIs of real engines, with a latency model and faults."""

from wardround.baseline.answerers import BASELINES, answer
from wardround.baseline.latency import Latency
from wardround.baseline.limits import RateLimits
from wardround.baseline.server import serve
from wardround.baseline.state import Behaviour, Faults, ServerOptions

__all__ = ["BASELINES", "Behaviour", "Faults", "Latency", "RateLimits", "ServerOptions", "answer", "serve"]
