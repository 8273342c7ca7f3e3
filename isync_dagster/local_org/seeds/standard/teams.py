"""Standard objects: who takes part in a record and who may see it: roles, teams, partners, shares, territories."""

from __future__ import annotations

from typing import Final

from isync_dagster.local_org.seeds.notation import Note, sobject
from isync_dagster.local_org.seeds.standard.sales import ROLES
from isync_dagster.schema.model import SObject

Written = tuple[SObject, tuple[Note, ...]]

TEAM_ROLES: Final = (
    "{Account Manager|Channel Manager|Executive Sponsor|Lead Qualifier|Pre-Sales Consultant|Sales Manager|Sales Rep}"
)
PARTNER_ROLES: Final = "{System Integrator|Agency|Advertiser|VAR/Reseller|Distributor|Developer|Broker|Lender|Supplier}"
CAUSES: Final = "{Manual*|Owner|Rule|ImplicitParent|ImplicitChild|Team|Territory2AssociationManual}"


def _contact_roles(parent: str, prefix: str, lookup: str, *, primary: bool = True) -> Written:
    name = f"{parent}ContactRole"
    flag = "; IsPrimary boolean cud" if primary else ""
    return sobject(
        name,
        f"""{lookup} reference c > {parent} as {lookup.removesuffix("Id")} < {name}s cascade
        ContactId reference cu > Contact as Contact < {name}s cascade; Role picklist(40) cun {ROLES}{flag}""",
        prefix=prefix,
        owner="none",
    )


def _share(parent: str, prefix: str, levels: tuple[str, ...]) -> Written:
    """A share: only those of cause Manual are made by hand."""
    access = "; ".join(f"{level}AccessLevel picklist(40) cu {{None|Read|Edit|All}}" for level in levels)
    return sobject(
        f"{parent}Share",
        f"""{parent}Id reference c > {parent} as {parent} < Shares cascade
        UserOrGroupId reference cP > Group/User as UserOrGroup; {access}; RowCause picklist(40) cdn {CAUSES}""",
        prefix=prefix,
        owner="none",
        audit="modified",
    )


ACCOUNT_ROLE = _contact_roles("Account", "02Z", "AccountId")
CONTRACT_ROLE = _contact_roles("Contract", "02a", "ContractId")
CASE_ROLE = _contact_roles("Case", "03j", "CasesId", primary=False)

ACCOUNT_TEAM = sobject(
    "AccountTeamMember",
    f"""
    AccountId reference c > Account as Account < AccountTeamMembers cascade
    UserId reference c > User as User < AccountTeamMembers; TeamMemberRole picklist(40) cun {TEAM_ROLES}
    AccountAccessLevel picklist(40) cun {{None|Read|Edit|All}}
    OpportunityAccessLevel picklist(40) cun {{None|Read|Edit}}; CaseAccessLevel picklist(40) cun {{None|Read|Edit}}
    ContactAccessLevel picklist(40) cun {{None|Read|Edit}}; Title string(80) n
    """,
    prefix="01M",
    owner="none",
)

OPPORTUNITY_TEAM = sobject(
    "OpportunityTeamMember",
    f"""
    OpportunityId reference c > Opportunity as Opportunity < OpportunityTeamMembers cascade
    UserId reference c > User as User < OpportunityTeamMembers; Name string(361) nN; Title string(80) n
    TeamMemberRole picklist(40) cun {TEAM_ROLES}; OpportunityAccessLevel picklist(40) cun {{None|Read|Edit|All}}
    """,
    prefix="00q",
    owner="none",
)

CASE_TEAM_ROLE = sobject(
    "CaseTeamRole",
    "Name string(80) cuN; AccessLevel picklist(40) cu {Read|Edit}; PreferencesVisibleInCSP boolean cud",
    prefix="0B8",
    owner="none",
)

CASE_TEAM = sobject(
    "CaseTeamMember",
    """
    ParentId reference c > Case as Parent < TeamMembers cascade; MemberId reference cP > Contact/User as Member
    TeamRoleId reference cu > CaseTeamRole as TeamRole
    """,
    prefix="0B7",
    owner="none",
)

