"""What must hold in every simulated world, whatever happens in it: watched after every event, and when all is quiet.

Safety, always: no process is started while it runs; every accepted command ends exactly once; what is sent over a link
carries a rising sequence, and nobody heeds a controller after its successor; nothing starts without a run number, in a
run that has ended, or before what reads from it takes data; a run ends once; whoever holds the lease commands alone. A
farm that was taken down and says that it is well has no process anywhere. When all that is under way has arrived,
nobody claims more than is so, a farm that says `taking` has the quorum of each role, and the lease is with whom the
records name.

Liveness, once the faults are gone: `shutdown`, `go running` and `go absent` succeed within their own limits.
"""

import math
from collections import Counter

from grange.core.aggregate import claim
from grange.core.effects import Answer, Effect, Order, Persist, SendGoal, SendOrders
from grange.core.faults import DOWN_STEPS
from grange.core.goals import DOWN, exclusion_of, own_target, target_of
from grange.core.memory import DATA_STATES
from grange.core.names import Command, Health, LeaseAction, Membership, State
from grange.core.paths import covers, parent
from grange.core.plan import Quorum, SubFarmSpec
from grange.core.state import STEADY

from . import faults
from .programs import CLOCKS_DRIFT
from .simulated_controller import SimController
from .simulated_node import SimNode
from .world import PERSON, World

OVERDUE_S = 0.5  # beyond its time: for the answer on its way
ARRIVED_S = 0.3  # after it was sent, where nothing hinders it
# Until a controller below has heard that a run has ended: two links, and what is late besides is not held against it.
HEARD_S = 0.002
TOLD_S = 1.0  # until everybody knows of a death where nothing hinders it, but perhaps a restart of keeper or agent
KNOWN_S = 6.0  # until everybody knows of a hang or a broken link: that many heartbeats have to be missed
STEADY_S = 200.0  # after the last fault: what still hangs in a step has run into the limits of all ranks by then
ITSELF = "grange"  # who commands what a policy asks for: no lease is in its way
SETTLE_S = 45.0  # after the last fault: the longest back-off of a launch, and the time to enrol


STEPS_BETWEEN = ("pause", "resume", "stop", "go initial")


class Broken(AssertionError):
    """Something that must always hold does not; the text says what, when, and what led to it."""


def _needed(quorum: Quorum, count: int, inside: int) -> int:
    """How many of a role must be there. Said once more, for what checks must not be what is checked."""
    if quorum.number is not None:
        return min(quorum.number, count)
    return inside if quorum.fraction is None else math.ceil(quorum.fraction * count)


