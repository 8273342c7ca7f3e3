"""Standard objects: what was sold to be served: service contracts, entitlements, work orders, solutions."""

from __future__ import annotations

from isync_dagster.local_org.seeds.notation import sobject

SERVICE_CONTRACT = sobject(
    "ServiceContract",
    """
    Name string(255) cuN; AccountId reference cun > Account as Account < ServiceContracts
    ContactId reference cun > Contact as Contact < ServiceContracts; Term int cun; StartDate date cun; EndDate date cun
    ActivationDate datetime cun; ApprovalStatus picklist(40) cund {Draft*|In Approval Process|Activated}
    Description textarea(32000) cun
    @address Billing
    @address Shipping
    Pricebook2Id reference cun > Pricebook2 as Pricebook2; ShippingHandling currency(18,2) cun; Tax currency(18,2) cun
    Subtotal currency(18,2) n; TotalPrice currency(18,2) n; LineItemCount int n; ContractNumber string(30) dAI
    SpecialTerms textarea(4000) cun; Discount percent(18,2) n; GrandTotal currency(18,2) n
    Status picklist(255) n {Inactive|Active|Expired}
    ParentServiceContractId reference cun > ServiceContract as ParentServiceContract < ChildServiceContracts
    RootServiceContractId reference n > ServiceContract as RootServiceContract
    @viewed
    """,
    prefix="810",
    owner="queue",
)

CONTRACT_LINE = sobject(
    "ContractLineItem",
    """
    LineItemNumber string(255) dAN
    ServiceContractId reference c > ServiceContract as ServiceContract < ContractLineItems cascade
    Product2Id reference n > Product2 as Product2 < ContractLineItems
    AssetId reference cun > Asset as Asset < ContractLineItems; StartDate date cun; EndDate date cun
    Description textarea(32000) cun; PricebookEntryId reference c > PricebookEntry as PricebookEntry
    Quantity double(12,2) cu; UnitPrice currency(18,2) cu; Discount percent(5,2) cun; ListPrice currency(18,2) n
    Subtotal currency(18,2) n; TotalPrice currency(18,2) n; Status picklist(255) n {Inactive|Active|Expired}
    ParentContractLineItemId reference cun > ContractLineItem as ParentContractLineItem < ChildContractLineItems
    RootContractLineItemId reference n > ContractLineItem as RootContractLineItem
    @viewed
    """,
    prefix="811",
    owner="none",
)

ENTITLEMENT = sobject(
    "Entitlement",
    """
    Name string(255) cuN; AccountId reference cu > Account as Account < Entitlements
    Type picklist(40) cun {Phone Support|Web Support}
    ServiceContractId reference cun > ServiceContract as ServiceContract < Entitlements
    ContractLineItemId reference cun > ContractLineItem as ContractLineItem < Entitlements
    AssetId reference cun > Asset as Asset < Entitlements; StartDate date cun; EndDate date cun
    BusinessHoursId reference cun > BusinessHours as BusinessHours; IsPerIncident boolean cud
    CasesPerEntitlement int cun; RemainingCases int cun; Status picklist(255) n {Inactive|Active|Expired}
    WorkOrdersPerEntitlement int cun; RemainingWorkOrders int cun
    @viewed
    """,
    prefix="550",
    owner="none",
)

WORK_ORDER = sobject(
    "WorkOrder",
    """
    WorkOrderNumber string(255) dAIN; AccountId reference cun > Account as Account < WorkOrders
    ContactId reference cun > Contact as Contact < WorkOrders; CaseId reference cun > Case as Case < WorkOrders
    EntitlementId reference cun > Entitlement as Entitlement < WorkOrders
    ServiceContractId reference cun > ServiceContract as ServiceContract < WorkOrders
    AssetId reference cun > Asset as Asset < WorkOrders
    Street textarea(255) cun [Address]; City string(40) cun [Address]; State string(80) cun [Address]
    PostalCode string(20) cun [Address]; Country string(80) cun [Address]; Latitude double(18,15) cun [Address]
    Longitude double(18,15) cun [Address]; Address address n
    Description textarea(32000) cun; StartDate datetime cun; EndDate datetime cun; Subject string(255) cun
    RootWorkOrderId reference n > WorkOrder as RootWorkOrder
    ParentWorkOrderId reference cun > WorkOrder as ParentWorkOrder < ChildWorkOrders
    Status picklist(255) cund {New*|In Progress|On Hold|Completed|Closed|Cannot Complete|Canceled}
    Priority picklist(255) cun {Low|Medium|High|Critical}; Pricebook2Id reference cun > Pricebook2 as Pricebook2
    Tax currency(18,2) cun; Subtotal currency(18,2) n; TotalPrice currency(18,2) n; LineItemCount int n
    Discount percent(16,2) n; GrandTotal currency(18,2) n; IsClosed boolean d
    BusinessHoursId reference cun > BusinessHours as BusinessHours; Duration double(16,2) cun
    DurationType picklist(255) cund {Hours*|Minutes}; DurationInMinutes double(16,2) n
    @viewed
    """,
    prefix="0WO",
    owner="queue",
)

WORK_ORDER_LINE = sobject(
    "WorkOrderLineItem",
    """
    LineItemNumber string(255) dAIN; WorkOrderId reference c > WorkOrder as WorkOrder < WorkOrderLineItems cascade
    ParentWorkOrderLineItemId reference cun > WorkOrderLineItem as ParentWorkOrderLineItem < ChildWorkOrderLineItems
    RootWorkOrderLineItemId reference n > WorkOrderLineItem as RootWorkOrderLineItem
    Product2Id reference n > Product2 as Product2 < WorkOrderLineItems
    AssetId reference cun > Asset as Asset < WorkOrderLineItems; OrderId reference cun > Order as Order
    Description textarea(32000) cun; StartDate datetime cun; EndDate datetime cun; Subject string(255) cun
    Status picklist(255) cund {New*|In Progress|On Hold|Completed|Closed|Cannot Complete|Canceled}
    PricebookEntryId reference cun > PricebookEntry as PricebookEntry; Quantity double(10,2) cun
    UnitPrice currency(18,2) cun; Discount percent(5,2) cun; ListPrice currency(18,2) n; Subtotal currency(18,2) n
    TotalPrice currency(18,2) n; Duration double(16,2) cun; DurationType picklist(255) cund {Hours*|Minutes}
    IsClosed boolean d
    @viewed
    """,
    prefix="1WL",
    owner="none",
)

SOLUTION = sobject(
    "Solution",
    """
    SolutionNumber string(30) dAI; SolutionName string(255) cuN; IsPublished boolean cud
    IsPublishedInPublicKb boolean cud; Status picklist(40) cud {Draft*|Reviewed|Duplicate}; IsReviewed boolean d
    SolutionNote textarea(32000) cun; TimesUsed int d; IsHtml boolean d
    @viewed
    """,
    prefix="501",
)

ASSET_RELATION = sobject(
    "AssetRelationship",
    """
    AssetRelationshipNumber string(255) dAN; AssetId reference cu > Asset as Asset < PrimaryAssets cascade
    RelatedAssetId reference cu > Asset as RelatedAsset < RelatedAssets cascade; FromDate datetime cun
    ToDate datetime cun; RelationshipType picklist(255) cun {Replacement|Upgrade|Crossgrade}
    """,
    prefix="1AR",
    owner="none",
)

OBJECTS = (SERVICE_CONTRACT, CONTRACT_LINE, ENTITLEMENT, WORK_ORDER, WORK_ORDER_LINE, SOLUTION, ASSET_RELATION)
