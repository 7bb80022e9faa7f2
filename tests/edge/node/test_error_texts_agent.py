"""What an agent says of orders and notes that it does not understand: exact texts."""

import pytest

from grange.proto import tree_pb2
from grange.supervisor.wire import WireError, order_from_wire, spec_from_document, spec_from_wire


def test_what_an_agent_does_not_understand_is_told() -> None:
    order = tree_pb2.ProcessOrder(order_id="o7", path="sf01/n1/psa-1")
    with pytest.raises(WireError) as unknown:
        order_from_wire(order, None)
    assert str(unknown.value) == "order 'o7' for sf01/n1/psa-1: command 0 means nothing here"
    with pytest.raises(WireError) as unready:
        spec_from_wire(tree_pb2.ProcessSpec(path="sf01/n1/psa-1", ready="someday"))
    assert str(unready.value) == "sf01/n1/psa-1: ready 'someday' means nothing to this version"
    with pytest.raises(WireError) as damaged:
        spec_from_document({"path": 5})
    by_protobuf = damaged.value.args[0].partition(": ")[2]
    assert "path" in by_protobuf
    assert str(damaged.value) == f"the noted specification is damaged: {by_protobuf}"
