"""The programs of a simulated farm at work: events into their cores, effects out of them, links between them.

Here is what the edges of a controller do in reality (`controllers/`): it tells core what has happened, carries out what
core wishes, tells its parent what has changed, launches what is to be there, lets in who dials, and ends itself when it
was replaced. Messages go over the network of `network.py`, so they are late, lost or out of a stream that is over.
"""

import itertools
import random
from collections.abc import Callable

from grange.core.effects import (
    Accept,
    AllotRunNumber,
    Answer,
    Effect,
    Launch,
    Order,
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
    AgentsReported,
    AllotFailed,
    ChildAttached,
    ChildLost,
    DocumentGiven,
    Event,
    GoalGiven,
    LaunchFailed,
    ProcessesReported,
    RunNumberAllotted,
    Ticked,
)
from grange.core.fencing import Fence
from grange.core.paths import join, parent
from grange.core.plan import FarmSpec

from .network import Network
from .records import Database
from .simulated_controller import SimController
from .simulated_node import SimNode
from .surroundings import Times
from .virtual_time import TRUE_CLOCK, Clock, Timeline

REDIAL_S = 0.05  # a child that lost its parent tries again after this
CLOCKS_DRIFT = 1e-3  # of a program's clock against the world's: far more than any real one's
DATABASE_WAIT_S = 1.0  # a farm controller that is started while the database is away looks again after this


