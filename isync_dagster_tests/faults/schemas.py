"""Random schemas, and values that are hostile to files, wires and spreadsheets."""

from __future__ import annotations

import string
from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from isync_dagster.local_org.seeds.notation import linked, sobject
from isync_dagster.schema.model import SObject

HOSTILE = (
    'She said "no", twice: ""',
    "line one\nline two\n\nline four",
    "windows\r\nline",
    "old mac\rline",
    "next\u0085line, line\u2028and paragraph\u2029separators, \x0b and \x0c",
    "#N/A",
    "#N/A not alone",
    "=1+1",
    "+49 30 1234",
    "-2",
    "@SUM(A1:A9)",
    "00042",
    "1e400",
    "null",
    "NaN",
    ",;\t|",
    "'); DROP TABLE Account; --",
    "a0B000000000001AAA",
    "  spaces around  ",
    "\u00a0no-break\u00a0",
    "emoji 🦊👩‍👩‍👧 and ünïcode, 漢字, ﷽, e\u0301",
    "\ufeffmark",
    "back\\slash \\n \\N",
    "<b>&amp;</b>",
    '"',
    "x" * 32_000,
    ("y" * 99 + "\n") * 300 + '"end"',
)
CODES = ("007", "0", "1.0", "TRUE", "ÄÖ", "#N/A", "Z9")
# An org keeps numbers as doubles: 15 digits, and whole numbers up to 2**53, are what comes back as it was.
NUMBERS = ("0", "-0.01", "0.1", "9999999999999.99", "-9999999999999.99", "1234567.89", "3")
INTEGERS = ("0", "999999999999999", "-999999999999999", "9007199254740991", "1")


@dataclass(frozen=True)
class Look:
    """One lookup of an object. `kind`: optional, poly, required, fixed (not updateable), master, level."""

    name: str
    to: tuple[str, ...]
    kind: str

    @property
    def notation(self) -> str:
        """As the local org's seeds write it."""
        flags = {"optional": "cun", "poly": "cunP", "required": "cu", "fixed": "cn", "master": "cM", "level": "cn"}
        path = self.name.replace("__c", "__r")
        return f"{self.name} reference {flags[self.kind]} > {'/'.join(self.to)} as {path}"

    @property
    def must(self) -> bool:
        """True where a record cannot be without it."""
        return self.kind in ("required", "master")


@dataclass(frozen=True)
class Shape:
    """One object: its name, its lookups, and how its records are found again."""

    name: str
    looks: tuple[Look, ...]
    key: str
    """match, migration or none"""

    @property
    def has_master(self) -> bool:
        """True where a parent decides who owns it."""
        return any(look.kind == "master" for look in self.looks)


@dataclass(frozen=True)
class Schema:
    """A whole schema, parents of required lookups first."""

    shapes: tuple[Shape, ...]

    def objects(self) -> tuple[SObject, ...]:
        """The objects as an org knows them."""
        return linked(
            sobject(
                shape.name,
                "Name string(80) cuN; Key__c string(40) cune; Legacy__c string(18) cunexs; "
                "Text__c textarea(32000) cun; Code__c string(20) cun; Number__c double(16,2) cun; "
                "Whole__c double(18,0) cun; Flag__c boolean cu; " + "; ".join(look.notation for look in shape.looks),
                owner="none" if shape.has_master else "user",
            )
            for shape in self.shapes
        )

    def shape(self, name: str) -> Shape:
        """One object."""
        return next(shape for shape in self.shapes if shape.name == name)


@st.composite
def schemas(draw: DrawFn) -> Schema:
    """Two to four objects with cycles, self references, polymorphic lookups, required parents, masters, junctions."""
    names = [f"{letter}__c" for letter in string.ascii_uppercase[: draw(st.integers(2, 4))]]
    shapes = []
    for number, name in enumerate(names):
        looks: list[Look] = []
        earlier = names[:number]
        if earlier and draw(st.booleans()):
            kind = draw(st.sampled_from(("required", "master", "junction")))
            parents = draw(st.lists(st.sampled_from(earlier), min_size=1, max_size=2 if kind == "junction" else 1))
            looks += [
                Look(f"M{n}__c", (parent,), "required" if kind == "required" else "master")
                for n, parent in enumerate(parents)
            ]
        for n in range(draw(st.integers(0, 2))):
            looks.append(Look(f"L{n}__c", (draw(st.sampled_from(names)),), "optional"))
        if draw(st.booleans()):
            looks.append(Look("Up__c", (name,), draw(st.sampled_from(("optional", "level")))))
        if draw(st.integers(0, 3)) == 0:
            both = draw(st.lists(st.sampled_from(names), min_size=2, max_size=2, unique=True))
            looks.append(Look("Any__c", tuple(both), "poly"))
        shapes.append(Shape(name, tuple(looks), draw(st.sampled_from(("match", "match", "migration", "none")))))
    return Schema(tuple(shapes))


def texts() -> st.SearchStrategy[str | None]:
    """Texts that a text area holds: hostile ones, and any characters but those that no org keeps."""
    anything = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")), max_size=60)
    return st.one_of(st.none(), st.sampled_from(HOSTILE), anything)


def values() -> st.SearchStrategy[dict[str, str | None]]:
    """The plain fields of a record."""
    return st.fixed_dictionaries(
        {
            "Name": st.sampled_from(("One", "Two", 'Three "3"', "=4", "0005")),
            "Text__c": texts(),
            "Code__c": st.one_of(st.none(), st.sampled_from(CODES)),
            "Number__c": st.one_of(st.none(), st.sampled_from(NUMBERS)),
            "Whole__c": st.one_of(st.none(), st.sampled_from(INTEGERS)),
            "Flag__c": st.sampled_from(("true", "false")),
        }
    )
