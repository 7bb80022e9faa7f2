"""Where everything of one farm lies: one directory, its *home*, and this map of it.

    <home>/farm.sock            the farm controller (and farm.sock.lock, held while one serves; farm.sock.login: who
                                calls it; so it is with every controller's socket)
    <home>/access.toml          who may do what, if that is anybody beside the owner
    <home>/grange.db            the configuration database and run registry, unless another database is configured
    <home>/outbox               what is still to be written to the database
    <home>/farm.log             what the farm controller has to say
    <home>/data                 files of the runs
    <home>/cache                what can be computed again: configuration documents, bases
    <home>/sf/<sub-farm>/       a sub-farm controller: c.sock, its log and its cache
    <home>/nodes/<sub-farm>/<node>/   a node's directory: keeper's and agent's sockets, manifests, output of processes
    <home>/x/<sub-farm>/        data sockets between the processes of a sub-farm

Pure names; nothing is looked up or made here. A Unix socket's path has at most 107 bytes, which is why the names that
hold sockets are short and why `check_socket_path` exists.
"""

from dataclasses import dataclass

from .errors import InvalidInput
from .problems import Problem

SOCKET_PATH_BYTES_MAX = 107  # sun_path of Linux has 108, the last for the terminating zero


def check_socket_path(path: str) -> str:
    """The path itself; raises `InvalidInput` with the remedy when it is too long for a Unix socket."""
    length = len(path.encode())
    if length > SOCKET_PATH_BYTES_MAX:
        raise InvalidInput(
            [Problem("home", f"the socket path {path} has {length} bytes, a Unix socket's has at most 107")],
            "Choose a shorter --home (or GRANGE_HOME), for instance under /var/tmp",
        )
    return path


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of one farm; `root` is absolute."""

    root: str

    @property
    def farm_socket(self) -> str:
        return f"{self.root}/farm.sock"

    @property
    def farm_address(self) -> str:
        """As gRPC wants it. Raises `InvalidInput` when the path is too long for a socket."""
        return f"unix:{check_socket_path(self.farm_socket)}"

    @property
    def access(self) -> str:
        return f"{self.root}/access.toml"

    @property
    def database(self) -> str:
        return f"{self.root}/grange.db"

    @property
    def outbox(self) -> str:
        return f"{self.root}/outbox"

    @property
    def farm_log(self) -> str:
        return f"{self.root}/farm.log"

    @property
    def data(self) -> str:
        return f"{self.root}/data"

    @property
    def cache(self) -> str:
        return f"{self.root}/cache"

    def sub_farm_directory(self, sub_farm: str) -> str:
        return f"{self.root}/sf/{sub_farm}"

    def sub_farm_socket(self, sub_farm: str) -> str:
        return f"{self.sub_farm_directory(sub_farm)}/c.sock"

    def sub_farm_address(self, sub_farm: str) -> str:
        """As gRPC wants it. Raises `InvalidInput` when the path is too long for a socket."""
        return f"unix:{check_socket_path(self.sub_farm_socket(sub_farm))}"

    def sub_farm_log(self, sub_farm: str) -> str:
        return f"{self.sub_farm_directory(sub_farm)}/controller.log"

    @property
    def nodes(self) -> str:
        return f"{self.root}/nodes"

    def node_directory(self, sub_farm: str, node: str) -> str:
        return f"{self.nodes}/{sub_farm}/{node}"

    def agent_log(self, sub_farm: str, node: str) -> str:
        return f"{self.node_directory(sub_farm, node)}/agent.log"

    def process_log(self, sub_farm: str, node: str, instance: str) -> str:
        """Where one start of a process writes."""
        return f"{self.node_directory(sub_farm, node)}/logs/{instance}.log"

    def exchange(self, sub_farm: str) -> str:
        """Shared by all nodes of the sub-farm on one machine."""
        return f"{self.root}/x/{sub_farm}"