PARTNER = sobject(
    "Partner",
    f"""
    OpportunityId reference cn > Opportunity as Opportunity < Partners cascade
    AccountFromId reference cn > Account as AccountFrom < PartnersFrom cascade
    AccountToId reference c > Account as AccountTo < PartnersTo cascade; Role picklist(40) cn {PARTNER_ROLES}
    IsPrimary boolean cd; ReversePartnerId reference n > Partner
    """,
    prefix="00I",
    owner="none",
)

COMPETITOR = sobject(
    "OpportunityCompetitor",
    """
    OpportunityId reference c > Opportunity as Opportunity < OpportunityCompetitors cascade
    CompetitorName string(80) cun; Strengths string(1000) cun; Weaknesses string(1000) cun
    """,
    prefix="00J",
    owner="none",
)

SHARES: Final = (
    _share("Account", "00r", ("Account", "Opportunity", "Case", "Contact")),
    _share("Contact", "03s", ("Contact",)),
    _share("Opportunity", "00t", ("Opportunity",)),
    _share("Case", "01n", ("Case",)),
    _share("Lead", "01o", ("Lead",)),
    _share("Campaign", "08s", ("Campaign",)),
)

TERRITORY_TYPE = sobject(
    "Territory2Type",
    "DeveloperName string(80) cu; MasterLabel string(80) cuN; Language picklist(40) cud {en_US*|de|fr}; "
    "Description string(1000) cun; Priority int cu",
    prefix="0MH",
    owner="none",
)

TERRITORY_MODEL = sobject(
    "Territory2Model",
    """
    Name string(80) cuN; DeveloperName string(80) cu; Description string(1000) cun; ActivatedDate datetime n
    DeactivatedDate datetime n; LastRunRulesEndDate datetime n; LastOppTerrAssignEndDate datetime n
    State picklist(40) d {Planning*|Active|Archived|Activating|Archiving}
    """,
    prefix="0MA",
    owner="none",
)

TERRITORY = sobject(
    "Territory2",
    """
    Name string(80) cuN; DeveloperName string(80) cu
    Territory2TypeId reference cu > Territory2Type as Territory2Type < Territories
    Territory2ModelId reference c > Territory2Model as Territory2Model < Territories cascade
    ParentTerritory2Id reference cun > Territory2 as ParentTerritory2 < ChildTerritories
    Description string(1000) cun; ForecastUserId reference cun > User as ForecastUser
    AccountAccessLevel picklist(40) cun {Read|Edit|All}; OpportunityAccessLevel picklist(40) cun {None|Read|Edit}
    CaseAccessLevel picklist(40) cun {None|Read|Edit}; ContactAccessLevel picklist(40) cun {None|Read|Edit}
    """,
    prefix="0MI",
    owner="none",
    audit="modified",
)

USER_TERRITORY = sobject(
    "UserTerritory2Association",
    """
    UserId reference c > User as User < UserTerritory2Associations cascade
    Territory2Id reference c > Territory2 as Territory2 < UserTerritory2Associations cascade; IsActive boolean d
    RoleInTerritory2 picklist(40) cun {Sales Rep|Sales Manager|Account Manager}
    """,
    prefix="0TU",
    owner="none",
    audit="modified",
)

OBJECT_TERRITORY = sobject(
    "ObjectTerritory2Association",
    """
    ObjectId reference c > Account as Object < ObjectTerritory2Associations cascade
    Territory2Id reference c > Territory2 as Territory2 < ObjectTerritory2Associations cascade
    AssociationCause picklist(40) cd {Territory2Manual*|Territory2Rule}; SobjectType picklist(40) n
    """,
    prefix="0Zx",
    owner="none",
    audit="modified",
)

OBJECTS = (
    ACCOUNT_ROLE,
    CONTRACT_ROLE,
    CASE_ROLE,
    ACCOUNT_TEAM,
    OPPORTUNITY_TEAM,
    CASE_TEAM_ROLE,
    CASE_TEAM,
    PARTNER,
    COMPETITOR,
    *SHARES,
    TERRITORY_TYPE,
    TERRITORY_MODEL,
    TERRITORY,
    USER_TERRITORY,
    OBJECT_TERRITORY,
)
