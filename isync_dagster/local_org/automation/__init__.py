"""What an org does by itself when rows are read and saved: formulas, roll-ups, rules, duplicates, triggers, flows.

`model` is what can be declared, `names` and `filters` turn it into SQL over whole frames, `computed` serves it to
reads, and `engine` is what a write calls, moment by moment. An object for which nothing is declared costs nothing.
"""
