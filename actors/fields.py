"""What moves charges in a crystal, and what they induce: electric field, drift speeds, 37 weighting potentials.

`poisson.py` solves the potentials on half a turn; here they become tables of the whole turn, asked at any point by
trilinear interpolation in (radius, azimuth, z). The 30 segments outside sector 0 are turns of those inside it.

Units: mm, ns, V; V/cm in the drift table. Impurities after the configuration of greta_siggen: +1.26e10 /cm³ at the
front and -0.091e10 /cm⁴ along the axis (n-type germanium, positive space charge). Drift speeds: those of electrons
and holes along <100> at 80 K or so, as usually tabled; along <111> they are 10-25 % lower, which `anisotropy` stands
for.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .crystal import CORE, SECTORS, SEGMENTS, SIGNALS, SLICES, Crystal, Floats
from .poisson import GHOST_LAYERS, Booleans, Grid, solve, spread

Float32s = npt.NDArray[np.float32]

ELEMENTARY_CHARGE_C = 1.602176634e-19
GERMANIUM_PERMITTIVITY_F_PER_MM = 16.0 * 8.8541878128e-15

FIELD_V_PER_CM = (0.0, 100.0, 300.0, 500.0, 1000.0, 2000.0, 3000.0, 5000.0)
ELECTRON_MM_PER_NS = (0.0, 0.027, 0.057, 0.074, 0.101, 0.122, 0.1275, 0.129)
HOLE_MM_PER_NS = (0.0, 0.036, 0.060, 0.072, 0.086, 0.097, 0.1025, 0.105)
"""Drift speeds along <100> at the fields above; faster fields are taken at the last."""


@dataclass(frozen=True, slots=True)
class FieldParameters:
    """What the fields depend upon; `grid_mm` is the spacing of the nodes they are solved on."""

    crystal: Crystal = field(default_factory=Crystal)
    grid_mm: float = 2.5
    core_v: float = 5000.0
    impurity_per_cm3: float = 1.26e10
    impurity_gradient_per_cm4: float = -0.091e10


@dataclass(frozen=True, slots=True)
class Fields:
    """Field and weighting potentials of one crystal, to be asked at any points.

    The tables' nodes are those of `poisson.Grid` over the whole turn, with one layer more at the axis (radius -dr/2)
    and at either end of the turn.
    """

    parameters: FieldParameters
    field: Float32s  # [R, A, Z, 3] radial, azimuthal, axial; V/mm
    weighting: Float32s  # [R, A, Z, 37]

    def field_at(self, points: Floats) -> Floats:
        """The electric field [n, 3] in V/mm, Cartesian, at points [n, 3] in mm."""
        local = self._interpolate(self.field, points).astype(np.float64)
        radius = np.maximum(np.hypot(points[:, 0], points[:, 1]), 1e-9)
        cosine, sine = points[:, 0] / radius, points[:, 1] / radius
        x = local[:, 0] * cosine - local[:, 1] * sine
        y = local[:, 0] * sine + local[:, 1] * cosine
        return np.stack((x, y, local[:, 2]), axis=1)

    def weights_at(self, points: Floats) -> Float32s:
        """The 37 weighting potentials [n, 37] at points [n, 3] in mm."""
        return self._interpolate(self.weighting, points)

    def _interpolate(self, table: Float32s, points: Floats) -> Float32s:
        """Trilinear; points beyond the table are taken at its edge."""
        crystal = self.parameters.crystal
        *shape, width = table.shape
        turn = np.mod(np.arctan2(points[:, 1], points[:, 0]) / (2 * math.pi), 1.0)
        places = (
            np.hypot(points[:, 0], points[:, 1]) / crystal.radius_mm,
            turn,
            points[:, 2] / crystal.length_mm,
        )
        base = np.zeros(len(points), np.int64)
        parts, strides = [], (shape[1] * shape[2], shape[2], 1)
        for place, count, stride in zip(places, shape, strides, strict=True):
            exact = place * (count - 2) + 0.5
            cell = np.clip(exact.astype(np.int64), 0, count - 2)
            base += cell * stride
            part = np.clip(exact - cell, 0.0, 1.0).astype(np.float32)
            parts.append((1 - part, part))
        rows = table.reshape(-1, width)
        result = np.zeros((len(points), width), np.float32)
        for i, j, k in np.ndindex(2, 2, 2):
            weight = parts[0][i] * parts[1][j] * parts[2][k]
            result += weight[:, None] * rows.take(base + i * strides[0] + j * strides[1] + k, axis=0)
        return result


def solve_fields(parameters: FieldParameters) -> Fields:
    """Solve for a crystal's fields; docs/psa.md has the times this takes."""
    grid = Grid.of(parameters.crystal, parameters.grid_mm)
    density_per_cm3 = parameters.impurity_per_cm3 + parameters.impurity_gradient_per_cm4 * grid.z / 10.0
    charge = density_per_cm3 / 1000.0 * ELEMENTARY_CHARGE_C / GERMANIUM_PERMITTIVITY_F_PER_MM
    potentials, inside = solve(parameters.crystal, grid, charge, parameters.core_v)
    return Fields(parameters, _field_table(potentials[0], inside, grid), _weighting_table(potentials[1:], inside))


