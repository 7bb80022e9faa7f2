"""A simulated farm: the production core under a virtual clock, with seeded delays and faults on demand.

Everything that decides is the real thing: the controllers (`core/controller.py`) at every level of the tree, however
deep, the agents (`core/process.py`) and the keepers (`core/keeping.py`) of the nodes. What is simulated is what lies
around them:

    programs.py               what the edges of a controller do: events, effects, links
    virtual_time.py           the world's time, and clocks that differ
    network.py                streams: delayed, stalled, lost in one direction, opened anew
    records.py                the database and the outbox before it
    simulated_controller.py   a controller program
    simulated_node.py         a node: its agent
    simulated_keeper.py       its keeper, and what of its machine outlives both
    simulated_process.py      what really runs there
    faults.py                 what can befall all these

One seeded generator makes every choice, so a world replays exactly from its seed.
"""

import itertools

from grange.core.effects import Answer, Persist, Refuse
from grange.core.events import CancelGiven, CommandGiven, LeaseCommandGiven, MemberCommandGiven
from grange.core.names import Command, LeaseAction, MemberCommand, State
from grange.core.paths import parent
from grange.core.plan import FarmSpec
from grange.core.reports import NO_TERMS, Row, RunTerms

from .programs import Programs
from .simulated_process import SimProcess
from .surroundings import Times

PERSON = "tester"  # who commands, unless somebody else is said to


class World(Programs):
    """A farm of `farm`'s shape. Drive it with `command`, `run_until` and the fault methods; read `log`.

    With `clocks_differ` each program has a clock of its own, which no other's agrees with.
    """

    def __init__(self, farm: FarmSpec, seed: int = 0, times: Times | None = None, clocks_differ: bool = False) -> None:
        super().__init__(farm, seed, times, clocks_differ)
        self._commands = itertools.count(1)
        self.start_farm()

    @property
    def records(self) -> list[Persist]:
        """What was to be recorded, in its order."""
        return self.database.records

    @property
    def run_numbers(self) -> dict[str, int]:
        """The run numbers that were allotted, by command."""
        return self.database.run_numbers

    # ---- people -----------------------------------------------------------------------------------------------------

    def command(
        self,
        what: str,
        path: str = "",
        timeout_s: float = 0.0,
        command_id: str = "",
        terms: RunTerms = NO_TERMS,
        gone: bool = False,
        person: str = PERSON,
    ) -> str:
        """Gives a command ("configure", "go running", "member restart") to the farm and returns its id."""
        command_id = command_id or f"c{next(self._commands)}"
        paths, digest = tuple(path.split()) or ("",), f"{what} {path}"
        if what.startswith("member "):
            member = MemberCommand(what.removeprefix("member "))
            given = MemberCommandGiven(
                command_id, digest, member, paths, person, timeout_s, gone=gone, selected=self.farm
            )
            self.tell(self.root, given)
            return command_id
        go = what.removeprefix("go ") if what.startswith("go ") else None
        target = None if go is None else State.TAKING if go == "running" else State(go)
        step = Command(what) if go is None else None
        event = CommandGiven(command_id, digest, paths, step, target, person, timeout_s, terms, selected=self.farm)
        self.tell(self.root, event)
        return command_id

    def lease(self, action: LeaseAction, person: str, life_s: float = 0.0) -> None:
        """Takes the right to command, or gives it back."""
        self.tell(self.root, LeaseCommandGiven(action, person, life_s))

    def select(self, farm: FarmSpec) -> None:
        """Selects another revision for the commands to come."""
        self.farm = self.revisions[farm.revision] = farm

    def cancel(self, command_id: str = "") -> None:
        self.tell(self.root, CancelGiven(command_id, PERSON))

    def outcome(self, command_id: str) -> Answer | Refuse | None:
        """What became of a command; None while it is under way."""
        return self.answers.get(command_id) or self.refusals.get(command_id)

    def carry_out(
        self, what: str, path: str = "", timeout_s: float = 0.0, terms: RunTerms = NO_TERMS
    ) -> Answer | Refuse:
        """Gives a command and lets time pass until its outcome."""
        command_id = self.command(what, path, timeout_s, terms=terms)
        self.run_until(lambda: self.outcome(command_id) is not None)
        outcome = self.outcome(command_id)
        if outcome is None:
            raise AssertionError(f"{what} {path} has no outcome after ten minutes; still under way: {self.root.core}")
        return outcome

    def row(self, path: str = "") -> Row:
        """A member as the controller sees it that has it: for a controller itself, as it sees itself."""
        at = path
        while at not in self.controllers or not self.controllers[at].alive:
            at = parent(at)
        controller = self.controllers[at]
        return controller.core.rows(controller.clock.shows(self.now), path, 0)[0]

    def state(self, path: str = "") -> State:
        return self.row(path).state

    # ---- what is really so ------------------------------------------------------------------------------------------

    def process(self, path: str) -> SimProcess:
        """The truth about a process, and the switches of its behaviour."""
        return self.node(parent(path)).slot(path)

    def processes(self) -> list[SimProcess]:
        return [slot for node in self.nodes.values() for slot in node.slots.values()]

    def reform(self) -> None:
        """From now on all processes behave well."""
        for slot in self.processes():
            slot.behave()

    # ---- faults -----------------------------------------------------------------------------------------------------

    def kill_process(self, path: str) -> None:
        slot = self.process(path)
        slot.end(slot.instance, {"signal": 9})

    def restart_node(self, path: str, forgets: bool = True) -> None:
        """The machine of a node restarts: its processes are gone, and perhaps what was known of them."""
        self.hang_up(self.node(path), "the stream ended")
        self.node(path).restart(forgets)
        self.after(self.times.launch_s * 1.5, lambda: self.dial(self.node(path)))

    def cut(self, path: str) -> None:
        """Cuts the network between a node or a controller and its parent; `mend` ends it."""
        end = self.end(path)
        end.cut = True
        self.hang_up(end, "no heartbeat")

    def mend(self, path: str) -> None:
        self.end(path).cut = False
        if not self.network.is_whole(path, parent(path)):
            self.hang_up(self.end(path), "the stream was reset")  # no stream goes on with a message missing
        self.network.mend(path, parent(path))
        self.dial(self.end(path))
