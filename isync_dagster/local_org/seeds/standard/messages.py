"""Standard objects: what people say to each other: e-mail, feeds, topics; and the folders of older files."""

from __future__ import annotations

from isync_dagster.local_org.seeds.notation import sobject
from isync_dagster.local_org.seeds.standard.customers import PARENTS

EMAIL = sobject(
    "EmailMessage",
    f"""
    ParentId reference cn > Case as Parent < EmailMessages cascade
    ActivityId reference cn > Task as Activity < EmailMessages; TextBody textarea(131072) cun
    HtmlBody textarea(131072) cunh; Headers textarea(131072) cun; Subject string(3000) cun; Name string(3000) nN
    FromName string(1000) cun; FromAddress email(1000) cun; ValidatedFromAddress picklist(1000) cun
    ToAddress string(4000) cun; CcAddress string(4000) cun; BccAddress string(4000) cun; Incoming boolean cud
    HasAttachment boolean d; Status picklist(40) cudR {{0|1|2|3|4|5*}}; MessageDate datetime cun
    ReplyToEmailMessageId reference cn > EmailMessage as ReplyToEmailMessage; IsExternallyVisible boolean cud
    MessageIdentifier string(765) cun; ThreadIdentifier string(765) cun; IsClientManaged boolean cud
    FromId reference nP > Contact/Lead/User as From
    RelatedToId reference cunP > {PARENTS} as RelatedTo < Emails cascade
    IsTracked boolean cud; IsOpened boolean d; FirstOpenedDate datetime cun; LastOpenedDate datetime cun
    IsBounced boolean d; EmailTemplateId reference cn > EmailTemplate as EmailTemplate
    """,
    prefix="02s",
    owner="none",
)

EMAIL_RELATION = sobject(
    "EmailMessageRelation",
    """
    EmailMessageId reference c > EmailMessage as EmailMessage < EmailMessageRelations cascade
    RelationId reference cnP > Contact/Lead/User as Relation
    RelationType picklist(40) cR {ToAddress|CcAddress|BccAddress|FromAddress|OtherAddress}
    RelationAddress string(1000) cn; RelationObjectType picklist(40) n
    """,
    prefix="0Ec",
    owner="none",
)

TEMPLATE = sobject(
    "EmailTemplate",
    """
    Name string(80) cuN; DeveloperName string(80) cu; NamespacePrefix string(15) n; FolderId reference cu > Folder/Organization/User as Folder
    TemplateStyle picklist(40) cu {none*|freeForm|formalLetter}; IsActive boolean cud
    TemplateType picklist(40) cu {text|html|custom|visualforce}; Encoding picklist(40) cun {UTF-8|ISO-8859-1}
    Description string(4000) cun; Subject string(255) cun; HtmlValue textarea(131072) cun; Body textarea(131072) cun
    TimesUsed int d; LastUsedDate datetime n
    """,
    prefix="00X",
)

POST = sobject(
    "FeedItem",
    f"""
    ParentId reference cP > {PARENTS}/Group/User as Parent < Feeds cascade; Type picklist(40) cn {{TextPost|LinkPost
        |ContentPost|PollPost|TrackedChange|AdvancedTextPost}}
    Title string(255) cun; Body textarea(10000) cun; LinkUrl url(1000) cun; IsRichText boolean cd
    RelatedRecordId reference cn > ContentVersion; InsertedById reference n > User as InsertedBy
    Visibility picklist(40) cund {{AllUsers*|InternalUsers}}; Revision int n; CommentCount int d; LikeCount int d
    Status picklist(40) und {{Published*|PendingReview}}
    """,
    prefix="0D5",
    owner="none",
)

POST_COMMENT = sobject(
    "FeedComment",
    f"""
    FeedItemId reference c > FeedItem as FeedItem < FeedComments cascade
    ParentId reference nP > {PARENTS}/User as Parent; CommentBody textarea(10000) cu
    CommentType picklist(40) cnd {{TextComment*|ContentComment}}; IsRichText boolean cd
    InsertedById reference n > User as InsertedBy; RelatedRecordId reference cn > ContentVersion
    """,
    prefix="0D7",
    owner="none",
)

TOPIC = sobject(
    "Topic",
    "Name string(150) cuN; Description textarea(600) cun; TalkingAbout int d; ManagedTopicType string(255) n",
    prefix="0TO",
    owner="none",
)

TOPIC_ASSIGNMENT = sobject(
    "TopicAssignment",
    f"""
    TopicId reference c > Topic as Topic < TopicAssignments cascade
    EntityId reference cP > {PARENTS} as Entity < TopicAssignments cascade; EntityKeyPrefix string(3) n
    EntityType picklist(40) n
    """,
    prefix="0TQ",
    owner="none",
)

FOLDER = sobject(
    "Folder",
    """
    ParentId reference cun > Folder as Parent; Name string(80) cuN; DeveloperName string(80) cun
    AccessType picklist(40) cuR {Shared|Public|Hidden|PublicInternal}; IsReadonly boolean cud
    Type picklist(40) cR {Document|Email|Report|Dashboard|EmailTemplate}; NamespacePrefix string(15) n
    """,
    prefix="00l",
    owner="none",
)

DOCUMENT = sobject(
    "Document",
    """
    FolderId reference cu > Folder/User as Folder; Name string(255) cuN; DeveloperName string(80) cud
    NamespacePrefix string(15) n; ContentType string(120) cun; Type string(40) cun; IsPublic boolean cud; BodyLength int n
    Body base64 cun; Url string(255) cun; Description textarea(255) cun; Keywords string(255) cun
    IsInternalUseOnly boolean cud; AuthorId reference cud > User as Author
    """,
    prefix="015",
    owner="none",
)

LIBRARY = sobject(
    "ContentWorkspace",
    """
    Name string(255) cuN; Description textarea(1000) cun; DeveloperName string(80) cun; NamespacePrefix string(15) n
    TagModel picklist(40) nR {Unrestricted|Guided|Restricted}; IsRestrictContentTypes boolean d
    WorkspaceType picklist(40) nR {R|B|M}
    """,
    prefix="058",
    owner="none",
)

OBJECTS = (
    EMAIL,
    EMAIL_RELATION,
    TEMPLATE,
    POST,
    POST_COMMENT,
    TOPIC,
    TOPIC_ASSIGNMENT,
    FOLDER,
    DOCUMENT,
    LIBRARY,
)