class Checker:
    """Watches one world from its first event on."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.recorded: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.runs_ended: Counter[int] = Counter()
        self._ended_s: dict[int, float] = {}
        self._answered = False
        self._sequences: dict[tuple[str, str, tuple[int, ...]], int] = {}
        self._given: dict[str, tuple[SimController, Order]] = {}  # by id: who has ordered it first
        self._obeyed: dict[tuple[str, int], tuple[int, ...]] = {}  # by node and its disk: the highest incarnations
        self._heeded: dict[SimController, tuple[int, ...]] = {}  # by program: the highest incarnations
        self._lease = ("", 0.0, 0.0)  # who holds it, from when and until when, by the records
        world.effects_seen.append(self._effect)
        world.event_seen.append(self._event)
        world.orders_seen.append(self._taken)
        world.goals_seen.append(self._heeds)

    def demand(self, holds: bool, what: str) -> None:
        if not holds:
            lines = [f"{at:9.3f}  {who:18}  {text}" for at, who, text in self.world.log[-40:]]
            raise Broken(f"at {self.world.now:.3f} s: {what}\n" + "\n".join(lines))

    # ---- always -----------------------------------------------------------------------------------------------------

    def _event(self) -> None:
        if self.world.violations:
            self.demand(False, "; ".join(self.world.violations))
        if self._answered:
            self._answered = False
            self._gone()

    def _effect(self, controller: SimController, effect: Effect) -> None:
        if self.world.is_replaced_root(controller) and not isinstance(effect, SendGoal | SendOrders):
            return  # what it wants recorded reaches no database, and what it answers nobody who asked the other
        match effect:
            case Persist("lease_set", _, data):
                self._lease = data["holder"], self.world.now, self.world.now + data["remaining_s"]
            case Persist("command_recorded", _, data):
                holder = self._holder()
                self.demand(
                    holder in ("", data["person"]) or data["person"] == ITSELF,
                    f"command {data['id']} of {data['person']} was accepted while {holder} held the lease",
                )
                self.recorded[data["id"]] += 1
                self.demand(self.recorded[data["id"]] == 1, f"command {data['id']} was accepted twice")
            case Persist("command_ended", _, data):
                self.ended[data["id"]] += 1
                self.demand(self.ended[data["id"]] == 1, f"command {data['id']} has a second outcome: {data}")
            case Persist("run_ended", _, data):
                self.runs_ended[data["number"]] += 1
                self._ended_s.setdefault(data["number"], self.world.now)
                self.demand(self.runs_ended[data["number"]] == 1, f"run {data['number']} ended twice")
            case Answer(command_id, kind, _, state):
                self.demand(self.ended[command_id] == 1, f"the answer to {command_id} came before its record")
                self._answered = True
                if kind == "done":
                    self._done(command_id, state)
            case SendOrders(link, fence, sequence, orders):
                self._rises(controller, link, fence, sequence)
                for order in orders:
                    self._order(controller, order)
                    author, known = self._given.setdefault(order.order_id, (controller, order))
                    same = author is controller and known.command is order.command
                    self.demand(same, f"{controller.path} orders {order.order_id}, and another controller did before")
            case SendGoal(link, fence, sequence):
                self._rises(controller, link, fence, sequence)

    def _taken(self, node: SimNode, fence: tuple[int, ...], orders: tuple[Order, ...]) -> None:
        """A node has taken orders: never again of somebody who was replaced."""
        key = node.path, node.machine.disks
        highest = self._obeyed.get(key, ())
        self.demand(fence >= highest, f"{node.path} obeyed {fence} after {highest}: {orders[0].order_id}")
        self._obeyed[key] = fence

    def _heeds(self, controller: SimController, fence: tuple[int, ...]) -> None:
        """A controller was given a goal: never again by somebody who was replaced."""
        highest = self._heeded.get(controller, ())
        self.demand(fence[:-1] >= highest, f"{controller.path} took a goal of {fence} after one of {highest}")
        self._heeded[controller] = fence[:-1]

    def _holder(self) -> str:
        """Who certainly holds the lease now, whatever clocks those have who know of it; empty: perhaps nobody."""
        holder, since_s, until_s = self._lease
        drift_s = 2 * CLOCKS_DRIFT * (until_s - since_s)
        return holder if self.world.now < until_s - drift_s else ""

    def _lease_kept(self) -> None:
        """The lease is held by whom the records name, also after the farm controller was started again."""
        if not self.world.root.alive:
            return
        root, (_, since_s, until_s) = self.world.root, self._lease
        lease, holder = root.core.memory.lease, self._holder()
        if holder:
            self.demand(lease is not None and lease.holder == holder, f"{holder} has lost the lease: {lease}")
        elif self.world.now > until_s + 2 * CLOCKS_DRIFT * (until_s - since_s):
            self.demand(lease is None, f"nobody holds the lease any more, but the farm controller has {lease}")

    def _done(self, command_id: str, state: State) -> None:
        """A command of the whole farm is answered as done: as many are there as the quorum of each role needs."""
        memory = self.world.root.core.memory
        held = memory.goal
        if held is None or held.goal.command_id != command_id or held.goal.scopes != ("",) or state in DOWN:
            return
        target = own_target(held.goal)
        if target is None or target.state is not state or target.step in DOWN_STEPS:
            return
        for sub_farm in memory.farm.sub_farms if memory.farm is not None else ():
            self._quorums(sub_farm.name, sub_farm, state)

    def deadlines(self) -> None:
        """Nothing waits beyond the time that it was given, whatever has become of those that it waits for."""
        for controller in self.world.controllers.values():
            if not controller.alive:
                continue
            memory, now = controller.core.memory, controller.clock.shows(self.world.now) - OVERDUE_S
            held, who = memory.goal, controller.path or "the farm"
            self.demand(
                held is None or not held.active or now <= held.deadline_s,
                f"{who} still has {held.goal.command_id if held is not None else ''} under way after its time",
            )
            for repair in memory.repairs.values() if memory.root else ():
                self.demand(now <= repair.deadline_s, f"the repair {repair.repair.id} is under way after its time")
            for process in memory.processes.values():
                flight = process.in_flight
                self.demand(
                    flight is None or now <= flight.deadline_s,
                    f"{who} waits for the answer of {process.path} after its time",
                )

    def _gone(self) -> None:
        """Who says absent or initial after a command that succeeded has nothing left but what it counts as unaccounted.

        Where it says that it is well, that is nothing at all. What lives must be somewhere where nobody can hear it.
        """
        held = self.world.root.core.memory.goal
        if held is None or held.active or not held.ok or not self.world.root.alive:
            return
        row, target = self.world.row(), own_target(held.goal)
        if row.state not in DOWN or (target is not None and target.state not in (None, *DOWN)):
            return  # on its way up again, as by a repair, it hears of what it has begun a moment later
        found = [slot for slot in self.world.processes() if slot.lives and not slot.is_given_up]
        alive = [slot.path for slot in found if not self._is_out(slot.path)]
        if row.health is Health.OK:
            self.demand(not alive, f"the farm says {row.state} and ok, but these live: {', '.join(alive)}")
        # One whose node has just dialled in is told as what it is, until it has ended.
        told = sum(count.processes for count in row.counts if count.state not in (*DOWN, State.UNKNOWN))
        # A controller that cannot be heard counts for all that is below it, if it has never said how many that are.
        counted = {self._unheard_above(path) or path for path in alive}
        self.demand(
            len(counted) <= row.unaccounted + told,
            f"the farm says {row.state} and {row.unaccounted} unaccounted, but these live: {', '.join(alive)}",
        )

    def _unheard_above(self, path: str) -> str:
        """The controller above a process that its parent cannot hear, the highest of them; empty when there is none."""
        controller, found = self.world.controllers.get(parent(parent(path))), ""
        while controller is not None and controller.path:
            above = self.world.controllers[parent(controller.path)]
            link = above.core.memory.links.get(controller.name) if above.alive else None
            if link is None or not link.enrolled:
                found = controller.path
            controller = above
        return found

    def _is_out(self, path: str) -> bool:
        """Whether a person has taken out a member, by what the farm controller was told."""
        held = self.world.root.core.memory.goal
        return held is not None and exclusion_of(held.goal, path) is not None

    def _rises(self, controller: SimController, link: str, fence: tuple[int, ...], sequence: int) -> None:
        key = (controller.path, link, fence)
        before = self._sequences.get(key, 0)
        self.demand(sequence > before, f"{controller.path or 'farm'} sent {sequence} after {before} to {link}")
        self._sequences[key] = sequence

    def _order(self, controller: SimController, order: Order) -> None:
        if order.command is not Command.START or controller in self.world.replaced:
            return
        memory = controller.core.memory
        self.demand(order.run_number > 0, f"{order.path} was told to start without a run number")
        if self._hears_root(controller):  # one that is cut off acts on the last word that it had
            ended = self.world.now - self._ended_s.get(order.run_number, self.world.now) > HEARD_S
            self.demand(not ended, f"{order.path} was told to start in a run that has ended")
        scopes = memory.goal.goal.scopes if memory.goal is not None else ("",)
        mine = memory.processes[order.path]
        for other in memory.processes.values():
            sound = (
                other.membership is Membership.IN
                and not other.fault
                and any(covers(scope, other.path) for scope in scopes)
            )
            if sound and other.role.component == mine.role.component and other.role.rank > mine.role.rank:
                truth = self.world.process(other.path)
                # One that died or was taken down a moment ago is on its way to be known.
                self.demand(
                    truth.state in DATA_STATES or truth.state is State.PAUSING or not truth.alive or truth.silent,
                    f"{order.path} was told to start, but {other.path}, which reads from it, is {truth.state}",
                )

    def _reaches_root(self, controller: SimController) -> bool:
        above: SimController | None = controller
        while above is not None and above.path:
            above = above.parent
        return above is self.world.root and above.alive

    def _hears_root(self, controller: SimController) -> bool:
        """Whether what the farm controller says comes down to this one, and comes at once."""
        at: SimController | None = controller
        while at is not None and at.path:
            if not self.world.network.is_prompt((parent(at.path), at.path)):
                return False
            at = at.parent
        return self._reaches_root(controller)

    # ---- when all is quiet ------------------------------------------------------------------------------------------

    def quiet(self) -> None:
        """Nothing is under way that could still change what anybody knows: then claims are compared with the truth."""
        for controller in self.world.controllers.values():
            if controller.alive and self._is_heard(controller):
                self._claims(controller)
                self._orders(controller)
        self._gone()
        self._one_run()
        self._lease_kept()

    def _orders(self, controller: SimController) -> None:
        """Whoever is waited for knows of it: an order that was lost with its link has been sent again."""
        for process in controller.core.memory.processes.values():
            flight, node = process.in_flight, self.world.node(parent(process.path))
            if flight is None or node.parent is not controller:
                continue
            if controller.clock.shows(self.world.now) - flight.sent_s < ARRIVED_S:
                continue
            unit, order_id = node.units.get(process.path), flight.order.order_id
            known = unit is not None and (unit.orders.in_flight is not None or unit.orders.last_id == order_id)
            self.demand(
                known or (unit is not None and unit.state is State.UNKNOWN),
                f"{controller.path} waits for {order_id}, which {node.path} does not know",
            )

    def _one_run(self) -> None:
        """All that take data, can be heard and are asked to be anywhere do so in one run.

        To one that was not heard while its run ended, and of which the goal says nothing since a command failed, was
        cancelled or was superseded, nothing is commanded: it stays where it is.
        """
        held, found = self.world.root.core.memory.goal, dict[int, str]()
        if held is None:
            return
        for node in self.world.nodes.values():
            above = node.parent
            if not isinstance(above, SimController) or not self._reaches_root(above):
                continue
            for slot in node.slots.values():
                target = target_of(held.goal, slot.path)
                asked = target is not None and target.state is not None and not self._is_out(slot.path)
                if slot.alive and slot.state in DATA_STATES and asked:
                    found[slot.run_number] = slot.path
        self.demand(len(found) < 2, f"data is taken in several runs at once: {found}")

    def _is_heard(self, controller: SimController) -> bool:
        return not controller.path or controller.parent is not None

    def _claims(self, controller: SimController) -> None:
        memory = controller.core.memory
        said = self.world.row(controller.path).state
        for process in memory.processes.values():
            truth = self.world.process(process.path)
            node = self.world.node(controller.path + "/" + process.spec.node)
            if process.membership is not Membership.IN or node.parent is not controller:
                continue
            really = truth.state if truth.alive or not node.up else State.INITIAL
            self.demand(
                claim(said) <= max(claim(really), claim(State.INITIAL)),
                f"{controller.path} says {said}, but {process.path} is {really}",
            )
        if said is State.TAKING and not controller.path:
            for sub_farm in memory.farm.sub_farms if memory.farm is not None else ():
                self._quorums(sub_farm.name, sub_farm, State.TAKING)

    def _quorums(self, path: str, sub_farm: SubFarmSpec, state: State) -> None:
        if self._is_out(path):
            return
        for role in sub_farm.roles:
            members = [process.path for process in sub_farm.processes if process.role == role.name]
            inside = [member for member in members if not self._is_out(member)]
            there = sum(self._is_at(member, state) for member in inside)
            # A person may take out more than a role can do without: that is told as its health, not as its state.
            needed = min(_needed(role.quorum, len(members), len(inside)), len(inside))
            self.demand(
                there >= needed, f"the farm says {state}, but of {role.name} in {path} {there} are, {needed} needed"
            )
        for below in sub_farm.sub_farms:
            self._quorums(f"{path}/{below.name}", below, state)

    def _is_at(self, path: str, state: State) -> bool:
        """Whether a process is there, or cannot be known not to be: it died, hangs or was cut off a moment ago."""
        truth, node = self.world.process(path), self.world.node(parent(path))
        if truth.state is state:
            return True
        known_s = TOLD_S if not truth.alive and self._is_telling(node) else KNOWN_S
        if truth.changed_s > 0.0 and self.world.now - truth.changed_s < known_s:
            return True
        return self.world.now - node.changed_s < KNOWN_S and (node.parent is None or not node.agent_up)

    def _is_telling(self, node: SimNode) -> bool:
        """Whether news of a node reaches the farm controller without delay."""
        whole = not self.world.network.holes and not self.world.network.is_stalled()
        there = whole and node.up and node.agent_up and node.keeper_up
        return there and isinstance(node.parent, SimController) and self._reaches_root(node.parent)

    # ---- once the faults are gone -----------------------------------------------------------------------------------

    def heals(self, thorough: bool = False) -> None:
        """The faults are over: the farm becomes steady, and can be shut down, taken to running again, and taken away.

        With `thorough` it goes through all steps on the way.
        """
        world = self.world
        self._repair_the_world()
        if thorough:
            self._becomes_steady()
        else:
            world.run_for(SETTLE_S)
        for what in ("shutdown", "go running", *(STEPS_BETWEEN if thorough else ()), "go absent"):
            outcome = world.carry_out(what)
            self.demand(isinstance(outcome, Answer) and outcome.kind == "done", f"{what} did not succeed: {outcome}")
            world.run_for(1.0)
            self.deadlines()
            if what == "shutdown":
                self._include_all()
            if what == "go running":
                self.demand(world.state() is State.TAKING, f"the farm is {world.state()} after go running")
                self.quiet()
        self._nothing_lives()
        self.demand(self.recorded == self.ended, f"without an outcome: {self.recorded - self.ended}")
        allotted = set(world.run_numbers.values())
        self.demand(len(allotted) == len(world.run_numbers), f"a run number was reused: {world.run_numbers}")
        self.demand(allotted == set(self.runs_ended), f"allotted {allotted}, ended {set(self.runs_ended)}")

    def _repair_the_world(self) -> None:
        world = self.world
        faults.be_over(world)
        if not world.root.alive:
            world.start_farm()
        lease = world.root.core.memory.lease
        if lease is not None and lease.holder != PERSON:
            world.lease(LeaseAction.FORCE, PERSON, STEADY_S)

    def _becomes_steady(self) -> None:
        """All commands end, and everything is in a steady state, or known to be apart."""
        world = self.world

        def steady() -> bool:
            memory = world.root.core.memory
            busy = (memory.goal is not None and memory.goal.active) or memory.repairs
            state = world.state()
            return not busy and (state in STEADY or state is State.MIXED)

        world.run_for(SETTLE_S)
        self.deadlines()
        self.demand(world.run_until(steady, STEADY_S), f"the farm is {world.state()} so long after the last fault")

    def _nothing_lives(self) -> None:
        alive = [slot.path for slot in self.world.processes() if slot.lives]
        self.demand(not alive, f"left behind: {alive}")

    def _include_all(self) -> None:
        """A shutdown reaches those that are out too; then they are taken in again."""
        self._nothing_lives()
        held = self.world.root.core.memory.goal
        out = [exclusion.path for exclusion in held.goal.excluded] if held is not None else []
        if out:
            outcome = self.world.carry_out("member include", " ".join(out))
            self.demand(isinstance(outcome, Answer) and outcome.kind == "done", f"include did not succeed: {outcome}")
