"""Salesforce's formula language: parsed by a grammar, compiled to one SQL expression over whole columns.

The engine is pure: it knows neither an org nor a database. Whoever compiles gives a `Names`, which says what a
field path, `$User` or the clock is in SQL; `compile_formula` gives the expression and the kind of its values.
"""

from isync_dagster.local_org.formula.compile import compile_formula, compile_value
from isync_dagster.local_org.formula.errors import FormulaError
from isync_dagster.local_org.formula.functions import FUNCTIONS
from isync_dagster.local_org.formula.grammar import functions_of, parse, paths_of
from isync_dagster.local_org.formula.kinds import Compiled, Names, Value

__all__ = [
    "FUNCTIONS",
    "Compiled",
    "FormulaError",
    "Names",
    "Value",
    "compile_formula",
    "compile_value",
    "functions_of",
    "parse",
    "paths_of",
]
