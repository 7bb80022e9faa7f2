"""The pulse-shape analysis worker of the reference chain: where in its segments each crystal was hit, by grid search.

Many of them share the trigger's blocks as a work queue. A block is answered for only when its result is with the event
builder, so a worker that dies loses nothing: another one gets its blocks. The basis is computed once per machine, in
the cache directory, and its pages are shared by all workers.
"""

from typing import Any, ClassVar

from .adf import AdfError, pack_psa_frames, unpack_crystal_frames
from .analysis import WINDOW_SAMPLES_MOST, analyse
from .basis import BasisParameters, load_basis
from .cache import CacheError
from .errors import ActorError
from .exchange import Block, Received
from .fields import FieldParameters
from .gridsearch import GridSearch
from .parameters import WHAT_TO_DO, require_within
from .stage import Stage

GRID_MM = (1.0, 14.0)
"""A finer grid takes many gigabytes, a coarser one leaves segments without a point."""
FIELD_GRID_MM = (1.0, 5.0)
"""A finer grid takes longer than a configure; beyond 5 mm `poisson.Grid.of` soon makes the same of every spacing."""


class Psa(Stage):
    """Parameters:

    - `grid_mm` (3.0): spacing of the basis points, 1 to 14; finer is more accurate and slower to compute once
    - `field_grid_mm` (2.0): spacing of the nodes on which the crystal's fields are solved, 1 to 5
    - `samples` (40): length of the compared window, in samples of 10 ns, 1 to 67
    - `exponent` (0.3), `shortlist` (32): the figure of merit, and for how many nearest points it is computed
    - `threshold_kev` (10.0): segments from this energy on count as hit
    - `coarse_below_kev` (50.0): below it p = 2 decides alone
    - `window_blocks` (2): blocks under way; more would leave other workers idle at the end of a run

    Counts `analysed`, in crystal frames whose result the next stage has confirmed.
    """

    declared: ClassVar[dict[str, Any]] = {
        **Stage.declared,
        "window_blocks": 2,
        "grid_mm": 3.0,
        "field_grid_mm": 2.0,
        "samples": 40,
        "exponent": 0.3,
        "shortlist": 32,
        "threshold_kev": 10.0,
        "coarse_below_kev": 50.0,
    }
    counter_names = ("analysed",)
    answers_for_block = "passed_on"
    # a block of some hundred frames on a busy core, with room to spare
    hang_after_s = 10.0

    def process_config(self) -> None:
        require_within(
            self.parameters, {"grid_mm": GRID_MM, "field_grid_mm": FIELD_GRID_MM, "samples": (1, WINDOW_SAMPLES_MOST)}
        )

    def process_initialise(self) -> None:
        given = self.parameters
        self.status = "loading the basis, or computing it once"
        try:
            fields = FieldParameters(grid_mm=given["field_grid_mm"])
            basis = load_basis(
                self.surroundings.cache_directory,
                BasisParameters(fields=fields, grid_mm=given["grid_mm"], samples=given["samples"]),
            )
            self._search = GridSearch(
                basis, given["exponent"], given["shortlist"], given["threshold_kev"], given["coarse_below_kev"]
            )
        except CacheError as error:
            raise ActorError(str(error)) from error
        except ValueError as error:
            raise ActorError(str(error), WHAT_TO_DO) from error
        self.status = f"basis of {len(basis.points_mm):,} points ready"

    def process_reset(self) -> None:
        del self._search
        self.status = ""

    def handle(self, received: Received) -> None:
        try:
            frames = unpack_crystal_frames(received.block.data)
            heads, hits = analyse(self._search, frames)
        except (AdfError, ValueError) as error:
            block = received.block
            raise ActorError(
                f"block {block.number} from {received.writer} cannot be analysed: {error}",
                "Check what the input file was written by",
            ) from error
        self.emit(pack_psa_frames(heads, hits), len(heads), received)

    def passed_on(self, block: Block) -> None:
        self.count("analysed", block.frames)

    def describe(self) -> str:
        return f"{self.counters['analysed']:,} crystal frames analysed"
