"""Process control on a node: the keeper, the agent and the node side of the actor link."""
