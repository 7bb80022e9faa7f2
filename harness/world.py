"""A simulated farm: the production core under a virtual clock, with seeded delays and faults on demand.

Everything that decides is the real thing (`core/controller.py`); what is simulated is what lies around it: links with a
delay, agents and their processes, launchers, and the database's run numbers. Events wait in one heap, ordered by time
and then by number, and one seeded generator makes every choice, so a world replays exactly from its seed.
"""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from grange.core.controller import Controller, new_memory
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
    CancelGiven,
    ChildAttached,
    ChildLost,
    CommandGiven,
    ControllerReported,
    DocumentGiven,
    Event,
    GoalGiven,
    ProcessesReported,
    Restored,
    RunNumberAllotted,
    Ticked,
)
from grange.core.names import Command, Health, Kind, State
from grange.core.paths import join
from grange.core.plan import FarmSpec, ProcessSpec, SubFarmSpec
from grange.core.reports import ControllerReport, Failure, Goal, ProcessReport, Target
from grange.core.state import ROWS, Refusal, move


@dataclass
class Times:
    """How long things take in the simulated world, in seconds; each is varied by up to `spread` of itself."""

    link_s: float = 0.0005
    launch_s: float = 0.3
    step_s: float = 0.01
    boot_s: float = 0.15
    spread: float = 0.3


@dataclass
class SimProcess:
    """One process on a simulated node, and how it will behave."""

    spec: ProcessSpec
    state: State = State.INITIAL
    instance: str = ""
    report: ProcessReport | None = None
    dies_at: set[Command] = field(default_factory=set)
    hangs_at: set[Command] = field(default_factory=set)
    boots: int = 0


@dataclass
class SimAgent:
    """The agent, keeper and processes of one node; they live while controllers come and go."""

    path: str
    sub_farm: str
    processes: dict[str, SimProcess] = field(default_factory=dict)
    up: bool = False
    cut: bool = False  # the network between it and its controller
    attached_to: object = None
    incarnation: int = 0
    fence: tuple[int, ...] = ()


class SimController:
    """One controller program: the real core, and what it has sent."""

    def __init__(self, world: "World", path: str, root: bool, incarnation: int) -> None:
        kind = Kind.FARM if root else Kind.SUB_FARM
        self.path = path
        self.core = Controller(new_memory(path, path or world.farm.name, kind, root, (incarnation,) if root else ()))
        self.core.memory.revision = ""
        self.alive = True
        self.incarnation = incarnation
        self.wake_token = 0
        self.told: ControllerReport | None = None
        self.parent: SimController | None = None


