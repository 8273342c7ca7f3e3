"""The SOAP partner API: login, records, recycle bin, merge, lead conversion, deltas, queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from isync_dagster.local_org import recycle_bin
from isync_dagster.local_org.auth import check_password
from isync_dagster.local_org.dml import Writer
from isync_dagster.local_org.ids import is_id
from isync_dagster.local_org.lead_conversion import convert
from isync_dagster.local_org.merges import merge
from isync_dagster.local_org.request import of_headers, working_for
from isync_dagster.local_org.routes_composite import sub_call
from isync_dagster.local_org.soap_wire import SoapMessage, element_of, envelope, fault, local, read_record, result
from isync_dagster.local_org.web import ApiError, Call, Reply, Route, route
from isync_dagster.local_org.writes import Result, results

MOST: Final = 200
Operation = Callable[[Call, SoapMessage], Reply]


def partner(call: Call) -> Reply:
    """POST /services/Soap/u/{v}: one operation; every refusal is a SOAP fault."""
    try:
        message = SoapMessage(call.body)
    except ApiError as error:
        return fault(error.code, error.message, faultcode="soapenv:Client")
    try:
        if message.operation == "login":
            return login(call, message)
        handler = _OPERATIONS.get(message.operation)
        if handler is None:
            return fault("INVALID_OPERATION", f"Operation {message.operation} is not supported here.")
        call.session = call.service.sessions.find(message.header("SessionHeader", "sessionId"))
        if call.session is None:
            return fault(
                "INVALID_SESSION_ID",
                "Invalid Session ID found in SessionHeader: Illegal Session. Session not found, missing session hash",
            )
        call.service.count_call()
        if message.header("DuplicateRuleHeader", "allowSave").lower() == "true":
            # Headers are passed on to the REST resources that some operations stand for.
            call.headers = {**call.headers, "sforce-duplicate-rule-header": "allowSave=true"}
        asked = of_headers(call.headers, user_id=call.session.user_id, base=call.base)
        with working_for(asked):
            return handler(call, message)
    except ApiError as error:
        return fault(error.code, error.message)


def login(call: Call, message: SoapMessage) -> Reply:
    """`login`: a session for user name and password; absent from version 65 on."""
    if float(call.path["v"]) >= 65:
        return fault("INVALID_OPERATION", "SOAP API login() is not available in this version.")
    user_id = check_password(call.org, message.text("username"), message.text("password"))
    if user_id is None:
        refusal = "Invalid username, password, security token; or user locked out."
        return fault("INVALID_LOGIN", refusal, faultcode="INVALID_LOGIN")
    session = call.service.sessions.open(user_id)
    org, own, version = call.org, call.service.instance_url(call), call.path["v"]
    server = f"{own}/services/Soap/u/{version}/{org.org_id[:15]}"
    return result(
        "login",
        [
            {
                "metadataServerUrl": server.replace("/u/", "/m/"),
                "passwordExpired": False,
                "sandbox": org.settings.is_sandbox,
                "serverUrl": server,
                "sessionId": session.token,
                "userId": user_id,
                "userInfo": _user_info(call, user_id),
            }
        ],
    )


def _user_info(call: Call, user_id: str) -> dict[str, Any]:
    org = call.org
    user = org.storage.frame('SELECT * FROM "User" WHERE "Id" = ?', [user_id]).to_dicts()[0]
    return {
        "organizationId": org.org_id,
        "organizationMultiCurrency": False,
        "organizationName": org.settings.name,
        "profileId": user.get("ProfileId"),
        "roleId": user.get("UserRoleId"),
        "sessionSecondsValid": org.settings.session_seconds,
        "userDefaultCurrencyIsoCode": None,
        "userEmail": user.get("Email"),
        "userFullName": user.get("Name"),
        "userId": user_id,
        "userLanguage": user.get("LanguageLocaleKey") or "en_US",
        "userLocale": user.get("LocaleSidKey") or "en_US",
        "userName": user.get("Username"),
        "userTimeZone": user.get("TimeZoneSidKey") or "GMT",
        "userType": "Standard",
        "orgHasPersonAccounts": False,
    }


def user_info(call: Call, message: SoapMessage) -> Reply:
    """`getUserInfo`."""
    assert call.session is not None
    return result("getUserInfo", [_user_info(call, call.session.user_id)])


def server_time(call: Call, message: SoapMessage) -> Reply:
    """`getServerTimestamp`."""
    return result("getServerTimestamp", [{"timestamp": call.org.now().strftime("%Y-%m-%dT%H:%M:%S.000Z")}])


def logout(call: Call, message: SoapMessage) -> Reply:
    """`logout`: the session ends."""
    assert call.session is not None
    call.service.sessions.end(call.session.token)
    return envelope("<logoutResponse/>")


def _rest(call: Call, method: str, path: str, body: Any = None) -> Any:
    """What the REST resource of the same name answers; its refusal becomes the fault."""
    reply = sub_call(call, method, f"/services/data/v{call.version}{path}", body, {})
    if reply.status >= 400:
        problem = reply.body[0]
        raise ApiError(500, problem["errorCode"], problem["message"])
    return reply.body


def _all_or_none(message: SoapMessage) -> bool:
    return message.header("AllOrNoneHeader", "allOrNone").lower() == "true"


def _saved(found: Result, **more: Any) -> dict[str, Any]:
    errors = [{**item, "fields": item["fields"]} for item in found["errors"]]
    return {**more, "errors": errors, "id": found.get("id"), "success": found["success"]}


def save(call: Call, message: SoapMessage) -> Reply:
    """`create`, `update`, `upsert`: as the sObject collections do it."""
    records = [read_record(element) for element in message.all("sObjects")]
    body = {"records": records, "allOrNone": _all_or_none(message)}
    if message.operation == "upsert":
        key = message.text("externalIDFieldName")
        kinds = {record.get("attributes", {}).get("type", "") for record in records}
        if len(kinds) != 1:
            raise ApiError(500, "INVALID_TYPE", "All records of an upsert must be of one type.")
        found = _rest(call, "PATCH", f"/composite/sobjects/{kinds.pop()}/{key}", body)
        return result("upsert", [_saved(item, created=item.get("created", False)) for item in found])
    method = "POST" if message.operation == "create" else "PATCH"
    return result(message.operation, [_saved(item) for item in _rest(call, method, "/composite/sobjects", body)])


def delete(call: Call, message: SoapMessage) -> Reply:
    """`delete`."""
    query = urlencode({"ids": ",".join(message.texts("ids")), "allOrNone": str(_all_or_none(message)).lower()})
    found = _rest(call, "DELETE", f"/composite/sobjects?{query}")
    return result("delete", [_saved(item) for item in found])


def recycle(call: Call, message: SoapMessage) -> Reply:
    """`undelete` and `emptyRecycleBin`, results in the order of the ids."""
    ids = message.texts("ids")
    if len(ids) > MOST:
        raise ApiError(500, "EXCEEDED_ID_LIMIT", f"record limit reached. cannot submit more than {MOST} records")
    assert call.session is not None
    verb = recycle_bin.undelete_rows if message.operation == "undelete" else recycle_bin.empty_rows
    found: list[Result] = [{} for _ in ids]
    by_object: dict[str, list[int]] = {}
    for number, record_id in enumerate(ids):
        sobject = call.org.schema.of_id(record_id) if is_id(record_id) else None
        if sobject is None:
            problem = {"statusCode": "MALFORMED_ID", "message": f"malformed id {record_id}", "fields": []}
            found[number] = {"id": record_id, "success": False, "errors": [problem]}
        else:
            by_object.setdefault(sobject.name, []).append(number)
    with call.org.storage.transaction() as cursor:
        writer = Writer(call.org.schema, call.org.storage, cursor, call.org.actor(call.session.user_id))
        for name, numbers in by_object.items():
            done = results(verb(writer, call.org.schema[name], [ids[number] for number in numbers]))
            for number, item in zip(numbers, done, strict=True):
                found[number] = item
    return result(message.operation, [_saved(item) for item in found])


def merge_records(call: Call, message: SoapMessage) -> Reply:
    """`merge`: every request a transaction."""
    assert call.session is not None
    answers: list[Mapping[str, Any]] = []
    for asked in [*message.all("request"), *message.all("mergeRequests")]:
        masters = message.all("masterRecord", asked)
        master = read_record(masters[0]) if masters else {}
        answers.append(merge(call.org, call.session.user_id, master, message.texts("recordToMergeIds", asked)))
    return result("merge", answers)


def convert_leads(call: Call, message: SoapMessage) -> Reply:
    """`convertLead`: every lead a transaction."""
    assert call.session is not None
    user_id = call.session.user_id
    asked = [{local(item): (item.text or "").strip() for item in one} for one in message.all("leadConverts")]
    return result("convertLead", [convert(call.org, user_id, one) for one in asked])


def deltas(call: Call, message: SoapMessage) -> Reply:
    """`getUpdated` and `getDeleted`."""
    span = urlencode({"start": message.text("startDate"), "end": message.text("endDate")})
    name = "updated" if message.operation == "getUpdated" else "deleted"
    found = _rest(call, "GET", f"/sobjects/{message.text('sObjectType')}/{name}?{span}")
    return result(message.operation, [found])


def query(call: Call, message: SoapMessage) -> Reply:
    """`query`, `queryAll`, `queryMore`: the pages of the REST query, records as sObjects."""
    if message.operation == "queryMore":
        found = _rest(call, "GET", f"/query/{message.text('queryLocator')}")
    else:
        found = _rest(call, "GET", f"/{message.operation}?{urlencode({'q': message.text('queryString')})}")
    following = found.get("nextRecordsUrl")
    page = {
        "done": found["done"],
        "queryLocator": following.rsplit("/", 1)[1] if following else None,
        "records": found["records"],
        "size": found["totalSize"],
    }
    return envelope(
        f'<{message.operation}Response><result xsi:type="QueryResult">{element_of(page)}</result>'
        f"</{message.operation}Response>"
    )


_OPERATIONS: Final[dict[str, Operation]] = {
    "getUserInfo": user_info,
    "getServerTimestamp": server_time,
    "logout": logout,
    "create": save,
    "update": save,
    "upsert": save,
    "delete": delete,
    "undelete": recycle,
    "emptyRecycleBin": recycle,
    "merge": merge_records,
    "convertLead": convert_leads,
    "getUpdated": deltas,
    "getDeleted": deltas,
    "query": query,
    "queryAll": query,
    "queryMore": query,
}


def routes() -> list[Route]:
    """The resources of this module."""
    return [route(r"/services/Soap/u/(?P<v>\d+\.\d)(?:/\w+)?", open=True, POST=partner)]
