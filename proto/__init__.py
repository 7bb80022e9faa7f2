"""The wire: grange.v1 messages and services, conversions, client stubs and server shells."""
