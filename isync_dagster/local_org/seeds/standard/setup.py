"""Standard objects: what the setup of an org holds: users, groups, record types."""

from __future__ import annotations

from isync_dagster.local_org.seeds.notation import sobject
from isync_dagster.local_org.seeds.standard.service import ZONES

LOCALES = "{en_US*|en_GB|de_DE|fr_FR|ja_JP|nl_NL|es_ES}"

USER = sobject(
    "User",
    f"""
    Username string(80) cuIx; LastName string(80) cu [Name]; FirstName string(40) cun [Name]; Name string(121) N
    CompanyName string(80) cun; Division string(80) cun; Department string(80) cun; Title string(80) cun
    Street textarea(255) cun [Address]; City string(40) cun [Address]; State string(80) cun [Address]
    PostalCode string(20) cun [Address]; Country string(80) cun [Address]; Address address n
    Email email(128) cuI; Phone phone(40) cun; MobilePhone phone(40) cun; Alias string(8) cu
    CommunityNickname string(40) cud; IsActive boolean cud
    TimeZoneSidKey picklist(40) cuR {ZONES}
    UserRoleId reference cun > UserRole as UserRole < Users
    LocaleSidKey picklist(40) cuR {LOCALES}; EmailEncodingKey picklist(40) cuR {{UTF-8*|ISO-8859-1|Shift_JIS
        |ISO-2022-JP|EUC-JP}}
    ProfileId reference cu > Profile as Profile < Users
    UserType picklist(40) nR {{Standard|PowerPartner|PowerCustomerSuccess|CustomerSuccess|Guest|CspLitePortal
        |AutomatedProcess}}
    LanguageLocaleKey picklist(40) cuR {{en_US*|de|fr|ja|nl_NL|es}}; EmployeeNumber string(20) cun
    ManagerId reference cun > User as Manager < ManagedUsers; LastLoginDate datetime n
    ContactId reference cn > Contact as Contact < Users restricted
    FederationIdentifier string(512) cunIxs; AboutMe textarea(1000) cun
    @viewed
    """,
    prefix="005",
    owner="none",
)

GROUP = sobject(
    "Group",
    """
    Name string(40) cuN; DeveloperName string(80) cun
    Type picklist(40) cR {Regular|Role|RoleAndSubordinates|Organization|Territory|Queue}
    Email email(255) cun; DoesSendEmailToMembers boolean cud; DoesIncludeBosses boolean cud
    RelatedId reference n > User/UserRole as Related
    OwnerId reference d > Organization/User as Owner
    """,
    prefix="00G",
    owner="none",
)

GROUP_MEMBER = sobject(
    "GroupMember",
    """
    GroupId reference c > Group as Group < GroupMembers cascade
    UserOrGroupId reference c > Group/User as UserOrGroup < GroupMemberships cascade
    """,
    prefix="011",
    owner="none",
    audit="stamp",
)

QUEUE = sobject(
    "QueueSobject",
    "QueueId reference c > Group as Queue < QueueSobjects cascade; SobjectType picklist(40) c",
    prefix="03g",
    owner="none",
    audit="stamp",
)

RECORD_TYPE = sobject(
    "RecordType",
    """
    Name string(80) N; DeveloperName string(80); NamespacePrefix string(15) n; Description string(255) n
    BusinessProcessId reference n > BusinessProcess; SobjectType picklist(40)
    IsActive boolean d; IsPersonType boolean d
    """,
    prefix="012",
    owner="none",
    read_only=True,
)

PROFILE = sobject(
    "Profile",
    """
    Name string(255) N; UserLicenseId reference > UserLicense as UserLicense < Profiles
    UserType picklist(40) n {Standard|PowerPartner|PowerCustomerSuccess|Guest}; Description string(255) n
    """,
    prefix="00e",
    owner="none",
    read_only=True,
)

ROLE = sobject(
    "UserRole",
    """
    Name string(80) cuN; ParentRoleId reference cun > UserRole as ParentRole; RollupDescription string(80) cun
    DeveloperName string(80) cund; OpportunityAccessForAccountOwner picklist(40) cudR {None|Read|Edit}
    CaseAccessForAccountOwner picklist(40) cunR {None|Read
        |Edit}; ContactAccessForAccountOwner picklist(40) cunR {None|Read|Edit}
    """,
    prefix="00E",
    owner="none",
    audit="modified",
)

LICENSE = sobject(
    "UserLicense",
    "Name string(40) N; LicenseDefinitionKey string(40); MasterLabel string(40); Status picklist(40) {Active|Disabled}",
    prefix="100",
    owner="none",
    read_only=True,
)

