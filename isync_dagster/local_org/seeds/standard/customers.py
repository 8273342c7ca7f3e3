"""Standard objects: who the customers are."""

from __future__ import annotations

from isync_dagster.local_org.seeds.notation import sobject

INDUSTRIES = (
    "{Agriculture|Apparel|Banking|Biotechnology|Chemicals|Communications|Construction|Consulting|Education"
    "|Electronics|Energy|Engineering|Entertainment|Environmental|Finance|Food & Beverage|Government"
    "|Healthcare|Hospitality|Insurance|Machinery|Manufacturing|Media|Not For Profit|Recreation|Retail|Shipping"
    "|Technology|Telecommunications|Transportation|Utilities|Other}"
)
SOURCES = "{Web|Phone Inquiry|Partner Referral|Purchased List|Other}"
RATINGS = "{Hot|Warm|Cold}"
SALUTATIONS = "{Mr.|Ms.|Mrs.|Dr.|Prof.|Mx.}"
CLEAN = "{Matched|Different|Acknowledged|NotFound|Inactive|Pending|SelectMatch|Skipped}"

PARENTS = "Account/Asset/Campaign/Case/Contact/Contract/Lead/Opportunity/Order/Product2"

ACCOUNT = sobject(
    "Account",
    f"""
    MasterRecordId reference n > Account as MasterRecord
    Name string(255) cuN
    Type picklist(40) cun {{Prospect|Customer - Direct|Customer - Channel|Channel Partner / Reseller
        |Installation Partner|Technology Partner|Other}}
    RecordTypeId reference cun > RecordType as RecordType
    ParentId reference cun > Account as Parent < ChildAccounts
    @address Billing
    @address Shipping
    Phone phone(40) cun; Fax phone(40) cun; AccountNumber string(40) cun; Website url(255) cun; PhotoUrl url(255) n
    Sic string(20) cun; Industry picklist(40) cun {INDUSTRIES}; AnnualRevenue currency(18,0) cun
    NumberOfEmployees int cun; Ownership picklist(40) cun {{Public|Private|Subsidiary|Other}}
    TickerSymbol string(20) cun; Description textarea(32000) cun; Rating picklist(40) cun {RATINGS}
    Site string(80) cun; LastActivityDate date n
    @viewed
    IsPartner boolean ud; IsCustomerPortal boolean ud
    ChannelProgramName string(255) n; ChannelProgramLevelName string(255) n
    Jigsaw string(20) cun; JigsawCompanyId string(20) n; CleanStatus picklist(40) cunR {CLEAN}
    AccountSource picklist(40) cun {SOURCES}; DunsNumber string(9) cun; Tradestyle string(255) cun
    NaicsCode string(8) cun; NaicsDesc string(120) cun; YearStarted string(4) cun; SicDesc string(80) cun
    DandbCompanyId reference cun > DandBCompany as DandbCompany
    OperatingHoursId reference cun > OperatingHours as OperatingHours
    """,
    prefix="001",
    mergeable=True,
)

CONTACT = sobject(
    "Contact",
    f"""
    MasterRecordId reference n > Contact as MasterRecord
    AccountId reference cun > Account as Account < Contacts cascade
    LastName string(80) cu [Name]; FirstName string(40) cun [Name]
    Salutation picklist(40) cun [Name] {SALUTATIONS}; Name string(121) N
    @address Other
    @address Mailing
    Phone phone(40) cun; Fax phone(40) cun; MobilePhone phone(40) cun; HomePhone phone(40) cun
    OtherPhone phone(40) cun; AssistantPhone phone(40) cun
    ReportsToId reference cun > Contact as ReportsTo
    Email email(80) cunI; Title string(128) cun; Department string(80) cun; AssistantName string(40) cun
    LeadSource picklist(255) cun {SOURCES}; Birthdate date cun; Description textarea(32000) cun
    LastActivityDate date n; LastCURequestDate datetime n; LastCUUpdateDate datetime n
    @viewed
    EmailBouncedReason string(255) cun; EmailBouncedDate datetime cun; IsEmailBounced boolean d
    PhotoUrl url(255) n; Jigsaw string(20) cun; JigsawContactId string(20) n
    CleanStatus picklist(40) cunR {CLEAN}; IndividualId reference cun > Individual as Individual < Contacts
    """,
    prefix="003",
    mergeable=True,
)

