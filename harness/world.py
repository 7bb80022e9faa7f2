"""A simulated farm: the production core under a virtual clock, with seeded delays and faults on demand.

Everything that decides is the real thing: the controllers (`core/controller.py`) at every level of the tree, however
deep, and the agents of the nodes (`harness/simulated_node.py`). What is simulated is what lies around them: links with
a delay, launchers, and the database's records and run numbers. Events wait in one heap, ordered by time and then by
number, and one seeded generator makes every choice, so a world replays exactly from its seed.
"""

import heapq
import itertools
import random
from collections.abc import Callable

from grange.core.controller import Controller, new_memory
from grange.core.effects import (
    Accept,
    AllotRunNumber,
    Answer,
    Effect,
    Launch,
    Persist,
    Refuse,
    Release,
    Say,
    SendDocument,
    SendGoal,
    SendOrders,
    WakeAt,
)
from grange.core.events import (
    AllotFailed,
    CancelGiven,
    ChildAttached,
    ChildLost,
    CommandGiven,
    ControllerReported,
    DocumentGiven,
    Event,
    GoalGiven,
    LaunchFailed,
    MemberCommandGiven,
    ProcessesReported,
    RunNumberAllotted,
    Ticked,
)
from grange.core.names import Command, Kind, MemberCommand, State
from grange.core.paths import join, parent
from grange.core.plan import FarmSpec
from grange.core.reports import NO_TERMS, ControllerReport, Row, RunTerms

from .records import keep, what_is_remembered
from .simulated_node import SimNode, SimProcess, Times

REDIAL_S = 0.05  # a child that lost its parent tries again after this


class SimController:
    """One controller program: the real core, and what it has sent."""

    def __init__(self, world: "World", path: str, incarnation: int) -> None:
        root = path == ""
        name = path.rsplit("/", 1)[-1] or world.farm.name
        kind = Kind.FARM if root else Kind.SUB_FARM
        self.path = path
        self.name = name
        self.core = Controller(new_memory(path, name, kind, root, (incarnation,) if root else ()))
        self.alive = True
        self.cut = False  # the network between it and its parent
        self.incarnation = incarnation
        self.parent: SimController | None = None
        self.told: ControllerReport | None = None
        self.telling = False
        self.wake_token = 0


