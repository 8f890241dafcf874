"""Tables, one aggregate a file. Importing this package registers all of them on `Base.metadata`."""

from db.models.clients import (
    Client,
    ClientList,
    ClientListMember,
    ClientMerge,
    ConsentChange,
    CustomField,
    FormerMember,
)
from db.models.executions import Batch, ExecutionStep, FlowExecution, Message
from db.models.feedback import (
    Event,
    SendmodeStats,
    Stats,
    StatsMinute,
    StatsReason,
    WebhookDelivery,
    WebhookEvent,
)
from db.models.flows import Flow, FlowSchedule, FlowStep
from db.models.imports import ImportChange, ImportMapping, ImportReject, MemberImport, MemberImportChunk
from db.models.operations import Approval, BulkOperation, FailedJob, RateLimit
from db.models.outgoing import OutgoingDelivery, OutgoingEvent, WebhookEndpoint
from db.models.pages import Asset, Page, PageCount, PageRedirect, PageVersion, SignUp
from db.models.suppressions import Gate, Unsubscribed, UnsubscribedChange
from db.models.templates import Template, TemplateVersion
from db.models.users import ApiToken, AuditEntry, AuditOutcome, AuditSeal, IdempotencyKey, User

__all__ = [
    "ApiToken",
    "Approval",
    "Asset",
    "AuditEntry",
    "AuditOutcome",
    "AuditSeal",
    "Batch",
    "BulkOperation",
    "Client",
    "ClientList",
    "ClientListMember",
    "ClientMerge",
    "ConsentChange",
    "CustomField",
    "Event",
    "ExecutionStep",
    "FailedJob",
    "Flow",
    "FlowExecution",
    "FlowSchedule",
    "FlowStep",
    "FormerMember",
    "Gate",
    "IdempotencyKey",
    "ImportChange",
    "ImportMapping",
    "ImportReject",
    "MemberImport",
    "MemberImportChunk",
    "Message",
    "OutgoingDelivery",
    "OutgoingEvent",
    "Page",
    "PageCount",
    "PageRedirect",
    "PageVersion",
    "RateLimit",
    "SendmodeStats",
    "SignUp",
    "Stats",
    "StatsMinute",
    "StatsReason",
    "Template",
    "TemplateVersion",
    "Unsubscribed",
    "UnsubscribedChange",
    "User",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookEvent",
]
