"""Poisson's equation in a crystal, on a cylindrical grid, by red-black successive over-relaxation (SOR).

Cylindrical, because then a rotation by 60° is a shift of the grid: only the potential, the core's weighting potential
and those of sector 0's six segments need solving, and all eight mirror at the plane through the middle of sector 0,
so half a turn suffices. They share every coefficient and are relaxed side by side.

Finite volumes: a node's cell exchanges flux with its six neighbours. Where a link to a neighbour crosses a contact,
it ends there and counts by its shortened length, so surfaces need not lie on the grid. The back face is passivated:
nothing crosses it.

Beyond the contacts the solution is continued by a few layers of nodes, linearly, so that interpolation is good up to
the surface. Everything is linear in the contacts' values: weighting potentials that add up to one do so on every
node, as far as the iteration has converged.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from .crystal import CORE, SLICES, Crystal, Floats

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

PROBLEMS = 2 + SLICES
"""What is solved: the potential, the core's weighting potential, those of the six segments of sector 0."""
TOLERANCE = 1e-6
"""SOR ends when a sweep moves no node by more than this part of the contacts' difference."""
MAX_SWEEPS = 5000
"""A bound for SOR; a grid of 0.5 mm converges in far fewer."""
GHOST_LAYERS = 3
"""Layers of nodes beyond the contacts that are given values: interpolation inside needs at most two."""
_SHORTEST_LINK = 0.02
"""A contact nearer to a node than this part of a link counts as this far, so that no coefficient explodes."""
_SHORTEST_LEVER = 0.5
"""The same for continuing the solution beyond the contact."""
_DIRECTIONS = ((0, -1), (0, 1), (1, -1), (1, 1), (2, -1), (2, 1))
"""The six neighbours of a node: axis of the grid, and step."""
_BISECTIONS = 30


@dataclass(frozen=True, slots=True)
class Grid:
    """The nodes of half a turn: radius (i + ½) dr, azimuth (j + ½) da (radians), z (k - ½) dz.

    One layer lies beyond the rim and one beyond either face: R = radius / dr + 1, A = π / da, Z = length / dz + 2
    nodes.
    """

    dr: float
    da: float
    dz: float
    radius: Floats  # [R, 1, 1]
    azimuth: Floats  # [1, A, 1]
    z: Floats  # [1, 1, Z]

    @classmethod
    def of(cls, crystal: Crystal, spacing_mm: float) -> Self:
        radii = max(8, round(crystal.radius_mm / spacing_mm))
        # cells are about square at two thirds of the radius, and sectors' borders lie between nodes
        azimuths = 6 * max(3, math.ceil(math.pi * crystal.radius_mm / 1.5 / spacing_mm / 6))
        depths = max(16, round(crystal.length_mm / spacing_mm))
        dr, da, dz = crystal.radius_mm / radii, math.pi / azimuths, crystal.length_mm / depths
        radius = np.asarray((np.arange(radii + 1) + 0.5) * dr, np.float64)
        azimuth = np.asarray((np.arange(azimuths) + 0.5) * da, np.float64)
        z = np.asarray((np.arange(depths + 2) - 0.5) * dz, np.float64)
        return cls(dr, da, dz, radius[:, None, None], azimuth[None, :, None], z[None, None, :])

    def coefficient(self, axis: int, step: int) -> Floats:
        """The flux through a whole link per potential difference and per dr da dz; shapes broadcast to [R, A, Z]."""
        if axis == 0:
            return (self.radius + step * self.dr / 2) / self.dr**2
        return 1.0 / (self.radius * self.da**2) if axis == 1 else self.radius / self.dz**2


@dataclass(frozen=True, slots=True)
class _Link:
    """One direction's links of all nodes [R, A, Z]."""

    coefficient: Floats  # 0 where nothing is exchanged
    fraction: Floats  # of the link's length up to the contact; 1 where none is crossed
    contact: Integers  # the contact crossed, or -1


def solve(crystal: Crystal, grid: Grid, charge_v_per_mm2: Floats, core_v: float) -> tuple[Floats, Booleans]:
    """The `PROBLEMS` potentials [8, R, A, Z] on half a turn, and which nodes lie in the germanium.

    `charge_v_per_mm2` is space charge over permittivity, and broadcasts to [R, A, Z]; the first problem alone has it.
    """
    radius, azimuth, z = np.broadcast_arrays(grid.radius, grid.azimuth, grid.z)
    inside = (crystal.depth(radius, azimuth, z) > 0) & (z < crystal.length_mm)
    links = [_link(crystal, grid, inside, axis, step) for axis, step in _DIRECTIONS]
    source = np.zeros((PROBLEMS, *inside.shape))
    source[0] = np.where(inside, grid.radius * charge_v_per_mm2, 0.0)
    for link in links:
        source += link.coefficient * _contact_values(link.contact, core_v)
    scale = np.ones((PROBLEMS, 1, 1, 1))
    scale[0] = core_v
    solution = _relax(inside, links, source / scale) * scale
    return _continue_beyond_contacts(solution, inside, links, core_v), inside


