"""Load tests: arrivals, a client that measures the server and not itself, and the formulas of what it measured."""
