"""What can go wrong with the database, by whose fault it is."""

from grange.core.durations import duration_words

TRY_AGAIN = "Try again; whether records wait for the database says: grange status"  # for one that is away
RESTORE = "Put its backup in its place, or name another farm with --home"  # for one that can never be used again


class SchemaError(Exception):
    """Base of everything that this package raises on purpose. `what_to_try` is for people; "" if the text says it."""

    what_to_try = ""


class DatabaseRefused(SchemaError):
    """The installation's fault: this database must not be used as it is. Trying again does not help."""


class DatabaseDamaged(SchemaError):
    """The disk's fault, or of whoever wrote there: what lies there is no sound database. Trying again does not help."""

    what_to_try = RESTORE


class DatabaseMissing(SchemaError):
    """Of whoever moved it, or the disk's: a farm was at work here, and its database is gone."""

    def __init__(self, reason: str, what_to_try: str) -> None:
        self.what_to_try = what_to_try
        super().__init__(reason)


class DatabaseAway(SchemaError):
    """Nobody's fault that we know of: the database cannot be reached or used just now. Trying again may help.

    It is whole for all that is known, and never to be replaced by its backup: that would lose what it has since then.
    """

    def __init__(self, reason: str, what_to_try: str = TRY_AGAIN) -> None:
        self.what_to_try = what_to_try
        super().__init__(reason)


class UnknownRevision(SchemaError):
    """The caller's fault: no revision or tag of this name, or a prefix that fits several."""


class UnknownRun(SchemaError):
    """The caller's fault: there is no run of this number."""


class DamagedRevision(SchemaError):
    """The database's fault: stored content does not have the hash under which it is kept."""

    what_to_try = RESTORE


class ClaimHeld(SchemaError):
    """Another controller holds the farm, and its claim is fresh."""

    def __init__(self, farm: str, holder: str, host: str, pid: int, age_s: float) -> None:
        self.farm, self.holder, self.host, self.pid, self.age_s = farm, holder, host, pid, age_s
        heard = f"last heard of {duration_words(age_s)} ago"
        super().__init__(
            f"farm {farm} is controlled by {holder} (process {pid} on {host}, {heard}); "
            "end that one first, or wait until its claim is no longer fresh"
        )


class ClaimLost(SchemaError):
    """A later controller has taken the farm: whoever gets this is fenced, must end itself and touch no child."""

    def __init__(self, farm: str, incarnation: int, holder: str, holder_incarnation: int) -> None:
        self.farm, self.incarnation = farm, incarnation
        self.holder, self.holder_incarnation = holder, holder_incarnation
        super().__init__(
            f"farm {farm}: incarnation {incarnation} has lost its claim to {holder} (incarnation {holder_incarnation})"
        )


class OutboxFull(SchemaError):
    """The database has been away for so long that not even essential records fit: no more commands until it is back."""


class OutboxFailed(SchemaError):
    """The disk's fault: a record could not be made durable. It is not in the outbox; do not act on it."""
