"""What the database and the parser of configurations raise, as the errors that cross the wire."""

import contextlib
from collections.abc import Iterator

from grange.core.errors import GrangeError, InvalidInput, Unavailable, UnknownRevision, UnknownRun
from grange.core.problems import ConfigurationError, Problem
from grange.schema import errors


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Whatever is raised within, raised as a `GrangeError`."""
    try:
        yield
    except errors.UnknownRevision as error:
        raise _not_found(UnknownRevision, error) from None
    except errors.UnknownRun as error:
        raise _not_found(UnknownRun, error) from None
    except ConfigurationError as error:
        raise as_invalid(error) from None
    except errors.DatabaseAway as error:
        raise Unavailable(str(error), error.what_to_try) from error
    except errors.SchemaError as error:
        raise GrangeError(str(error), error.what_to_try) from error
    except ValueError as error:
        raise InvalidInput([Problem("", str(error))]) from None


def _not_found(cls: type[UnknownRevision] | type[UnknownRun], error: Exception) -> GrangeError:
    text, _, hint = str(error).partition("; ")
    if cls is UnknownRevision and '"' not in text:  # it is not the name that is wrong: there is none at all
        return InvalidInput([Problem("revision", text)], hint[:1].upper() + hint[1:])
    name = text.split('"')[1] if '"' in text else text.removeprefix("there is no run ")
    return cls(name, (), hint[:1].upper() + hint[1:])


def as_invalid(error: ConfigurationError) -> InvalidInput:
    """Every problem of a configuration, for its writer."""
    count = len(error.problems)
    reason = f"{error.source}: {count} problem{'s' if count > 1 else ''}; nothing was stored"
    return InvalidInput(error.problems, reason=reason)