class World:
    """A farm of `farm`'s shape. Drive it with `command`, `run_until` and the fault methods; read `log`."""

    def __init__(self, farm: FarmSpec, seed: int = 0, times: Times | None = None) -> None:
        self.farm = farm
        self.times = times or Times()
        self.random = random.Random(seed)
        self.now = 0.0
        self.log: list[tuple[float, str, str]] = []
        self.events = 0
        self.answers: dict[str, Answer] = {}
        self.refusals: dict[str, Refuse] = {}
        self.records: list[Persist] = []
        self.effects_seen: Callable[[SimController, Effect], None] | None = None
        self._last_arrival: dict[tuple[str, str], float] = {}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._runs = itertools.count(1)
        self._commands = itertools.count(1)
        self._incarnations = itertools.count(1)
        self.agents = {
            join(sub_farm.name, node): SimAgent(
                join(sub_farm.name, node),
                sub_farm.name,
                {spec.path: SimProcess(spec) for spec in sub_farm.processes if spec.node == node},
            )
            for sub_farm in farm.sub_farms
            for node in sub_farm.nodes
        }
        self.controllers: dict[str, SimController] = {}
        self.start_farm()

    # ---- time -------------------------------------------------------------------------------------------------------

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + delay_s, next(self._numbers), action))

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

    def command(self, what: str, path: str = "", timeout_s: float = 0.0, command_id: str = "") -> str:
        """Gives a command ("configure", "go running") to the farm and returns its id."""
        command_id = command_id or f"c{next(self._commands)}"
        go = what.removeprefix("go ") if what.startswith("go ") else None
        target = None if go is None else State.TAKING if go == "running" else State(go)
        step = Command(what) if go is None else None
        event = CommandGiven(command_id, f"{what} {path}", path, step, target, "tester", timeout_s, selected=self.farm)
        self.tell(self.controllers[""], event)
        return command_id

    def cancel(self, command_id: str = "") -> None:
        self.tell(self.controllers[""], CancelGiven(command_id, "tester"))

    def carry_out(self, what: str, path: str = "", timeout_s: float = 0.0) -> Answer | Refuse:
        """Gives a command and lets time pass until its outcome."""
        command_id = self.command(what, path, timeout_s)
        self.run_until(lambda: command_id in self.answers or command_id in self.refusals)
        return self.answers.get(command_id) or self.refusals[command_id]

    def state(self, path: str = "") -> State:
        controller = self.controllers.get(path)
        if controller is not None and controller.alive:
            return controller.core.rows(self.now, path, 0)[0].state
        return next(row.state for row in self.controllers[path.split("/")[0]].core.rows(self.now, path, 0))

    # ---- faults -----------------------------------------------------------------------------------------------------

    def process(self, path: str) -> SimProcess:
        return self.agents[path.rsplit("/", 1)[0]].processes[path]

    def kill_process(self, path: str, reason: str = "was killed by SIGKILL") -> None:
        process = self.process(path)
        was = process.state
        process.state, process.instance = State.INITIAL, ""
        kind = "died while running" if was in (State.TAKING, State.PAUSED) else "died while starting"
        failure = Failure(kind, f"{process.spec.slot} on {process.spec.node} {reason} in {was}")
        old = process.report or ProcessReport(path, State.INITIAL)
        process.report = replace(
            old,
            state=State.INITIAL,
            instance="",
            pid=0,
            health=Health.ERROR,
            failure=failure,
            order_done=True,
            order_ok=old.order_ok and old.order_done,
        )
        self._report(self.agents[path.rsplit("/", 1)[0]], [process.report])

    def kill_controller(self, path: str) -> None:
        """kill -9 of a controller: its memory is gone, its children notice that the link ended."""
        controller = self.controllers[path]
        controller.alive = False
        self._note(path or self.farm.name, "killed")
        for agent in self.agents.values():
            if agent.attached_to is controller:
                agent.attached_to = None
                self.after(0.05, lambda agent=agent: self._dial(agent))
        for child in self.controllers.values():
            if child.parent is controller:
                child.parent = None
                self.after(0.05, lambda child=child: self._dial_controller(child))
        parent = self.controllers.get("")
        if path and parent is not None and parent.alive:
            self.tell(parent, ChildLost(path, "the stream ended"))

    def kill_agent(self, path: str) -> None:
        """kill -9 of an agent: its keeper starts it again, and every process is still there."""
        agent = self.agents[path]
        self._detach(agent, "the stream ended")
        self.after(self.vary(self.times.launch_s), lambda: self._dial(agent))

    def cut_node(self, path: str) -> None:
        """Cuts the network to a node; `mend_node` ends it."""
        agent = self.agents[path]
        agent.cut = True
        self._detach(agent, "no heartbeat")

    def mend_node(self, path: str) -> None:
        self.agents[path].cut = False
        self._dial(self.agents[path])

    def _detach(self, agent: SimAgent, reason: str) -> None:
        controller, agent.attached_to = agent.attached_to, None
        if isinstance(controller, SimController) and controller.alive:
            self.tell(controller, ChildLost(agent.path.split("/")[1], reason))

    def start_farm(self) -> None:
        """Starts the farm controller, or starts it again: it takes the farm back from its records."""
        controller = SimController(self, "", True, next(self._incarnations))
        self.controllers[""] = controller
        kept = [record for record in self.records if record.kind == "goal_set"]
        if not kept:
            return
        data = kept[-1].data
        targets = tuple(Target(target["path"], target["state"], target["step"]) for target in data["targets"])
        goal = Goal(
            data["command_id"],
            data["scope"],
            targets,
            data["revision"],
            data["run_number"],
            set_up=data["set_up"],
            person=data["person"],
            doing=data["doing"],
        )
        run = self._open_run()
        self.tell(controller, Restored(goal, self.farm, data["active"], data["remaining_s"], run))
        for child in self.controllers.values():
            if child.path and child.alive:
                child.parent = None
                self.after(0.05, lambda child=child: self._dial_controller(child))

    def _open_run(self) -> int:
        ended = {record.data["number"] for record in self.records if record.kind == "run_ended"}
        numbers = [record.data["run_number"] for record in self.records if record.kind == "goal_set"]
        last = max(numbers, default=0)
        return 0 if last in ended else last

    # ---- events and effects -----------------------------------------------------------------------------------------

    def tell(self, controller: SimController, event: Event) -> None:
        """One event into one controller, and its effects out into the world."""
        if not controller.alive:
            return
        self.events += 1
        for effect in controller.core.step(self.now, event):
            if self.effects_seen is not None:
                self.effects_seen(controller, effect)
            self._carry_out(controller, effect)
        if controller.parent is not None and controller.parent.alive:
            report = controller.core.report(self.now)
            if report != controller.told:
                controller.told = report
                parent = controller.parent
                self.over(
                    (controller.path, parent.path),
                    lambda: (
                        self.tell(parent, ControllerReported(controller.path, report))
                        if controller.parent is parent
                        else None
                    ),
                )

    def _carry_out(self, controller: SimController, effect: Effect) -> None:
        match effect:
            case SendOrders(link, _, _, orders):
                agent = self.agents[join(controller.path, link)]
                self.over((controller.path, agent.path), lambda: self._orders(agent, controller, orders, effect.fence))
            case SendGoal(link, fence, _, goal):
                self.over((controller.path, link), lambda: self._goal(controller, link, fence, goal))
            case SendDocument(link, revision):
                self.over((controller.path, link), lambda: self._document(link, revision))
            case Launch(link):
                self.after(self.vary(self.times.launch_s), lambda: self._launched(controller, link))
            case Release(link):
                self.over((controller.path, join(controller.path, link)), lambda: self._released(controller, link))
            case AllotRunNumber(command_id):
                number = next(self._runs)
                self.after(0.005, lambda: self.tell(controller, RunNumberAllotted(command_id, number)))
            case Persist():
                self.records.append(effect)
            case Answer(command_id, kind, reason):
                self.answers.setdefault(command_id, effect)
                self._note(controller.path or self.farm.name, f"{kind}{': ' + reason if reason else ''}")
            case Refuse(command_id, _, reason):
                self.refusals[command_id] = effect
                self._note(controller.path or self.farm.name, f"refused: {reason}")
            case Accept(_, steps):
                self._note(controller.path or self.farm.name, f"accepted: {' '.join(steps)}")
            case Say(severity, member, text):
                self._note(member or self.farm.name, f"{severity}: {text}")
            case WakeAt(at_s):
                controller.wake_token += 1
                token = controller.wake_token
                if at_s is not None:
                    self.after(max(0.0, at_s - self.now), lambda: self._wake(controller, token))

    def _wake(self, controller: SimController, token: int) -> None:
        if controller.wake_token == token:
            controller.core._wake = None
            self.tell(controller, Ticked())

    def _note(self, who: str, text: str) -> None:
        self.log.append((self.now, who, text))

    # ---- controllers below ------------------------------------------------------------------------------------------

    def _launched(self, controller: SimController, link: str) -> None:
        if not controller.alive:
            return
        path = join(controller.path, link)
        if path in self.agents:
            agent = self.agents[path]
            if not agent.up:
                agent.up = True
                agent.incarnation += 1
            if agent.attached_to is None:
                self._dial(agent)
            return
        running = self.controllers.get(path)
        if running is None or not running.alive:
            running = self.controllers[path] = SimController(self, path, False, 0)
        if running.parent is None:
            self._dial_controller(running)

    def _dial_controller(self, child: SimController) -> None:
        farm = self.controllers[""]
        if not child.alive or child.parent is not None or not farm.alive:
            return
        child.parent, child.told = farm, None
        child.incarnation = next(self._incarnations)
        self.tell(farm, ChildAttached(child.path, child.incarnation, revision=child.core.memory.revision))
        self.tell(farm, ControllerReported(child.path, child.core.report(self.now)))

    def _goal(self, controller: SimController, link: str, fence: tuple[int, ...], goal: Goal) -> None:
        child = self.controllers.get(link)
        if child is not None and child.parent is controller and controller.alive:
            self.tell(child, GoalGiven(goal, (*fence, child.incarnation)))

    def _document(self, link: str, revision: str) -> None:
        spec: SubFarmSpec = next(spec for spec in self.farm.sub_farms if spec.name == link)
        child = self.controllers.get(link)
        if child is not None:
            self.tell(child, DocumentGiven(revision, spec))
            for agent in self.agents.values():
                if agent.sub_farm == link and agent.up and agent.attached_to is None:
                    self._dial(agent)

    def _released(self, controller: SimController, link: str) -> None:
        path = join(controller.path, link)
        if path in self.agents:
            agent = self.agents[path]
            agent.up = False
            self._detach(agent, "released")
            return
        child = self.controllers[path]
        child.alive = False
        child.parent = None
        self.tell(controller, ChildLost(link, "released"))

    # ---- nodes ------------------------------------------------------------------------------------------------------

    def _dial(self, agent: SimAgent) -> None:
        controller = self.controllers.get(agent.sub_farm)
        if not agent.up or agent.cut or agent.attached_to is not None:
            return
        node = agent.path.split("/")[1]
        if controller is None or not controller.alive or node not in controller.core.memory.links:
            self.after(0.1, lambda: self._dial(agent))
            return
        agent.attached_to = controller
        self.tell(controller, ChildAttached(node, agent.incarnation, node))
        reports = tuple(process.report for process in agent.processes.values() if process.report is not None)
        self.tell(controller, ProcessesReported(node, reports, snapshot=True))

    def _report(self, agent: SimAgent, reports: list[ProcessReport]) -> None:
        controller = agent.attached_to
        if isinstance(controller, SimController):
            node = agent.path.split("/")[1]
            self.over(
                (agent.path, controller.path),
                lambda: (
                    self.tell(controller, ProcessesReported(node, tuple(reports)))
                    if agent.attached_to is controller
                    else None
                ),
            )

    def _orders(self, agent: SimAgent, sender: object, orders: tuple[Order, ...], fence: tuple[int, ...]) -> None:
        if agent.attached_to is not sender or not agent.up:
            return
        agent.fence = max(agent.fence, fence)
        for order in orders:
            process = agent.processes[order.path]
            if process.report is not None and process.report.order_id == order.order_id:
                if process.report.order_done:
                    self._report(agent, [process.report])
                continue
            self._begin(agent, process, order)

    def _begin(self, agent: SimAgent, process: SimProcess, order: Order) -> None:
        reached = move(process.state, order.command)
        if isinstance(reached, Refusal):
            failure = Failure("refused", f"{process.spec.slot} on {process.spec.node}: {reached.reason}")
            self._settle(agent, process, order, process.state, failure)
            return
        if order.command is Command.BOOT:
            process.boots += 1
            process.instance = f"{process.spec.slot}.{process.boots}"
        process.state = reached
        base = process.report or ProcessReport(order.path, reached)
        process.report = replace(
            base, state=reached, order_id=order.order_id, order_done=False, failure=None, instance=process.instance
        )
        if order.command in process.dies_at:
            self.after(self.vary(self.times.step_s), lambda: self._die(process, order))
        elif order.command in process.hangs_at:
            self.after(order.limit_s, lambda: self._too_slow(agent, process, order))
        else:
            took_s = self.times.boot_s if order.command is Command.BOOT else self.times.step_s
            self.after(self.vary(took_s), lambda: self._complete(agent, process, order))

    def _under_way(self, process: SimProcess, order: Order) -> bool:
        report = process.report
        return report is not None and report.order_id == order.order_id and not report.order_done

    def _complete(self, agent: SimAgent, process: SimProcess, order: Order) -> None:
        if self._under_way(process, order):
            self._settle(agent, process, order, ROWS[order.command].to, None)

    def _die(self, process: SimProcess, order: Order) -> None:
        if self._under_way(process, order):
            self.kill_process(process.spec.path, f"exited with code 1 during {order.command}")

    def _too_slow(self, agent: SimAgent, process: SimProcess, order: Order) -> None:
        if self._under_way(process, order):
            who = f"{process.spec.slot} on {process.spec.node}"
            failure = Failure("too slow", f"{who} did not finish {order.command} within {order.limit_s:.0f} s")
            self._settle(agent, process, order, State.UNKNOWN, failure)

    def _settle(
        self, agent: SimAgent, process: SimProcess, order: Order, state: State, failure: Failure | None
    ) -> None:
        if state in (State.INITIAL, State.ABSENT):
            process.instance = ""
        process.state = state
        process.report = ProcessReport(
            order.path,
            state,
            instance=process.instance,
            health=Health.ERROR if failure is not None else Health.OK,
            order_id=order.order_id,
            order_ok=failure is None,
            failure=failure,
            run_number=order.run_number,
        )
        self._report(agent, [process.report])
