"""The shape of a tapered hexagonal coaxial germanium crystal, and how its outer contact is divided into segments.

Coordinates in mm: the axis is z, from the front face (z = 0) to the passivated back (z = length); a hexagon that
widens with z is cut by a cylinder; a blind bore from the back holds the core contact. The first ring of segments
wraps over the front face. Six sectors and six slices: segment = 6 × sector + slice; sector 0 is centred on the +x
axis and sectors follow the azimuth; sector borders run through the middles of the hexagon's flats. Everything repeats
every 60° and mirrors within a sector, which `fields.py` relies upon.

Length, back diameter, bore and slices follow AGATA's crystals; the taper (8°) and the front apothem are assumptions
of this model, made so that the back just fills its cylinder and the volume is right (360 cm³).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SECTORS = 6
SLICES = 6
SEGMENTS = SECTORS * SLICES
CORE = SEGMENTS
"""The core's place among the 37 signals of a crystal; 0-35 are the segments."""
SIGNALS = SEGMENTS + 1


@dataclass(frozen=True, slots=True)
class Crystal:
    """The shape; lengths in mm, the taper in degrees."""

    length_mm: float = 90.0
    radius_mm: float = 40.0
    front_apothem_mm: float = 28.0
    taper_deg: float = 8.0
    bore_radius_mm: float = 5.0
    bore_start_mm: float = 13.0
    slices_mm: tuple[float, ...] = (8.0, 13.0, 15.0, 18.0, 18.0, 18.0)

    def __post_init__(self) -> None:
        if len(self.slices_mm) != SLICES or not math.isclose(sum(self.slices_mm), self.length_mm):
            raise ValueError(
                f"slices of {self.slices_mm} mm: there must be {SLICES}, and they must add up to {self.length_mm} mm"
            )

    def depth(self, radius: Floats, azimuth: Floats, z: Floats) -> Floats:
        """How far inside the germanium a place is (mm), by its nearest contact; negative beyond one.

        The back face is no contact and does not count. Azimuth in radians.
        """
        return np.minimum(self._outer_depth(radius, azimuth, z), self._bore_depth(radius, z))

    def _outer_depth(self, radius: Floats, azimuth: Floats, z: Floats) -> Floats:
        to_flat = np.cos(np.mod(azimuth, math.pi / 3) - math.pi / 6)
        apothem = self.front_apothem_mm + z * math.tan(math.radians(self.taper_deg))
        return np.minimum(np.minimum(self.radius_mm - radius, apothem - radius * to_flat), z)

    def _bore_depth(self, radius: Floats, z: Floats) -> Floats:
        return np.maximum(radius - self.bore_radius_mm, self.bore_start_mm - z)

    def segment(self, azimuth: Floats, z: Floats) -> Integers:
        """The segment whose contact a place on the outer surface belongs to."""
        sector = np.floor(np.mod(azimuth / (math.pi / 3) + 0.5, SECTORS)).astype(np.int64) % SECTORS
        return sector * SLICES + np.searchsorted(np.cumsum(self.slices_mm)[:-1], z, side="right")

    def contact(self, radius: Floats, azimuth: Floats, z: Floats) -> Integers:
        """The contact nearest to a place on the surface: a segment, or `CORE`."""
        at_bore = self._bore_depth(radius, z) < self._outer_depth(radius, azimuth, z)
        return np.where(at_bore, CORE, self.segment(azimuth, z))

    def inside(self, points: Floats) -> npt.NDArray[np.bool_]:
        """Which of the points [n, 3] lie in the germanium."""
        radius, azimuth = np.hypot(points[:, 0], points[:, 1]), np.arctan2(points[:, 1], points[:, 0])
        return (self.depth(radius, azimuth, points[:, 2]) > 0) & (points[:, 2] < self.length_mm)

    def grid(self, spacing_mm: float) -> Floats:
        """The points [n, 3] of a cubic grid that lie in the germanium, centred on the axis."""
        steps = math.ceil(self.radius_mm / spacing_mm)
        across = (np.arange(-steps, steps) + 0.5) * spacing_mm
        along = np.arange(0.5 * spacing_mm, self.length_mm, spacing_mm)
        points = np.stack(np.meshgrid(across, across, along, indexing="ij"), axis=-1).reshape(-1, 3)
        return points[self.inside(points)]


def neighbours(segment: int) -> tuple[int, ...]:
    """The segments that share an edge or a corner with `segment`: 8, or 5 at the front and the back."""
    sector, slice_ = divmod(segment, SLICES)
    return tuple(
        (sector + turn) % SECTORS * SLICES + slice_ + step
        for turn in (-1, 0, 1)
        for step in (-1, 0, 1)
        if 0 <= slice_ + step < SLICES and (turn, step) != (0, 0)
    )


def mask(segment: int) -> tuple[int, ...]:
    """The signals that tell where in `segment` an interaction was: the segment first, the core, then its neighbours."""
    return (segment, CORE, *neighbours(segment))


def channel_order() -> Integers:
    """For each segment all 37 signals [36, 37], those of its mask first: 10, or 7 at the front and the back."""
    orders = []
    for segment in range(SEGMENTS):
        first = mask(segment)
        orders.append([*first, *(channel for channel in range(SIGNALS) if channel not in first)])
    return np.array(orders)
