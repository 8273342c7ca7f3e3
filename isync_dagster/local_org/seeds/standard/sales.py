"""Standard objects: campaigns, price books, opportunities, contracts and orders."""

from __future__ import annotations

from isync_dagster.local_org.seeds.notation import sobject
from isync_dagster.local_org.seeds.standard.customers import SOURCES

ROLES = (
    "{Business User|Decision Maker|Economic Buyer|Economic Decision Maker|Evaluator|Executive Sponsor|Influencer"
    "|Technical Buyer|Other}"
)
STAGES = (
    "{Prospecting|Qualification|Needs Analysis|Value Proposition|Id. Decision Makers|Perception Analysis"
    "|Proposal/Price Quote|Negotiation/Review|Closed Won|Closed Lost}"
)

CAMPAIGN = sobject(
    "Campaign",
    """
    Name string(80) cuIN; ParentId reference cun > Campaign as Parent < ChildCampaigns
    Type picklist(40) cun {Conference|Webinar|Trade Show|Public Relations|Partners|Referral Program
        |Advertisement|Banner Ads|Direct Mail|Email|Telemarketing|Other}
    Status picklist(40) cun {Planned|In Progress|Completed|Aborted}
    StartDate date cun; EndDate date cun; ExpectedRevenue currency(18,0) cun; BudgetedCost currency(18,0) cun
    ActualCost currency(18,0) cun; ExpectedResponse percent(10,2) cun; NumberSent double(18,0) cun
    IsActive boolean cud; Description textarea(32000) cun
    NumberOfLeads int d; NumberOfConvertedLeads int d; NumberOfContacts int d; NumberOfResponses int d
    NumberOfOpportunities int d; NumberOfWonOpportunities int d; AmountAllOpportunities currency(18,0) d
    AmountWonOpportunities currency(18,0) d; LastActivityDate date n
    @viewed
    CampaignMemberRecordTypeId reference cun > RecordType as CampaignMemberRecordType
    """,
    prefix="701",
)

MEMBER_STATUS = sobject(
    "CampaignMemberStatus",
    """
    CampaignId reference c > Campaign as Campaign < CampaignMemberStatuses cascade
    Label string(765) cuN; SortOrder int cun; IsDefault boolean cud; HasResponded boolean cud
    """,
    prefix="01Y",
    owner="none",
)

MEMBER = sobject(
    "CampaignMember",
    f"""
    CampaignId reference c > Campaign as Campaign < CampaignMembers cascade
    LeadId reference cn > Lead as Lead < CampaignMembers cascade
    ContactId reference cn > Contact as Contact < CampaignMembers cascade
    Status picklist(40) cun {{Planned|Received|Responded|Sent*}}
    HasResponded boolean d; FirstRespondedDate date n; Name string(121) nN
    FirstName string(40) n; LastName string(80) n
    Title string(128) n; Email email(80) n; Phone phone(40) n; CompanyOrAccount string(255) n; Type string(40) n
    LeadSource picklist(255) n {SOURCES}
    LeadOrContactId reference n > Contact/Lead
    """,
    prefix="00v",
    owner="none",
)

PRODUCT = sobject(
    "Product2",
    """
    Name string(255) cuN; ProductCode string(255) cun; Description textarea(4000) cun; IsActive boolean cud
    Family picklist(255) cun {None|Hardware|Software|Service|Training}
    ExternalId string(255) cun; DisplayUrl url(1000) cun; QuantityUnitOfMeasure picklist(255) cun {Each|Hour|Day}
    IsArchived boolean d; StockKeepingUnit string(180) cun
    @viewed
    """,
    prefix="01t",
    owner="none",
)

PRICE_BOOK = sobject(
    "Pricebook2",
    """
    Name string(255) cuN; IsActive boolean cud; IsArchived boolean d; Description string(255) cun
    IsStandard boolean d
    @viewed
    """,
    prefix="01s",
    owner="none",
)

