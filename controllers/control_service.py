"""Control, as every controller serves it: commands in, progress and outcomes out, and the view of the tree.

It is put together of two halves that share nothing but the runtime: `commanding.py` changes things, `looking.py` and
`describing.py` never do. The server finds a handler by the name of its RPC.
"""

from collections.abc import Callable

from grange.core.home import Home

from .authority import Authority, Identity
from .children import Children
from .commanding import Commanding
from .describing import Describing
from .looking import Looking
from .runtime import Runtime
from .trail import Trail


class ControlService:
    """The handlers of Control, for one runtime."""

    def __init__(
        self,
        runtime: Callable[[], Runtime],
        children: Children,
        authority: Authority,
        who: Callable[[], Identity],
        home: Home,
        trail: Trail,
    ) -> None:
        commanding = Commanding(runtime, authority, trail)
        looking = Looking(runtime, children, authority, who, home.sub_farm_address)
        self.answer = commanding.answer
        self.execute = commanding.execute
        self.cancel = commanding.cancel
        self.down = commanding.down
        self.inspect = looking.inspect
        self.describe = Describing(looking, home).describe
        self.stub = looking.stub
        self.watch = looking.watch
        self.read_output = looking.read_output
        self.close = looking.close
