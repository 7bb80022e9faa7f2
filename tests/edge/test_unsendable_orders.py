"""What no message can carry is not lost in silence: the order has failed at once, and says why."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from grange.controllers.children import Children
from grange.controllers.runtime import Ports, Runtime
from grange.core.effects import Order, SendOrders
from grange.core.events import ProcessesReported
from grange.core.names import Command, State
from grange.core.plan import ProcessSpec
from grange.core.reports import Failure, ProcessReport

from .scripted import parent_of


def spec(path: str, **parameters: Any) -> ProcessSpec:
    return ProcessSpec(path=path, role="psa", argv=(), actor="a:B", parameters=parameters)


async def test_an_order_that_no_message_can_carry_fails_at_once_with_its_reason_and_the_others_are_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    core = parent_of("sf01/n1")
    children = Children(lambda: runtime, cast(Any, None), cast(Any, None), cast(Any, None))
    runtime = Runtime(cast(Any, core), cast(Any, children), cast(Ports, None))
    sent: list[Any] = []
    children._children["n1"] = cast(Any, SimpleNamespace(channel=SimpleNamespace(send=sent.append)))
    far, well = "sf01/n1/psa-1", "sf01/n1/psa-2"
    orders = (
        Order("1", far, Command.LOAD, 5.0, spec=spec(far, seed=10**400)),
        Order("2", well, Command.LOAD, 5.0, spec=spec(well, seed=1)),
    )
    children.send_orders(SendOrders("n1", (5, 1), 1, orders))
    assert [order.path for message in sent for order in message.orders.orders] == [well]
    reason = (
        "psa-1 on n1 cannot be told to load: a value of its configuration cannot be sent "
        "(int too large to convert to float). Put it right, import that, and repeat the command"
    )
    failure = Failure("refused", reason)
    report = ProcessReport(far, State.INITIAL, order_id="1", order_done=True, order_ok=False, failure=failure)
    assert core.told == [ProcessesReported("n1", (report,))]
    assert "the order 1 for sf01/n1/psa-1 cannot be sent" in caplog.text