ORGANIZATION = sobject(
    "Organization",
    f"""
    Name string(80) uN; Division string(80) un; @address; Phone phone(40) un; Fax phone(40) un
    PrimaryContact string(80) un; ReceivesInfoEmails boolean d; ReceivesAdminInfoEmails boolean d
    PreferencesRequireOpportunityProducts boolean d; PreferencesTransactionSecurityPolicy boolean d
    PreferencesTerminateOldestSession boolean d; PreferencesConsentManagementEnabled boolean d
    PreferencesAutoSelectIndividualOnMerge boolean d; PreferencesLightningLoginEnabled boolean d
    PreferencesOnlyLLPermUserAllowed boolean d; UsesStartDateAsFiscalYearName boolean d
    DefaultAccountAccess picklist(40) d {{None|Read|Edit*}}
    DefaultContactAccess picklist(40) d {{None|Read|Edit|ControlledByParent*}}
    DefaultOpportunityAccess picklist(40) d {{None|Read|Edit*}}
    DefaultLeadAccess picklist(40) d {{None|Read|Edit|ReadEditTransfer*}}
    DefaultCaseAccess picklist(40) d {{None|Read|Edit|ReadEditTransfer*}}
    DefaultCalendarAccess picklist(40) d {{HideDetails|HideDetailsInsert*|ShowDetails|ShowDetailsInsert|AllowEdits}}
    DefaultPricebookAccess picklist(40) d {{None|Read|ReadSelect*}}; DefaultCampaignAccess picklist(40) d {{None|Read|Edit|All*}}
    ComplianceBccEmail email(80) n; UiSkin picklist(40) d {{Theme3*|Theme4}}; SignupCountryIsoCode string(2) n
    NumKnowledgeService int n; WebToCaseDefaultOrigin string(40) n; MonthlyPageViewsUsed int n
    MonthlyPageViewsEntitlement int n
    DefaultLocaleSidKey picklist(40) u {LOCALES}; TimeZoneSidKey picklist(40) u {ZONES}
    LanguageLocaleKey picklist(40) u {{en_US*|de|fr|ja}}; FiscalYearStartMonth int n
    OrganizationType picklist(40) n {{Team Edition|Professional Edition|Enterprise Edition|Developer Edition
        |Unlimited Edition}}
    NamespacePrefix string(15) n; InstanceName string(5) n; IsSandbox boolean d; IsReadOnly boolean d
    TrialExpirationDate datetime n
    """,
    prefix="00D",
    owner="none",
    read_only=True,
)

PERMISSION_SET = sobject(
    "PermissionSet",
    """
    Name string(80) cuN; Label string(80) cu; LicenseId reference cn > UserLicense as License
    ProfileId reference n > Profile as Profile; IsOwnedByProfile boolean d; IsCustom boolean d
    Description string(255) cun; NamespacePrefix string(15) n
    Type picklist(40) n {Regular|Profile|Group|Session|Standard}
    """,
    prefix="0PS",
    owner="none",
)

ASSIGNMENT = sobject(
    "PermissionSetAssignment",
    """
    PermissionSetId reference cn > PermissionSet as PermissionSet < Assignments cascade
    AssigneeId reference c > User as Assignee < PermissionSetAssignments cascade; IsActive boolean d
    """,
    prefix="0Pa",
    owner="none",
    audit="stamp",
)

ENTITY_ACCESS = sobject(
    "SetupEntityAccess",
    """
    ParentId reference c > PermissionSet as Parent < SetupEntityAccessItems cascade
    SetupEntityId reference c > CustomPermission as SetupEntity < SetupEntityAccessItems cascade
    SetupEntityType picklist(40) n {ApexClass|ApexPage|ConnectedApplication|CustomPermission}
    """,
    prefix="0J0",
    owner="none",
    audit="stamp",
)

CUSTOM_PERMISSION = sobject(
    "CustomPermission",
    """
    DeveloperName string(80) N; MasterLabel string(80); NamespacePrefix string(15) n; Language picklist(40) n
    Description string(255) n; IsProtected boolean d; IsLicensed boolean d
    """,
    prefix="0CP",
    owner="none",
    read_only=True,
)

DUPLICATE_RULE = sobject(
    "DuplicateRule",
    """
    SobjectType picklist(40); DeveloperName string(80) N; Language picklist(40) n; MasterLabel string(80)
    NamespacePrefix string(15) n; IsActive boolean d; SobjectSubtype picklist(40) n {None|PersonAccount}
    """,
    prefix="0Bm",
    owner="none",
    read_only=True,
)

FLOW_VIEW = sobject(
    "FlowDefinitionView",
    """
    ApiName string(80); Label string(255) N; Description string(255) n; ProcessType picklist(40) n
    TriggerType picklist(40) n; TriggerObjectOrEventLabel string(255) n; IsActive boolean d
    VersionNumber int n; NamespacePrefix string(15) n; DurableId string(40) n
    """,
    prefix="3dd",
    owner="none",
    read_only=True,
)

OBJECTS = (
    USER,
    GROUP,
    GROUP_MEMBER,
    QUEUE,
    RECORD_TYPE,
    PROFILE,
    ROLE,
    LICENSE,
    ORGANIZATION,
    PERMISSION_SET,
    ASSIGNMENT,
    CUSTOM_PERMISSION,
    ENTITY_ACCESS,
    DUPLICATE_RULE,
    FLOW_VIEW,
)
