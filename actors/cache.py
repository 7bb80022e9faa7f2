"""Arrays that take long to compute, computed once per machine and shared by all processes that need them.

An entry is a folder `<kind>-<key>` of .npy files; the key is a hash of all parameters and of `MODEL_VERSION`, so an
entry never has to be invalidated and can be deleted at any time. It appears by one rename, whole or not at all. Of
several processes that want it at once one computes, under a file lock that the kernel drops if it dies, and the
others wait for it: a computation is bounded, and whoever configures an actor has a limit above. Arrays are mapped
read-only, so processes share their pages.
"""

import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]

MODEL_VERSION = 1
"""To be raised with every change of the code that changes what it computes from the same parameters."""


class CacheError(RuntimeError):
    """An entry is there and cannot be read: says which, and that deleting it helps."""


def content_key(kind: str, parameters: Any) -> str:
    """The name of the entry for a dataclass of parameters: equal parameters, equal name."""
    text = json.dumps([MODEL_VERSION, kind, dataclasses.asdict(parameters)], sort_keys=True)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def load_or_compute(
    directory: str | os.PathLike[str], kind: str, parameters: Any, compute: Callable[[], Arrays]
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an entry, mapped read-only; computed and kept first if it is not there."""
    root = Path(directory)
    entry = root / content_key(kind, parameters)
    if not entry.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        with entry.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not entry.is_dir():  # nobody was faster
                _store(entry, parameters, compute())
    try:
        return {file.stem: np.asarray(np.load(file, mmap_mode="r")) for file in sorted(entry.glob("*.npy"))}
    except (OSError, ValueError) as error:
        raise CacheError(
            f"cache entry {entry} cannot be read ({error}); delete this folder, and it is made again"
        ) from error


def _store(entry: Path, parameters: Any, arrays: Arrays) -> None:
    """Called under the lock, so what lies at the partial name is left from a process that died."""
    partial = entry.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for name, array in arrays.items():
        with (partial / f"{name}.npy").open("wb") as file:
            np.save(file, array)
            file.flush()
            os.fsync(file.fileno())
    # for people who wonder what the entry is
    (partial / "parameters.json").write_text(json.dumps(dataclasses.asdict(parameters), indent=2) + "\n")
    partial.rename(entry)