def _field_table(potential: Floats, inside: Booleans, grid: Grid) -> Float32s:
    """Minus the gradient, by central differences; beyond the contacts the field goes on as it is inside."""
    # neighbours of the first ring across the axis: half a turn further is, mirrored, the other end of the half turn
    padded = np.concatenate((potential[:1, ::-1], potential, potential[-1:]), axis=0)
    radial = (padded[2:] - padded[:-2]) / (2 * grid.dr)
    padded = np.concatenate((potential[:, :1], potential, potential[:, -1:]), axis=1)
    azimuthal = (padded[:, 2:] - padded[:, :-2]) / (2 * grid.da * grid.radius)
    # nothing crosses the back: the node beyond it equals the last one inside
    padded = np.concatenate((potential[:, :, :1], potential[:, :, :-1], potential[:, :, -2:-1]), axis=2)
    axial = np.zeros_like(potential)
    axial[:, :, :-1] = (padded[:, :, 2:] - padded[:, :, :-2]) / (2 * grid.dz)
    components = spread(-np.stack((radial, azimuthal, axial)), inside, GHOST_LAYERS)
    mirrored = components[:, :, ::-1] * np.array([1.0, -1.0, 1.0])[:, None, None, None]
    whole = np.concatenate((components, mirrored), axis=2)
    across_axis = np.array([-1.0, -1.0, 1.0])[:, None, None, None]
    return _table(whole, across_axis)


def _weighting_table(potentials: Floats, inside: Booleans) -> Float32s:
    """All 37 weighting potentials from the core's and those of sector 0's slices."""
    potentials = potentials.copy()
    potentials[..., -1] = potentials[..., -2]  # nothing crosses the back
    whole = np.concatenate((potentials, potentials[:, :, ::-1]), axis=2)
    azimuths = whole.shape[2]
    full = np.empty((SIGNALS, *whole.shape[1:]))
    full[CORE] = whole[0]
    for segment in range(SEGMENTS):
        sector, slice_ = divmod(segment, SLICES)
        full[segment] = np.roll(whole[1 + slice_], sector * azimuths // SECTORS, axis=1)
    return _table(full, np.ones((SIGNALS, 1, 1, 1)))


def _table(whole: Floats, across_axis: Floats) -> Float32s:
    """[n, R, A, Z] over the turn as a padded table [R+1, A+2, Z, n]; `across_axis` are the signs beyond the axis."""
    ring = np.roll(whole[:, :1], whole.shape[2] // 2, axis=2) * across_axis
    padded = np.concatenate((ring, whole), axis=1)
    padded = np.concatenate((padded[:, :, -1:], padded, padded[:, :, :1]), axis=2)
    return np.ascontiguousarray(np.moveaxis(padded, 0, -1), np.float32)


def drift_velocity(field_v_per_mm: Floats, electrons: bool, scale: float = 1.0, anisotropy: float = 0.0) -> Floats:
    """The velocity [n, 3] in mm/ns in fields [n, 3]: along them for holes, against them for electrons.

    `scale` multiplies the table. `anisotropy` is the part by which the drift is slower along <111> than along <100>
    (0.10-0.25 in germanium; the crystal axes lie along x, y, z); only the speed depends on the direction, the charge
    stays on its line.
    """
    strength = np.sqrt((field_v_per_mm**2).sum(axis=1))
    direction = field_v_per_mm / np.maximum(strength, 1e-12)[:, None]
    speed = scale * np.interp(10.0 * strength, FIELD_V_PER_CM, ELECTRON_MM_PER_NS if electrons else HOLE_MM_PER_NS)
    if anisotropy:
        squares = direction**2
        diagonality = 3 * (
            squares[:, 0] * squares[:, 1] + squares[:, 1] * squares[:, 2] + squares[:, 2] * squares[:, 0]
        )
        speed = speed * (1 - anisotropy * diagonality)
    velocity: Floats = (-speed if electrons else speed)[:, None] * direction
    return velocity
