"""Core alone: how many events per second it decides, in a simulated farm that goes through its whole life."""

import time

from .farms import uniform
from .world import World

LIFE = ("setup", "boot", "load", "configure", "start", "pause", "resume", "stop", "unconfigure", "unload", "shutdown")


def events_per_second(sub_farms: int = 10, nodes: int = 20, processes: int = 4) -> float:
    """Events taken in by all controllers, divided by the real time that the whole simulation took."""
    world = World(uniform(sub_farms, nodes, processes))
    began_s = time.perf_counter()
    for step in LIFE:
        world.carry_out(step)
    return world.events / (time.perf_counter() - began_s)
