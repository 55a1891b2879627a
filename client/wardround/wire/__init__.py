"""HTTP and server-sent events: the only room that touches the network as a client."""

from wardround.wire.client import HttpAnswer, HttpStream, Wire
from wardround.wire.connection import WireError
from wardround.wire.sse import Event, EventParser

__all__ = ["Event", "EventParser", "HttpAnswer", "HttpStream", "Wire", "WireError"]