def _link(crystal: Crystal, grid: Grid, inside: Booleans, axis: int, step: int) -> _Link:
    """The links in one direction; where a contact is crossed is found by bisection of the crystal's depth."""
    moves = [step * size if axis == index else 0.0 for index, size in enumerate((grid.dr, grid.da, grid.dz))]

    def place(fraction: Floats | float, nodes: Booleans) -> tuple[Floats, Floats, Floats]:
        """The places at a fraction of the links of the nodes chosen."""
        starts = (np.broadcast_to(axis_, inside.shape)[nodes] for axis_ in (grid.radius, grid.azimuth, grid.z))
        radius, azimuth, z = (start + fraction * move for start, move in zip(starts, moves, strict=True))
        return radius, azimuth, z

    linked = inside.copy()
    if axis == 1:  # the mirror planes at both ends of the half turn
        linked[:, 0 if step < 0 else -1, :] = False
    elif (axis, step) == (2, 1):  # the passivated back
        linked[:, :, -2] = False
    crossing = linked.copy()
    crossing[linked] = crystal.depth(*place(1.0, linked)) <= 0
    near, far = np.zeros(crossing.sum()), np.ones(crossing.sum())
    for _ in range(_BISECTIONS):
        middle = (near + far) / 2
        within = crystal.depth(*place(middle, crossing)) > 0
        near, far = np.where(within, middle, near), np.where(within, far, middle)
    fraction = np.ones(inside.shape)
    fraction[crossing] = np.maximum(near, _SHORTEST_LINK)
    contact = np.full(inside.shape, -1)
    contact[crossing] = crystal.contact(*place(far, crossing))
    coefficient = np.where(linked, np.broadcast_to(grid.coefficient(axis, step), inside.shape), 0.0) / fraction
    return _Link(coefficient, fraction, contact)


def _contact_values(contact: Integers, core_v: float) -> Floats:
    """What each problem [8, ...] holds the contacts at; 0 where there is none."""
    values = np.zeros((PROBLEMS, *contact.shape))
    values[0] = core_v * (contact == CORE)
    values[1] = contact == CORE
    for slice_ in range(SLICES):
        values[2 + slice_] = contact == slice_
    return values


def _relax(inside: Booleans, links: list[_Link], source: Floats) -> Floats:
    """SOR to `TOLERANCE`; the solution is 0 outside the germanium."""
    diagonal = np.where(inside, sum(link.coefficient for link in links), 1.0)
    source = source / diagonal
    inner = [np.where(link.contact < 0, link.coefficient, 0.0) / diagonal for link in links]
    colour = np.indices(inside.shape).sum(axis=0) % 2
    # the model problem's optimum for a cube of so many nodes a side; the factor was found by trying, at 2 and 2.5 mm
    omega = 2.0 / (1.0 + math.sin(math.pi / (1.5 * max(inside.shape))))
    steps = [np.where(inside & (colour == parity), omega, 0.0) for parity in (0, 1)]
    solution = np.zeros_like(source)
    change, product = np.empty_like(source), np.empty_like(source)
    for _ in range(MAX_SWEEPS):
        moved = 0.0
        for step in steps:
            np.subtract(source, solution, out=change)
            for (axis, direction), coefficient in zip(_DIRECTIONS, inner, strict=True):
                here, there = _shifted(axis, direction)
                part = np.multiply(coefficient[here[1:]], solution[there], out=product[here])
                change[here] += part
            change *= step
            solution += change
            moved = max(moved, float(change.max()), -float(change.min()))
        if moved < TOLERANCE:
            return solution
    raise ArithmeticError(f"SOR still moves by {moved:.1e} after {MAX_SWEEPS} sweeps; choose a coarser field grid")


def _shifted(axis: int, step: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of [n, R, A, Z] for the nodes that have a neighbour in a direction, and for these neighbours."""
    low, high = slice(None, -1), slice(1, None)
    here, there = (high, low) if step < 0 else (low, high)
    whole = slice(None)
    return (
        tuple(here if index == axis + 1 else whole for index in range(4)),
        tuple(there if index == axis + 1 else whole for index in range(4)),
    )


def _continue_beyond_contacts(solution: Floats, inside: Booleans, links: list[_Link], core_v: float) -> Floats:
    """Give the nodes just beyond a contact what continues the line from the inside node through the contact."""
    total, count = np.zeros_like(solution), np.zeros(inside.shape)
    for (axis, step), link in zip(_DIRECTIONS, links, strict=True):
        here, there = _shifted(axis, step)
        crossed = link.contact >= 0
        lever = np.maximum(link.fraction, _SHORTEST_LEVER)
        beyond = solution + (_contact_values(link.contact, core_v) - solution) / lever
        total[there] += np.where(crossed, beyond, 0.0)[here]
        count[there[1:]] += crossed[here[1:]]
    ghosts = count > 0
    solution = np.where(ghosts, total / np.maximum(count, 1), solution)
    return spread(solution, inside | ghosts, GHOST_LAYERS - 1)


def spread(values: Floats, known: Booleans, layers: int) -> Floats:
    """Give layer upon layer of nodes outside `known` the mean of their known neighbours; `values` are [n, R, A, Z]."""
    values, known = np.where(known, values, 0.0), known.copy()
    for _ in range(layers):
        total, count = np.zeros_like(values), np.zeros(known.shape)
        for axis, step in _DIRECTIONS:
            here, there = _shifted(axis, step)
            total[here] += values[there]
            count[here[1:]] += known[there[1:]]
        fresh = ~known & (count > 0)
        values = np.where(fresh, total / np.maximum(count, 1), values)
        known |= fresh
    return values