PRICE = sobject(
    "PricebookEntry",
    """
    Name string(255) nN
    Pricebook2Id reference c > Pricebook2 as Pricebook2 < PricebookEntries restricted
    Product2Id reference c > Product2 as Product2 < PricebookEntries restricted
    UnitPrice currency(18,2) cu; IsActive boolean cud; UseStandardPrice boolean cud
    ProductCode string(255) n; IsArchived boolean d
    """,
    prefix="01u",
    owner="none",
)

OPPORTUNITY = sobject(
    "Opportunity",
    f"""
    AccountId reference cun > Account as Account < Opportunities cascade
    RecordTypeId reference cun > RecordType as RecordType
    IsPrivate boolean cud; Name string(120) cuIN; Description textarea(32000) cun
    StageName picklist(255) cu {STAGES}; Amount currency(18,2) cun; Probability percent(3,0) cund
    ExpectedRevenue currency(18,2) n; TotalOpportunityQuantity double(18,2) cun; CloseDate date cu
    Type picklist(255) cun {{Existing Customer - Upgrade|Existing Customer - Replacement
        |Existing Customer - Downgrade|New Customer}}
    NextStep string(255) cun; LeadSource picklist(255) cun {SOURCES}
    IsClosed boolean d; IsWon boolean d
    ForecastCategory picklist(40) R {{Omitted|Pipeline|BestCase|MostLikely|Forecast|Closed}}
    ForecastCategoryName picklist(255) cundR {{Omitted|Pipeline|Best Case|Commit|Closed}}
    CampaignId reference cun > Campaign as Campaign < Opportunities
    HasOpportunityLineItem boolean d; Pricebook2Id reference cund > Pricebook2 as Pricebook2 < Opportunities
    LastActivityDate date n; LastStageChangeDate datetime n
    FiscalQuarter int n [Fiscal]; FiscalYear int n [Fiscal]; Fiscal string(6) n
    ContactId reference cn > Contact < Opportunities
    @viewed
    HasOpenActivity boolean d; HasOverdueTask boolean d
    LastAmountChangedHistoryId reference n > OpportunityHistory as LastAmountChangedHistory
    LastCloseDateChangedHistoryId reference n > OpportunityHistory as LastCloseDateChangedHistory
    """,
    prefix="006",
)

CONTACT_ROLE = sobject(
    "OpportunityContactRole",
    f"""
    OpportunityId reference c > Opportunity as Opportunity < OpportunityContactRoles cascade
    ContactId reference cu > Contact as Contact < OpportunityContactRoles cascade
    Role picklist(40) cun {ROLES}; IsPrimary boolean cud
    """,
    prefix="00K",
    owner="none",
)

LINE_ITEM = sobject(
    "OpportunityLineItem",
    """
    OpportunityId reference c > Opportunity as Opportunity < OpportunityLineItems cascade
    SortOrder int un; PricebookEntryId reference c > PricebookEntry as PricebookEntry < OpportunityLineItems restricted
    Product2Id reference n > Product2 as Product2 < OpportunityLineItems
    ProductCode string(255) n; Name string(376) nN; Quantity double(12,2) cu; TotalPrice currency(18,2) cun
    UnitPrice currency(18,2) cun; ListPrice currency(18,2) n; Discount percent(5,2) cun
    ServiceDate date cun; Description string(255) cun
    @viewed
    """,
    prefix="00k",
    owner="none",
)

QUOTE = sobject(
    "Quote",
    """
    OpportunityId reference c > Opportunity as Opportunity < Quotes cascade
    Pricebook2Id reference cun > Pricebook2 as Pricebook2; ContactId reference cun > Contact as Contact < Quotes
    Name string(255) cuN; QuoteNumber string(30) dA; IsSyncing boolean d; ExpirationDate date cun
    Status picklist(40) cun {Draft|Needs Review|In Review|Approved|Rejected|Presented|Accepted|Denied}
    Description textarea(32000) cun; Tax currency(18,2) cun; ShippingHandling currency(18,2) cun
    TotalPrice currency(18,2) n; GrandTotal currency(18,2) n; AccountId reference n > Account as Account
    Email email(80) cun; Phone phone(40) cun
    """,
    prefix="0Q0",
)

