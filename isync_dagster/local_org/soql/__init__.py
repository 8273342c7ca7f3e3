"""SOQL for the local org: parsed by a grammar, compiled to one DuckDB statement, shaped as the REST API answers.

`compile_query` -> `CompiledQuery`; `run` fetches it as an Arrow table; `records` turns that into JSON records;
`CompiledQuery.bulk_sql()` is the same query with every value as the text that Bulk 2.0 writes into its CSV.
"""

from isync_dagster.local_org.soql.compile import compile_query
from isync_dagster.local_org.soql.errors import SoqlError
from isync_dagster.local_org.soql.grammar import parse
from isync_dagster.local_org.soql.result import Column, CompiledQuery, Record
from isync_dagster.local_org.soql.shape import records, run

__all__ = ["Column", "CompiledQuery", "Record", "SoqlError", "compile_query", "parse", "records", "run"]