class Programs(Timeline):
    """All programs of one farm, and what they share: the network, the database, and whoever looks on.

    With `clocks_differ` each has a clock of its own, which no other's agrees with.
    """

    def __init__(self, farm: FarmSpec, seed: int = 0, times: Times | None = None, clocks_differ: bool = False) -> None:
        super().__init__()
        self.farm = farm  # the selected revision
        self.revisions = {farm.revision: farm}
        self.times = times or Times()
        self.random = random.Random(seed)
        self._clocks = random.Random(f"clocks {seed}") if clocks_differ else None
        self.network = Network(self, self.random, self.times.link_s, self.times.spread)
        self.log: list[tuple[float, str, str]] = []
        self.events = 0
        self.answers: dict[str, Answer] = {}
        self.refusals: dict[str, Refuse] = {}
        self.database = Database()
        self.launch_troubles: dict[str, str] = {}  # path of a node or controller: why it cannot be launched
        self.allot_trouble = ""  # why there are no run numbers
        self.repeats = False  # every report of an agent arrives twice
        self.echoes = False  # and every order of a controller
        self.effects_seen: list[Callable[[SimController, Effect], None]] = []
        self.violations: list[str] = []  # what is so wrong that whoever did it knows
        self.orders_seen: list[Callable[[SimNode, tuple[int, ...], tuple[Order, ...]], None]] = []
        self.goals_seen: list[Callable[[SimController, tuple[int, ...]], None]] = []
        self.event_seen: list[Callable[[], None]] = []
        self.nodes: dict[str, SimNode] = {}
        self.controllers: dict[str, SimController] = {}
        self.replaced: list[SimController] = []  # still alive somewhere, though another one has taken their place
        self._incarnations = itertools.count(1)  # of farm controllers: the database allots them

    def vary(self, mean_s: float) -> float:
        return mean_s * (1 + self.times.spread * (2 * self.random.random() - 1))

    def clock(self) -> Clock:
        """The clock of a program that is started now."""
        if self._clocks is None:
            return TRUE_CLOCK
        return Clock(self._clocks.uniform(0.0, 1e5), self._clocks.uniform(1 - CLOCKS_DRIFT, 1 + CLOCKS_DRIFT))

    @property
    def root(self) -> SimController:
        return self.controllers[""]

    def node(self, path: str) -> SimNode:
        found = self.nodes.get(path)
        if found is None:
            found = self.nodes[path] = SimNode(self, path)
        return found

    def note(self, who: str, text: str) -> None:
        self.log.append((self.now, who, text))

    # ---- who lives, and who is linked to whom ---------------------------------------------------------------------

    def start_farm(self) -> None:
        """Starts a farm controller: it takes the farm back from the records, from whoever had it before."""
        if self.database.away and self.controllers:
            self.after(DATABASE_WAIT_S, lambda: None if self.root.alive else self.start_farm())
            return
        controller = SimController("", self.farm.name, next(self._incarnations), self.clock())
        self.controllers[""] = controller
        for record in self.database.settle_the_rest():
            for see in self.effects_seen:
                see(controller, record)
        lease = self.database.lease(self.now)
        if lease is not None:
            self.tell(controller, lease)
        restored = self.database.what_is_remembered(self.revisions, self.now)
        if restored is not None:
            self.tell(controller, restored)

    def end(self, path: str) -> SimNode | SimController:
        """Who dials from there."""
        return self.nodes[path] if path in self.nodes else self.controllers[path]

    def dial(self, end: SimNode | SimController) -> None:
        """A child opens a stream to its parent, now or when somebody answers."""
        if isinstance(end, SimNode):
            self._dial(end)
        else:
            self._dial_controller(end)

    def hang_up(self, end: SimNode | SimController, reason: str) -> None:
        """The stream of a child ends, and its parent notices."""
        if isinstance(end, SimNode):
            self._detach(end, reason)
            return
        end.stream.close()
        above, end.parent = end.parent, None
        if above is not None:
            self.tell(above, ChildLost(end.name, reason))

    def kill_controller(self, path: str) -> None:
        """kill -9 of a controller: its memory is gone, its children notice that the link ended."""
        controller = self.controllers[path]
        if not controller.alive:
            return
        self.note(path or self.farm.name, "killed")
        self._crash(controller)

    def kill_agent(self, path: str) -> None:
        node = self.node(path)
        if node.agent_up:
            self._detach(node, "the stream ended")
            node.kill_agent()
            self.after(self.times.launch_s * 1.5, lambda: self._dial(node))

    def _crash(self, controller: SimController) -> None:
        self.end_controller(controller, "the stream ended")
        if controller.launcher is not None:
            self._reap(controller.launcher, controller.name, f"{controller.name} was killed by SIGKILL")

    def _reap(self, launcher: SimController, link: str, reason: str) -> None:
        """A program ended in disorder, and whoever launched it is its parent process."""
        self.after(self.times.link_s, lambda: self.tell(launcher, LaunchFailed(link, reason, ran=True)))

    def end_controller(self, controller: SimController, reason: str) -> None:
        """A controller program is gone: every stream to and from it ends."""
        controller.alive = False
        if not controller.path:
            self.database.last_life_s = self.now
        for node in self.nodes.values():
            if node.parent is controller:
                node.parent = None
                node.changed_s = self.now
                node.stream.close()
                self.after(REDIAL_S, lambda node=node: self._dial(node))  # type: ignore[misc]
        for child in self.controllers.values():
            if child.parent is controller:
                child.parent = None
                child.stream.close()
                self.after(REDIAL_S, lambda child=child: self._dial_controller(child))  # type: ignore[misc]
        self.hang_up(controller, reason)

    def _detach(self, node: SimNode, reason: str) -> None:
        node.stream.close()
        node.changed_s = self.now
        controller, node.parent = node.parent, None
        if isinstance(controller, SimController):
            self.tell(controller, ChildLost(node.name, reason))

    # ---- events and effects -----------------------------------------------------------------------------------------

    def tell(self, controller: SimController, event: Event) -> None:
        """One event into one controller, and its effects out into the world."""
        if not controller.alive:
            return
        if controller.gathered and not isinstance(event, AgentsReported):
            self._tell_gathered(controller)  # they came before
        self.events += 1
        controller.events += 1
        for effect in controller.core.step(controller.clock.shows(self.now), event):
            if controller.dies_after is not None:
                controller.dies_after -= 1
                if controller.dies_after < 0:
                    self.note(controller.path or self.farm.name, f"dies before {type(effect).__name__}")
                    self._crash(controller)
                    return
            for see in self.effects_seen:
                see(controller, effect)
            self._carry_out(controller, effect)
        if controller.path and not controller.telling:
            controller.telling = True
            self.after(self.times.report_s, lambda: self._tell_parent(controller))
        for seen in self.event_seen:
            seen()

    def _gather(self, controller: SimController, event: ProcessesReported) -> None:
        """Reports of agents that arrive at nearly the same time are one fact, as in the runtime of a controller."""
        if not controller.gathered:
            self.after(self.times.gather_s, lambda: self._tell_gathered(controller))
        controller.gathered.append(event)

    def _tell_gathered(self, controller: SimController) -> None:
        gathered, controller.gathered = tuple(controller.gathered), []
        if gathered:
            self.tell(controller, AgentsReported(gathered))

    def _tell_parent(self, controller: SimController) -> None:
        """A controller tells its parent what has changed, if anything has."""
        controller.telling = False
        above = controller.parent
        if not controller.alive or above is None:
            return
        report = controller.core.report(controller.clock.shows(self.now))
        if report == controller.told:
            return
        controller.told = report
        stream, reported = controller.stream.number, controller.reported(report, self.now, above)

        def arrive() -> None:
            if controller.stream.is_open(stream):
                self.tell(above, reported)

        self.network.send((controller.path, above.path), stream, arrive)

    def _carry_out(self, controller: SimController, effect: Effect) -> None:
        who = controller.path or self.farm.name
        match effect:
            case SendOrders(link):
                self._send_orders(controller, effect)
            case SendGoal(link):
                self._send_goal(controller, effect)
            case SendDocument(link):
                self._send_document(controller, effect)
            case Launch(link):
                self.after(self.vary(self.times.launch_s), lambda: self._launched(controller, link))
            case Release(link):
                self._send_release(controller, link)
            case AllotRunNumber(command_id):
                self.after(0.005, lambda: self._allot(controller, command_id))
            case Persist():
                if not self.is_replaced_root(controller):
                    self.database.keep(effect, self.now)
            case Answer(command_id, kind, reason):
                if not self.is_replaced_root(controller):
                    self.answers.setdefault(command_id, effect)
                self.note(who, f"{kind}{': ' + reason if reason else ''}")
            case Refuse(command_id, _, reason):
                self.refusals[command_id] = effect
                self.note(who, f"refused: {reason}")
            case Accept(_, steps, attached, unheard):
                ahead = [*steps, *(["and what is needed by", *unheard] if unheard else [])]
                self.note(who, "attached" if attached else f"accepted: {' '.join(ahead)}")
            case Say(severity, member, text):
                self.note(member or self.farm.name, f"{severity}: {text}")
            case WakeAt(at_s):
                controller.wake_token += 1
                token = controller.wake_token
                if at_s is not None:
                    delay_s = controller.clock.lasts(at_s, self.now)
                    self.after(delay_s, lambda: self._wake(controller, token))

    def _wake(self, controller: SimController, token: int) -> None:
        if controller.wake_token == token:
            self.tell(controller, Ticked())

    def is_replaced_root(self, controller: SimController) -> bool:
        """Whether this is a farm controller that lost its farm: cut off from the database, its records reach nobody."""
        return not controller.path and controller is not self.root

    def _allot(self, controller: SimController, command_id: str) -> None:
        away = self.database.away or self.is_replaced_root(controller)
        trouble = self.allot_trouble or ("the database does not answer" if away else "")
        if trouble:
            self.tell(controller, AllotFailed(command_id, trouble))
        else:
            self.tell(controller, RunNumberAllotted(command_id, self.database.allot(command_id)))

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
                running = self.controllers[path] = SimController(path, link, clock=self.clock())
                running.launcher = controller
            self._dial_controller(running)
        else:
            node = self.node(path)
            if not node.up or not node.keeper_up:
                node.reaped = lambda how: self._reap(controller, link, f"keeper of {path} {how}")
            node.launch()
            self._dial(node)

    def _dial_controller(self, child: SimController) -> None:
        if not child.alive or child.cut or child.parent is not None:
            return
        if not self.network.is_whole(child.path, parent(child.path)):
            return
        above = self._answering(child)
        if above is None or not self._lets_in(above, child.name, child.core.memory.fence[:-1], child.path):
            self.after(2 * REDIAL_S, lambda: self._dial_controller(child))
            return
        child.parent, child.told = above, None
        child.stream.open()
        child.incarnation = above.allot(child.name)
        self.tell(above, ChildAttached(child.name, child.incarnation, revision=child.core.memory.revision))
        self._tell_parent(child)

    def _send_orders(self, controller: SimController, effect: SendOrders) -> None:
        node = self.node(join(controller.path, effect.link))
        if node.parent is not controller:
            return
        stream = node.stream.number

        def arrive() -> None:
            if node.stream.is_open(stream) and node.agent_up:
                node.receive(Fence(effect.fence, effect.sequence), act, fenced)

        def act() -> None:
            for seen in self.orders_seen:
                seen(node, effect.fence, effect.orders)
            node.orders(effect.orders)

        def fenced() -> None:
            self.note(node.path, "orders of a controller that was replaced")
            self.end_controller(controller, "it was replaced")

        for _ in range(2 if self.echoes else 1):
            self.network.send((controller.path, node.path), stream, arrive)

    def _child(self, controller: SimController, link: str) -> SimController | None:
        child = self.controllers.get(join(controller.path, link))
        return child if child is not None and child.parent is controller else None

    def _send_goal(self, controller: SimController, effect: SendGoal) -> None:
        child = self._child(controller, effect.link)
        if child is None:
            return
        stream, event = child.stream.number, GoalGiven(effect.goal, (*effect.fence, child.incarnation))

        def arrive() -> None:
            if child.stream.is_open(stream):
                for seen in self.goals_seen:
                    seen(child, event.fence)
                self.tell(child, event)

        self.network.send((controller.path, child.path), stream, arrive)

    def _send_document(self, controller: SimController, effect: SendDocument) -> None:
        child = self._child(controller, effect.link)
        if child is None:
            return
        stream, event = child.stream.number, DocumentGiven(effect.revision, controller.spec_below(effect.link))

        def arrive() -> None:
            if child.stream.is_open(stream):
                self.tell(child, event)

        self.network.send((controller.path, child.path), stream, arrive)

    def _send_release(self, controller: SimController, link: str) -> None:
        path = join(controller.path, link)
        end = self.nodes.get(path) or self.controllers[path]
        if end.parent is not controller:
            return
        stream = end.stream.number

        def arrive() -> None:
            if not end.stream.is_open(stream):
                return
            if isinstance(end, SimController):
                self.end_controller(end, "released")
            else:
                end.release(lambda: self._detach(end, "released"))

        self.network.send((controller.path, path), stream, arrive)

    # ---- nodes ------------------------------------------------------------------------------------------------------

    def _dial(self, node: SimNode) -> None:
        if not node.up or node.cut or node.parent is not None:
            return
        if not self.network.is_whole(node.path, parent(node.path)):
            return
        controller = self._answering(node) if node.agent_up else None
        seen = node.guard.seen.incarnations
        if controller is None or not self._lets_in(controller, node.name, seen, node.path):
            self.after(2 * REDIAL_S, lambda: self._dial(node))
            return
        node.welcome(controller.core.memory.fence)
        node.parent = controller
        node.stream.open()
        self.tell(controller, ChildAttached(node.name, node.incarnation, node.name))
        self.report(node, node.snapshot())

    def _answering(self, child: SimNode | SimController) -> SimController | None:
        """Who answers when a child dials; where a controller was replaced and lives, it and the new one in turn."""
        path = parent(child.path)
        old = next((old for old in self.replaced if old.path == path and old.alive), None)
        return old if old is not None and child.stream.opened % 2 else self.controllers.get(path)

    def _lets_in(self, controller: SimController, link: str, seen: tuple[int, ...], path: str) -> bool:
        """Whether a controller attaches who dials; one that learns by it that it was replaced ends itself."""
        if not controller.alive or link not in controller.core.memory.links:
            return False
        if controller.is_outdated(seen):
            self.note(controller.path or self.farm.name, f"was replaced, says {path}")
            self.end_controller(controller, "it was replaced")
            return False
        return True

    def report(self, node: SimNode, event: ProcessesReported) -> None:
        controller = node.parent
        if not isinstance(controller, SimController):
            return
        stream, event = node.stream.number, node.heard_by(event, controller.clock)

        def arrive() -> None:
            if not node.stream.is_open(stream):
                return
            if self.times.gather_s:
                self._gather(controller, event)
            else:
                self.tell(controller, event)

        for _ in range(2 if self.repeats else 1):
            self.network.send((node.path, controller.path), stream, arrive)