QUOTE_LINE = sobject(
    "QuoteLineItem",
    """
    QuoteId reference c > Quote as Quote < QuoteLineItems cascade
    PricebookEntryId reference c > PricebookEntry as PricebookEntry; Product2Id reference n > Product2 as Product2
    LineNumber string(30) dAN; Quantity double(12,2) cu; UnitPrice currency(18,2) cu; Discount percent(5,2) cun
    Description string(255) cun; ServiceDate date cun; SortOrder int cun
    ListPrice currency(18,2) n; Subtotal currency(18,2) n; TotalPrice currency(18,2) n
    """,
    prefix="0QL",
    owner="none",
)

CONTRACT = sobject(
    "Contract",
    """
    AccountId reference cu > Account as Account < Contracts restricted
    Pricebook2Id reference cun > Pricebook2 as Pricebook2 < Contracts
    OwnerExpirationNotice picklist(40) cun {15|30|45|60|90|120}
    StartDate date cun; EndDate date n
    @address Billing
    ContractTerm int cun; Status picklist(40) cud {In Approval Process|Activated|Draft*}
    CompanySignedId reference cun > User as CompanySigned; CompanySignedDate date cun
    CustomerSignedId reference cun > Contact as CustomerSigned < ContractsSigned restricted
    CustomerSignedTitle string(40) cun; CustomerSignedDate date cun; SpecialTerms textarea(4000) cun
    ActivatedById reference n > User as ActivatedBy; ActivatedDate datetime n
    StatusCode picklist(40) d {Draft|InApproval|Activated}; Description textarea(32000) cun
    ContractNumber string(30) dAIN; LastApprovedDate datetime n; LastActivityDate date n
    @viewed
    """,
    prefix="800",
)

ORDER = sobject(
    "Order",
    """
    ContractId reference cun > Contract as Contract < Orders restricted
    AccountId reference cun > Account as Account < Orders restricted
    Pricebook2Id reference cun > Pricebook2 as Pricebook2 < Orders
    OriginalOrderId reference cn > Order as OriginalOrder < Orders
    EffectiveDate date cu; EndDate date cun; IsReductionOrder boolean cd
    Status picklist(40) cu {Draft|Activated}; Description textarea(32000) cun
    CustomerAuthorizedById reference cun > Contact as CustomerAuthorizedBy; CustomerAuthorizedDate date cun
    CompanyAuthorizedById reference cun > User as CompanyAuthorizedBy; CompanyAuthorizedDate date cun
    Type picklist(40) cun
    @address Billing
    @address Shipping
    Name string(80) cun; PoDate date cun; PoNumber string(80) cun; OrderReferenceNumber string(80) cun
    BillToContactId reference cun > Contact as BillToContact; ShipToContactId reference cun > Contact as ShipToContact
    ActivatedDate datetime n; ActivatedById reference n > User as ActivatedBy
    StatusCode picklist(40) d {Draft|Activated|Canceled|Expired}; OrderNumber string(30) dAIN
    TotalAmount currency(18,2) d
    @viewed
    """,
    prefix="801",
    owner="queue",
)

ORDER_ITEM = sobject(
    "OrderItem",
    """
    Product2Id reference n > Product2 as Product2 < OrderItems
    OrderId reference c > Order as Order < OrderItems cascade
    PricebookEntryId reference c > PricebookEntry as PricebookEntry < OrderItems restricted
    OriginalOrderItemId reference cn > OrderItem as OriginalOrderItem < ChildOrderItems
    AvailableQuantity double(18,2) n; Quantity double(18,2) cu; UnitPrice currency(18,2) cu; ListPrice currency(18,2) n
    TotalPrice currency(18,2) n; ServiceDate date cun; EndDate date cun; Description string(255) cun
    OrderItemNumber string(30) dAN
    """,
    prefix="802",
    owner="none",
)

OBJECTS = (
    CAMPAIGN,
    MEMBER_STATUS,
    MEMBER,
    PRODUCT,
    PRICE_BOOK,
    PRICE,
    OPPORTUNITY,
    CONTACT_ROLE,
    LINE_ITEM,
    QUOTE,
    QUOTE_LINE,
    CONTRACT,
    ORDER,
    ORDER_ITEM,
)
