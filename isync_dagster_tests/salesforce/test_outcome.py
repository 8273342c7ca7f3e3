from __future__ import annotations

import json
from pathlib import Path

import pytest

from isync_dagster.salesforce.outcome import TRANSIENT_CODES, Advice, Kind, classify

CODES = Path(__file__).parents[3] / "shared" / "realdata" / "api" / "status_codes.json"


def every_code() -> list[str]:
    if not CODES.exists():
        pytest.skip("the list of real status codes is not on this machine")
    codes: list[str] = json.loads(CODES.read_text(encoding="utf-8"))["codes"]
    return codes


def test_every_code_of_the_partner_wsdl_has_advice() -> None:
    codes = every_code()
    assert len(codes) == 370
    for code in codes:
        advice = classify(code)
        assert isinstance(advice, Advice)
        assert advice.text.endswith(".")


@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        (
            Kind.TRANSIENT,
            "UNABLE_TO_LOCK_ROW SERVER_UNAVAILABLE UNKNOWN_EXCEPTION QUERY_TIMEOUT ALL_OR_NONE_OPERATION_ROLLED_BACK "
            "PROCESSING_HALTED REQUEST_RUNNING_TOO_LONG",
        ),
        (
            Kind.DATA,
            "REQUIRED_FIELD_MISSING FIELD_CUSTOM_VALIDATION_EXCEPTION INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST "
            "STRING_TOO_LONG CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY CANNOT_EXECUTE_FLOW_TRIGGER JSON_PARSER_ERROR "
            "INVALID_TYPE_ON_FIELD_IN_RECORD NUMBER_OUTSIDE_VALID_RANGE INVALID_EMAIL_ADDRESS MALFORMED_ID "
            "FIELD_INTEGRITY_EXCEPTION INVALID_ID_FIELD MISSING_ARGUMENT DELETE_FAILED DEPENDENCY_EXISTS "
            "CANNOT_UPDATE_CONVERTED_LEAD TOO_MANY_ENUM_VALUE INVALID_STATUS INVALID_OPERATION MIXED_DML_OPERATION "
            "INVALID_FIELD",
        ),
        (
            Kind.PARENT,
            "INVALID_CROSS_REFERENCE_KEY ENTITY_IS_DELETED INACTIVE_OWNER_OR_USER STANDARD_PRICE_NOT_DEFINED "
            "FIELD_FILTER_VALIDATION_EXCEPTION CIRCULAR_DEPENDENCY OP_WITH_INVALID_USER_TYPE_EXCEPTION",
        ),
        (
            Kind.PERMISSION,
            "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY INSUFFICIENT_ACCESS_OR_READONLY TRANSFER_REQUIRES_READ "
            "INVALID_FIELD_FOR_INSERT_UPDATE API_DISABLED_FOR_ORG",
        ),
        (
            Kind.LIMIT,
            "STORAGE_LIMIT_EXCEEDED LICENSE_LIMIT_EXCEEDED LIMIT_EXCEEDED EXCEEDED_QUOTA REQUEST_LIMIT_EXCEEDED "
            "MAXIMUM_HIERARCHY_LEVELS_REACHED",
        ),
        (
            Kind.DUPLICATE,
            "DUPLICATE_VALUE DUPLICATES_DETECTED DUPLICATE_USERNAME DUPLICATE_DEVELOPER_NAME",
        ),
        (Kind.UNKNOWN, "NO_SUCH_CODE_YET"),
    ],
)
def test_the_codes_that_a_migration_meets(kind: Kind, codes: str) -> None:
    assert {code: classify(code).kind for code in codes.split()} == dict.fromkeys(codes.split(), kind)


def test_only_codes_of_the_transient_kind_are_sent_again() -> None:
    assert "UNABLE_TO_LOCK_ROW" in TRANSIENT_CODES
    assert all(classify(code).kind is Kind.TRANSIENT for code in TRANSIENT_CODES)
    for final in ("DUPLICATE_VALUE", "STRING_TOO_LONG", "STORAGE_LIMIT_EXCEEDED", "ENTITY_IS_DELETED"):
        assert final not in TRANSIENT_CODES


@pytest.mark.parametrize("code", ["", None, " unable_to_lock_row ", "ÄÖ", "X" * 5000])
def test_any_text_is_classified(code: str | None) -> None:
    assert classify(code).text
