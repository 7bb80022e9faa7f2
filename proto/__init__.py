"""The wire: grange.v1 messages and services, conversions, client stubs and server shells."""

import os

# gRPC reads this once, when it is first imported, which only this package does. By default it writes a line to standard
# error for every connection that goes away: into the shifter's screen. What matters reaches callers as an exception.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
