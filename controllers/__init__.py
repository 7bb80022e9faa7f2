"""Run control: the farm and sub-farm programs, and the runtime that feeds core and acts for it."""