class World:
    """A farm of `farm`'s shape. Drive it with `command`, `run_until` and the fault methods; read `log`."""

    def __init__(self, farm: FarmSpec, seed: int = 0, times: Times | None = None) -> None:
        self.farm = farm  # the selected revision
        self.revisions = {farm.revision: farm}
        self.times = times or Times()
        self.random = random.Random(seed)
        self.now = 0.0
        self.log: list[tuple[float, str, str]] = []
        self.events = 0
        self.answers: dict[str, Answer] = {}
        self.refusals: dict[str, Refuse] = {}
        self.records: list[Persist] = []
        self.launch_troubles: dict[str, str] = {}  # path of a node or controller: why it cannot be launched
        self.allot_trouble = ""  # why there are no run numbers
        self.repeats = False  # every report of an agent arrives twice
        self.effects_seen: list[Callable[[SimController, Effect], None]] = []
        self.event_seen: list[Callable[[], None]] = []
        self.nodes: dict[str, SimNode] = {}
        self.controllers: dict[str, SimController] = {}
        self._last_arrival: dict[tuple[str, str], float] = {}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = itertools.count()
        self.run_numbers: dict[str, int] = {}
        self._running_since_s: dict[int, float] = {}
        self._commands = itertools.count(1)
        self._incarnations = itertools.count(1)
        self.start_farm()

    # ---- time -------------------------------------------------------------------------------------------------------

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + delay_s, next(self._counter), action))

    def over(self, link: tuple[str, str], action: Callable[[], None]) -> None:
        """Sends something over a link: delayed, and never overtaking what was sent before."""
        arrives_s = max(self.now + self.vary(self.times.link_s), self._last_arrival.get(link, 0.0))
        self._last_arrival[link] = arrives_s
        self.after(arrives_s - self.now, action)

    def vary(self, mean_s: float) -> float:
        return mean_s * (1 + self.times.spread * (2 * self.random.random() - 1))

    def run_until(self, done: Callable[[], bool], limit_s: float = 600.0) -> bool:
        """Lets time pass until `done`, or for `limit_s` of virtual time; says whether it was done."""
        end = self.now + limit_s
        while not done():
            if not self._heap or self._heap[0][0] > end:
                self.now = end
                return done()
            self.now, _, action = heapq.heappop(self._heap)
            action()
        return True

    def run_for(self, seconds: float) -> None:
        self.run_until(lambda: False, seconds)

    # ---- people -----------------------------------------------------------------------------------------------------

    @property
    def root(self) -> SimController:
        return self.controllers[""]

    def command(
        self,
        what: str,
        path: str = "",
        timeout_s: float = 0.0,
        command_id: str = "",
        terms: RunTerms = NO_TERMS,
        gone: bool = False,
    ) -> str:
        """Gives a command ("configure", "go running", "member restart") to the farm and returns its id."""
        command_id = command_id or f"c{next(self._commands)}"
        paths, digest = tuple(path.split()) or ("",), f"{what} {path}"
        if what.startswith("member "):
            member = MemberCommand(what.removeprefix("member "))
            given = MemberCommandGiven(
                command_id, digest, member, paths, "tester", timeout_s, gone=gone, selected=self.farm
            )
            self.tell(self.root, given)
            return command_id
        go = what.removeprefix("go ") if what.startswith("go ") else None
        target = None if go is None else State.TAKING if go == "running" else State(go)
        step = Command(what) if go is None else None
        event = CommandGiven(command_id, digest, paths, step, target, "tester", timeout_s, terms, selected=self.farm)
        self.tell(self.root, event)
        return command_id

    def select(self, farm: FarmSpec) -> None:
        """Selects another revision for the commands to come."""
        self.farm = self.revisions[farm.revision] = farm

    def cancel(self, command_id: str = "") -> None:
        self.tell(self.root, CancelGiven(command_id, "tester"))

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
        return self.controllers[at].core.rows(self.now, path, 0)[0]

    def state(self, path: str = "") -> State:
        return self.row(path).state

    # ---- what is really so ------------------------------------------------------------------------------------------

    def node(self, path: str) -> SimNode:
        return self.nodes.setdefault(path, SimNode(self, path))

    def process(self, path: str) -> SimProcess:
        """The truth about a process, and the switches of its behaviour."""
        return self.node(parent(path)).slot(path)

    def processes(self) -> list[SimProcess]:
        return [slot for node in self.nodes.values() for slot in node.slots.values()]

    # ---- faults -----------------------------------------------------------------------------------------------------

    def kill_process(self, path: str) -> None:
        node, slot = self.node(parent(path)), self.process(path)
        node.end(slot, slot.instance, {"signal": 9})

    def kill_agent(self, path: str) -> None:
        node = self.node(path)
        if node.agent_up:
            self._detach(node, "the stream ended")
            node.kill_agent()
            self.after(self.times.launch_s * 1.5, lambda: self._dial(node))

    def restart_node(self, path: str) -> None:
        """The machine of a node restarts: its processes are gone."""
        self._detach(self.node(path), "the stream ended")
        self.node(path).restart()
        self.after(self.times.launch_s * 1.5, lambda: self._dial(self.node(path)))

    def cut(self, path: str) -> None:
        """Cuts the network between a node or a controller and its parent; `mend` ends it."""
        if path in self.nodes:
            self.nodes[path].cut = True
            self._detach(self.nodes[path], "no heartbeat")
            return
        child = self.controllers[path]
        child.cut = True
        above, child.parent = child.parent, None
        if above is not None:
            self.tell(above, ChildLost(child.name, "no heartbeat"))

    def mend(self, path: str) -> None:
        if path in self.nodes:
            self.nodes[path].cut = False
            self._dial(self.nodes[path])
        else:
            self.controllers[path].cut = False
            self._dial_controller(self.controllers[path])

    def kill_controller(self, path: str) -> None:
        """kill -9 of a controller: its memory is gone, its children notice that the link ended."""
        controller = self.controllers[path]
        if not controller.alive:
            return
        self.note(path or self.farm.name, "killed")
        self._end(controller, "the stream ended")

    def _end(self, controller: SimController, reason: str) -> None:
        """A controller program is gone: every stream to and from it ends."""
        controller.alive = False
        for node in self.nodes.values():
            if node.parent is controller:
                node.parent = None
                self.after(REDIAL_S, lambda node=node: self._dial(node))  # type: ignore[misc]
        for child in self.controllers.values():
            if child.parent is controller:
                child.parent = None
                self.after(REDIAL_S, lambda child=child: self._dial_controller(child))  # type: ignore[misc]
        above, controller.parent = controller.parent, None
        if above is not None:
            self.tell(above, ChildLost(controller.name, reason))

    def _detach(self, node: SimNode, reason: str) -> None:
        controller, node.parent = node.parent, None
        if isinstance(controller, SimController):
            self.tell(controller, ChildLost(node.name, reason))

    def start_farm(self) -> None:
        """Starts the farm controller, or starts it again: it takes the farm back from its records."""
        controller = SimController(self, "", next(self._incarnations))
        self.controllers[""] = controller
        running_for_s = {number: self.now - since_s for number, since_s in self._running_since_s.items()}
        restored = what_is_remembered(self.records, self.run_numbers, self.revisions, running_for_s)
        if restored is not None:
            self.tell(controller, restored)

    # ---- events and effects -----------------------------------------------------------------------------------------

    def tell(self, controller: SimController, event: Event) -> None:
        """One event into one controller, and its effects out into the world."""
        if not controller.alive:
            return
        self.events += 1
        for effect in controller.core.step(self.now, event):
            for see in self.effects_seen:
                see(controller, effect)
            self._carry_out(controller, effect)
        if controller.path and not controller.telling:
            controller.telling = True
            self.after(self.times.report_s, lambda: self._tell_parent(controller))
        for seen in self.event_seen:
            seen()

    def _tell_parent(self, controller: SimController) -> None:
        """A controller tells its parent what has changed, if anything has."""
        controller.telling = False
        above = controller.parent
        if not controller.alive or above is None:
            return
        report = controller.core.report(self.now)
        if report == controller.told:
            return
        controller.told = report

        def arrive() -> None:
            if controller.parent is above:
                self.tell(above, ControllerReported(controller.name, report))

        self.over((controller.path, above.path), arrive)

    def _carry_out(self, controller: SimController, effect: Effect) -> None:
        who = controller.path or self.farm.name
        match effect:
            case SendOrders(link, fence, sequence, orders):
                node = self.node(join(controller.path, link))

                def arrive() -> None:
                    if node.parent is controller:
                        node.orders(fence, sequence, orders)

                self.over((controller.path, node.path), arrive)
            case SendGoal(link):
                self.over((controller.path, join(controller.path, link)), lambda: self._goal(controller, effect))
            case SendDocument(link):
                self.over((controller.path, join(controller.path, link)), lambda: self._document(controller, effect))
            case Launch(link):
                self.after(self.vary(self.times.launch_s), lambda: self._launched(controller, link))
            case Release(link):
                self.over((controller.path, join(controller.path, link)), lambda: self._released(controller, link))
            case AllotRunNumber(command_id):
                self.after(0.005, lambda: self._allot(controller, command_id))
            case Persist():
                keep(self.records, effect)
                if effect.kind == "run_running":
                    self._running_since_s.setdefault(effect.data["number"], self.now)
            case Answer(command_id, kind, reason):
                self.answers.setdefault(command_id, effect)
                self.note(who, f"{kind}{': ' + reason if reason else ''}")
            case Refuse(command_id, _, reason):
                self.refusals[command_id] = effect
                self.note(who, f"refused: {reason}")
            case Accept(_, steps, attached):
                self.note(who, "attached" if attached else f"accepted: {' '.join(steps)}")
            case Say(severity, member, text):
                self.note(member or self.farm.name, f"{severity}: {text}")
            case WakeAt(at_s):
                controller.wake_token += 1
                token = controller.wake_token
                if at_s is not None:
                    self.after(max(0.0, at_s - self.now), lambda: self._wake(controller, token))

    def _wake(self, controller: SimController, token: int) -> None:
        if controller.wake_token == token:
            self.tell(controller, Ticked())

    def _allot(self, controller: SimController, command_id: str) -> None:
        if self.allot_trouble:
            self.tell(controller, AllotFailed(command_id, self.allot_trouble))
            return
        number = self.run_numbers.setdefault(command_id, len(self.run_numbers) + 1)
        self.tell(controller, RunNumberAllotted(command_id, number))

    def note(self, who: str, text: str) -> None:
        self.log.append((self.now, who, text))

    # ---- controllers below ------------------------------------------------------------------------------------------

    def _launched(self, controller: SimController, link: str) -> None:
        if not controller.alive:
            return
        path = join(controller.path, link)
        if path in self.launch_troubles:
            self.tell(controller, LaunchFailed(link, self.launch_troubles[path]))
        elif link in controller.core.memory.children:
            running = self.controllers.get(path)
            if running is None or not running.alive:
                running = self.controllers[path] = SimController(self, path, 0)
            self._dial_controller(running)
        else:
            self.node(path).launch()
            self._dial(self.node(path))

    def _dial_controller(self, child: SimController) -> None:
        above = self.controllers.get(parent(child.path))
        if not child.alive or child.cut or child.parent is not None:
            return
        if above is None or not above.alive or child.name not in above.core.memory.links:
            self.after(2 * REDIAL_S, lambda: self._dial_controller(child))
            return
        child.parent, child.told = above, None
        child.incarnation = next(self._incarnations)
        self.tell(above, ChildAttached(child.name, child.incarnation, revision=child.core.memory.revision))
        self._tell_parent(child)

    def _goal(self, controller: SimController, effect: SendGoal) -> None:
        child = self.controllers.get(join(controller.path, effect.link))
        if child is not None and child.parent is controller:
            self.tell(child, GoalGiven(effect.goal, (*effect.fence, child.incarnation)))

    def _document(self, controller: SimController, effect: SendDocument) -> None:
        memory = controller.core.memory
        below = memory.farm.sub_farms if memory.farm is not None else memory.spec.sub_farms if memory.spec else ()
        child = self.controllers.get(join(controller.path, effect.link))
        if child is not None and child.parent is controller:
            spec = next(spec for spec in below if spec.name == effect.link)
            self.tell(child, DocumentGiven(effect.revision, spec))

    def _released(self, controller: SimController, link: str) -> None:
        path = join(controller.path, link)
        if path in self.nodes:
            node = self.nodes[path]
            if node.parent is controller:
                node.release()
                self._detach(node, "released")
            return
        child = self.controllers[path]
        if child.parent is controller:
            self._end(child, "released")

    # ---- nodes ------------------------------------------------------------------------------------------------------

    def _dial(self, node: SimNode) -> None:
        if not node.up or node.cut or node.parent is not None:
            return
        controller = self.controllers.get(parent(node.path))
        ready = controller is not None and controller.alive and node.name in controller.core.memory.links
        if controller is None or not ready or not node.agent_up:
            self.after(2 * REDIAL_S, lambda: self._dial(node))
            return
        node.parent = controller
        self.tell(controller, ChildAttached(node.name, node.incarnation, node.name))
        self.tell(controller, node.snapshot())

    def report(self, node: SimNode, event: ProcessesReported) -> None:
        controller = node.parent
        if not isinstance(controller, SimController):
            return

        def arrive() -> None:
            if node.parent is controller:
                self.tell(controller, event)

        for _ in range(2 if self.repeats else 1):
            self.over((node.path, controller.path), arrive)
