"""What both ends of a call have to agree upon."""

MESSAGE_BYTES_MAX = 4 * 1024 * 1024  # gRPC's default, made explicit; larger answers are sent in chunks
STATUS_BYTES_MAX = 256 * 1024  # of an error with its details; it travels in metadata
METADATA_BYTES_MAX = 2 * STATUS_BYTES_MAX  # gRPC's own limit, 8 kB, is too small for a configuration's problems
LOGIN_LINE_BYTES_MAX = 4096  # what is said at a login socket, each way