LEAD = sobject(
    "Lead",
    f"""
    MasterRecordId reference n > Lead as MasterRecord
    LastName string(80) cu [Name]; FirstName string(40) cun [Name]
    Salutation picklist(40) cun [Name] {SALUTATIONS}; Name string(121) N
    Title string(128) cun; Company string(255) cu
    Street textarea(255) cun [Address]; City string(40) cun [Address]; State string(80) cun [Address]
    PostalCode string(20) cun [Address]; Country string(80) cun [Address]
    Latitude double(18,15) cun [Address]; Longitude double(18,15) cun [Address]
    GeocodeAccuracy picklist(40) cunR [Address] {{Address|NearAddress|Block|Street|ExtendedZip|Zip|City|State
        |Unknown}}
    Address address n
    Phone phone(40) cun; MobilePhone phone(40) cun; Fax phone(40) cun; Email email(80) cunI; Website url(255) cun
    PhotoUrl url(255) n; Description textarea(32000) cun; LeadSource picklist(255) cun {SOURCES}
    Status picklist(255) cud {{Open - Not Contacted*|Working - Contacted|Closed - Converted|Closed - Not Converted}}
    Industry picklist(255) cun {INDUSTRIES}; Rating picklist(255) cun {RATINGS}
    AnnualRevenue currency(18,0) cun; NumberOfEmployees int cun
    IsConverted boolean cd; ConvertedDate date n
    ConvertedAccountId reference n > Account as ConvertedAccount
    ConvertedContactId reference n > Contact as ConvertedContact
    ConvertedOpportunityId reference n > Opportunity as ConvertedOpportunity
    IsUnreadByOwner boolean cud; LastActivityDate date n
    @viewed
    Jigsaw string(20) cun; JigsawContactId string(20) n; CleanStatus picklist(40) cunR {CLEAN}
    CompanyDunsNumber string(9) cun; DandbCompanyId reference cun > DandBCompany as DandbCompany
    EmailBouncedReason string(255) un; EmailBouncedDate datetime un
    IndividualId reference cun > Individual as Individual < Leads
    """,
    prefix="00Q",
    owner="queue",
    mergeable=True,
)

RELATION = sobject(
    "AccountContactRelation",
    """
    AccountId reference c > Account as Account < AccountContactRelations cascade
    ContactId reference c > Contact as Contact < AccountContactRelations cascade
    Roles multipicklist(4099) cun {Business User|Decision Maker|Economic Buyer|Economic Decision Maker
        |Evaluator|Executive Sponsor|Influencer|Technical Buyer|Other}
    IsDirect boolean d; IsActive boolean cud; StartDate date cun; EndDate date cun
    """,
    prefix="07k",
    owner="none",
)

INDIVIDUAL = sobject(
    "Individual",
    f"""
    LastName string(80) cu [Name]; FirstName string(40) cun [Name]
    Salutation picklist(40) cun [Name] {SALUTATIONS}; Name string(121) N
    HasOptedOutTracking boolean cud; HasOptedOutProfiling boolean cud; HasOptedOutProcessing boolean cud
    HasOptedOutSolicit boolean cud; ShouldForget boolean cud; SendIndividualData boolean cud
    CanStorePiiElsewhere boolean cud; HasOptedOutGeoTracking boolean cud; BirthDate date cun
    LastViewedDate datetime n
    """,
    prefix="0PK",
)

ASSET = sobject(
    "Asset",
    """
    ContactId reference cun > Contact as Contact < Assets cascade
    AccountId reference cun > Account as Account < Assets cascade
    ParentId reference cun > Asset as Parent < ChildAssets
    RootAssetId reference n > Asset as RootAsset
    Product2Id reference cun > Product2 as Product2 < Assets
    IsCompetitorProduct boolean cud; Name string(255) cuN; SerialNumber string(80) cun; InstallDate date cun
    PurchaseDate date cun; UsageEndDate date cun
    Status picklist(40) cun {Shipped|Installed|Registered|Obsolete|Purchased}
    Price currency(18,0) cun; Quantity double(14,2) cun; Description textarea(32000) cun; IsInternal boolean cud
    AssetLevel int n; StockKeepingUnit string(180) n
    @viewed
    """,
    prefix="02i",
)

NOTE = sobject(
    "Note",
    f"""
    ParentId reference cP > {PARENTS} as Parent < Notes cascade
    Title string(80) cuN; IsPrivate boolean cud; Body textarea(32000) cun
    """,
    prefix="002",
)

OBJECTS = (ACCOUNT, CONTACT, LEAD, RELATION, INDIVIDUAL, ASSET, NOTE)
