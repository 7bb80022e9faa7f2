"""What can befall a simulated farm, beyond what `World` itself offers: each function does it once.

A direction is `up` when it leads from the child to its parent. Links that lose everything are noticed by both ends some
time later, as their heartbeats stop; until then one end believes that it is heard.
"""

from grange.core.names import State
from grange.core.paths import parent

from .simulated_controller import SimController
from .world import World

SILENT_S = 5.0  # the longest that a broken stream is believed in: five heartbeats
RESTART_S = 0.7  # until somebody starts a farm controller again that has died


def lose(world: World, path: str, up: bool, noticed_s: float, mended: bool) -> None:
    """What is sent in one direction is lost. Both ends notice after a time; then the link may be mended at once."""
    end = world.end(path)
    direction = (path, parent(path)) if up else (parent(path), path)
    world.network.holes.add(direction)

    def notice() -> None:
        if direction not in world.network.holes:
            return
        if world.end(path) is end:
            world.hang_up(end, "no heartbeat")
        if mended:
            world.network.holes.discard(direction)
            world.dial(world.end(path))

    world.after(min(noticed_s, SILENT_S), notice)


def stall(world: World, path: str, up: bool, seconds: float, broken: bool) -> None:
    """What is sent in one direction is late. Where the stream is `broken` meanwhile, it comes out of an old one."""
    world.network.stall((path, parent(path)) if up else (parent(path), path), seconds)
    if not broken:
        return
    end = world.end(path)

    def reset() -> None:
        world.hang_up(end, "the stream was reset")
        world.dial(end)

    world.after(seconds / 2, reset)


def doom(world: World, path: str, effects: int) -> None:
    """A controller dies between two of its effects. One of a farm is started again by hand, others by their parent."""
    controller = world.controllers[path]
    controller.dies_after = effects
    if path:
        return

    def start_again() -> None:
        if controller is world.root and controller.alive:
            world.after(RESTART_S, start_again)
        elif controller is world.root:
            world.start_farm()

    world.after(RESTART_S, start_again)


def take_place(world: World, path: str) -> None:
    """A controller cannot be reached by its parent, which has another one started; the old one keeps its children."""
    old = world.controllers[path]
    if not old.alive or old.parent is None:
        return
    above = old.parent
    world.note(path, "another controller takes its place, while it lives")
    old.cut = True
    world.replaced.append(old)
    world.controllers[path] = new = SimController(path, old.name, clock=world.clock())
    world.hang_up(old, "no heartbeat")
    if above.alive:
        world.dial(new)


def take_over(world: World) -> SimController | None:
    """Another farm controller takes the farm: the claim of the one before is stale, as it cannot reach the database.

    That one lives and commands on, until a child that has seen the new one tells it, or it learns that it has lost.
    """
    old = world.root
    if not old.alive or world.database.away or any(other.alive and not other.path for other in world.replaced):
        return None
    world.note(world.farm.name, "another farm controller takes over, while this one lives")
    world.replaced.append(old)
    world.start_farm()
    return old


def lose_claim(world: World, old: SimController) -> None:
    """A farm controller that was replaced reaches the database again, and ends itself."""
    if old.alive:
        world.note(world.farm.name, "has lost its claim")
        world.end_controller(old, "it was replaced")


def end_replaced(world: World) -> None:
    """The machines of controllers that were replaced are switched off."""
    for old in world.replaced:
        if old.alive:
            world.end_controller(old, "its machine was switched off")
    world.replaced.clear()


def be_over(world: World) -> None:
    """No fault goes on: links are whole, the database is there, who was doomed lives, processes behave."""
    world.launch_troubles.clear()
    world.allot_trouble, world.database.away = "", False
    world.repeats = world.echoes = False
    world.reform()
    for node in world.nodes.values():
        node.dies_after = None
        if node.keeper is not None:
            node.keeper.dies_after = None
    for controller in world.controllers.values():
        controller.dies_after = None
    end_replaced(world)
    for path in [*world.nodes, *(path for path in world.controllers if path)]:
        if world.end(path).cut or not world.network.is_whole(path, parent(path)):
            world.mend(path)


def is_calm(world: World) -> bool:
    """Whether everything is there that lets news travel, so that what is believed can be compared with what is so."""
    alone = not any(old.alive for old in world.replaced)
    whole = alone and not world.network.holes and not world.network.is_stalled()
    programs = all(not node.up or (node.keeper_up and node.agent_up) for node in world.nodes.values())
    controllers = all(controller.alive for controller in world.controllers.values())
    late = any(slot.alive and slot.state is State.UNKNOWN for slot in world.processes())
    return whole and programs and controllers and not late
