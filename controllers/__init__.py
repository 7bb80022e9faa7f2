"""Run control: the farm and sub-farm programs, and the runtime that feeds events to core and carries out its effects."""
