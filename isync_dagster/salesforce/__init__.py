"""The wire: credentials, session, REST, collections, Bulk 2.0 query and ingest, error classes."""
