"""The kinds of pre-flight findings: what a template may decide on, what the gate's checks are called."""

from __future__ import annotations

from collections.abc import Mapping

KINDS: Mapping[str, str] = {
    "required": "Every field that the target requires has a value.",
    "type": "Every value fits the type of the target's field.",
    "length": "No text is longer than the target's field.",
    "range": "Numbers and dates lie in the range of the target's field.",
    "picklist": "Restricted picklists hold active values only.",
    "dependent_picklist": "Values of dependent picklists go with the value of the controlling field.",
    "record_type_picklist": "Restricted picklists hold only values that the record's type offers.",
    "record_type": "Every record type is one that the loading user may use.",
    "email": "E-mail addresses have the shape of one.",
    "url": "URLs have the shape of one.",
    "phone": "Phone numbers hold digits.",
    "unique": "Values of unique fields are unique within the batch and free in the target.",
    "owner": "Every owner has an active counterpart in the target.",
    "match_key": "Match keys are unique in the source and in the target.",
    "access": "The loading user may create and update the objects.",
    "lookup_filter": "Every parent passes the filter that the target has on the lookup.",
    "duplicate_rule": "No duplicate rule is active on the objects that get rows.",
    "storage": "The target's data storage holds the rows of the phase.",
    "api_budget": "The target's allowance of calls and Bulk batches suffices for the phase.",
    "cap": "The phase stays within the template's caps.",
}
"""Kinds of findings, each with what is true where there is none."""

WARNINGS = frozenset({"url", "phone", "owner", "duplicate_rule", "api_budget"})
"""Kinds that Salesforce takes all the same: reported, and no reason to stop unless a template says so."""
