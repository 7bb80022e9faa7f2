"""How keepers and controllers get to their machines."""
