"""Nodes for the tests of process control; each fixture checks that nothing of its node is left."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from .node_helpers import AgentNode, KeeperNode, keeper_node


@pytest.fixture
def keeper() -> Iterator[KeeperNode]:
    """A running keeper, and the test as its agent."""
    with keeper_node() as node:
        yield node


@pytest_asyncio.fixture
async def node() -> AsyncIterator[AgentNode]:
    """A node in its directory; `start()` launches it."""
    node = AgentNode()
    try:
        yield node
    finally:
        await node.close()
