"""SQL: configuration revisions, run registry, outbox; everything durable that a farm keeps."""
