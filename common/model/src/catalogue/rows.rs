//! The rows of the catalogue. `docs/guide/objects.md` has their sources.

use super::ObjectSpec;

/// What rows have in common unless they say otherwise.
const ROW: ObjectSpec = ObjectSpec {
    name: "",
    type_id: "",
    label: "",
    webhooks: None,
    scopes: &[],
    modified_property: "hs_lastmodifieddate",
    default_properties: &[],
    merges: false,
    has_recycle_bin: true,
    associations: &[],
    has_pipelines: false,
};

/// The same of records that go through the stages of pipelines.
const STAGED: ObjectSpec = ObjectSpec { has_pipelines: true, ..ROW };

/// Stands for every custom object. Each portal defines its own.
pub(crate) static CUSTOM: ObjectSpec = ObjectSpec {
    scopes: &["crm.objects.custom.read"],
    merges: true,
    associations: &["companies", "contacts"],
    ..STAGED
};

/// The object types that can be chosen.
// Lists of names take fewer lines if they are wrapped as text is.
#[rustfmt::skip]
pub static CATALOGUE: &[ObjectSpec] = &[
    ObjectSpec {
        name: "companies",
        type_id: "0-2",
        label: "Company",
        webhooks: Some("company"),
        scopes: &["crm.objects.companies.read"],
        default_properties: &[
            "name", "domain", "country", "industry", "description", "annualrevenue", "numberofemployees",
            "hs_lead_status",
        ],
        merges: true,
        ..ROW
    },
    ObjectSpec {
        name: "contacts",
        type_id: "0-1",
        label: "Contact",
        webhooks: Some("contact"),
        scopes: &["crm.objects.contacts.read"],
        modified_property: "lastmodifieddate",
        default_properties: &[
            "firstname", "lastname", "jobtitle", "email", "hubspotscore", "hs_lead_status", "hs_analytics_source",
            "hs_latest_source",
        ],
        merges: true,
        associations: &["companies"],
        ..ROW
    },
    ObjectSpec {
        name: "deals",
        type_id: "0-3",
        label: "Deal",
        webhooks: Some("deal"),
        scopes: &["crm.objects.deals.read"],
        default_properties: &[
            "dealname", "amount", "dealstage", "pipeline", "closedate", "dealtype", "hubspot_owner_id",
        ],
        merges: true,
        associations: &["companies", "contacts"],
        ..STAGED
    },
    ObjectSpec {
        name: "tickets",
        type_id: "0-5",
        label: "Ticket",
        webhooks: Some("ticket"),
        scopes: &["tickets"],
        default_properties: &[
            "subject", "content", "hs_pipeline", "hs_pipeline_stage", "hs_ticket_priority", "hs_ticket_category",
            "hubspot_owner_id",
        ],
        merges: true,
        associations: &["companies", "contacts"],
        ..STAGED
    },
    ObjectSpec {
        name: "tasks",
        type_id: "0-27",
        label: "Task",
        scopes: &["crm.objects.contacts.read"],
        default_properties: &[
            "hs_timestamp", "hs_task_subject", "hs_task_status", "hs_task_priority", "hs_task_type", "hubspot_owner_id",
        ],
        associations: &["contacts", "companies", "deals"],
        ..ROW
    },
    ObjectSpec {
        name: "notes",
        type_id: "0-46",
        label: "Note",
        scopes: &["crm.objects.contacts.read"],
        default_properties: &["hs_timestamp", "hs_note_body", "hs_attachment_ids", "hubspot_owner_id"],
        associations: &["contacts", "companies", "deals"],
        ..ROW
    },
    ObjectSpec {
        name: "calls",
        type_id: "0-48",
        label: "Call",
        scopes: &["crm.objects.contacts.read"],
        default_properties: &[
            "hs_timestamp", "hs_call_title", "hs_call_direction", "hs_call_disposition", "hs_call_duration",
            "hs_call_status", "hubspot_owner_id",
        ],
        associations: &["contacts", "companies", "deals"],
        ..ROW
    },
    // HubSpot has been seen to refuse the list of deleted meetings (400).
    ObjectSpec {
        name: "meetings",
        type_id: "0-47",
        label: "Meeting",
        scopes: &["crm.objects.contacts.read"],
        default_properties: &[
            "hs_timestamp", "hs_meeting_title", "hs_meeting_start_time", "hs_meeting_end_time", "hs_meeting_location",
            "hs_meeting_outcome", "hubspot_owner_id",
        ],
        has_recycle_bin: false,
        associations: &["contacts", "companies", "deals"],
        ..ROW
    },
    // Without the second scope, HubSpot leaves out what an e-mail says, or refuses.
    ObjectSpec {
        name: "emails",
        type_id: "0-49",
        label: "Email",
        scopes: &["crm.objects.contacts.read", "sales-email-read"],
        default_properties: &[
            "hs_timestamp", "hs_email_subject", "hs_email_direction", "hs_email_status", "hs_email_from_email",
            "hs_email_to_email", "hubspot_owner_id",
        ],
        associations: &["contacts", "companies", "deals"],
        ..ROW
    },
    ObjectSpec {
        name: "products",
        type_id: "0-7",
        label: "Product",
        webhooks: Some("product"),
        scopes: &["crm.objects.products.read", "e-commerce"],
        default_properties: &[
            "name", "description", "price", "hs_sku", "hs_cost_of_goods_sold", "hs_recurring_billing_period",
        ],
        ..ROW
    },
    ObjectSpec {
        name: "line_items",
        type_id: "0-8",
        label: "Line item",
        webhooks: Some("line_item"),
        scopes: &["crm.objects.line_items.read", "e-commerce"],
        default_properties: &[
            "name", "quantity", "price", "amount", "hs_sku", "hs_product_id", "hs_line_item_currency_code",
            "recurringbillingfrequency",
        ],
        associations: &["deals"],
        ..ROW
    },
    ObjectSpec {
        name: "quotes",
        type_id: "0-14",
        label: "Quote",
        scopes: &["crm.objects.quotes.read", "e-commerce"],
        default_properties: &[
            "hs_title", "hs_status", "hs_expiration_date", "hs_quote_number", "hs_quote_amount", "hs_currency",
            "hs_public_url_key",
        ],
        associations: &["deals", "companies", "contacts"],
        ..ROW
    },
    ObjectSpec {
        name: "leads",
        type_id: "0-136",
        label: "Lead",
        scopes: &["crm.objects.leads.read"],
        default_properties: &[
            "hs_lead_name", "hs_lead_type", "hs_lead_label", "hs_pipeline", "hs_pipeline_stage", "hubspot_owner_id",
        ],
        associations: &["contacts", "companies"],
        ..STAGED
    },
    // Merging is in the specification of 2026-03, and not in that of 2026-09.
    ObjectSpec {
        name: "orders",
        type_id: "0-123",
        label: "Order",
        scopes: &["crm.objects.orders.read"],
        default_properties: &[
            "hs_order_name", "hs_pipeline", "hs_pipeline_stage", "hs_currency_code", "hs_fulfillment_status",
            "hs_source_store", "hs_total_price",
        ],
        merges: true,
        associations: &["companies", "contacts", "deals"],
        ..STAGED
    },
    ObjectSpec {
        name: "carts",
        type_id: "0-142",
        label: "Cart",
        scopes: &["crm.objects.carts.read"],
        default_properties: &[
            "hs_cart_name", "hs_total_price", "hs_currency_code", "hs_external_cart_id", "hs_external_status",
            "hs_source_store",
        ],
        associations: &["contacts", "deals", "orders"],
        ..ROW
    },
    ObjectSpec {
        name: "invoices",
        type_id: "0-53",
        label: "Invoice",
        scopes: &["crm.objects.invoices.read"],
        default_properties: &[
            "hs_number", "hs_invoice_status", "hs_invoice_date", "hs_due_date", "hs_currency", "hs_amount_billed",
            "hs_balance_due",
        ],
        associations: &["companies", "contacts", "deals"],
        ..ROW
    },
    ObjectSpec {
        name: "subscriptions",
        type_id: "0-69",
        label: "Subscription",
        scopes: &["crm.objects.subscriptions.read"],
        default_properties: &[
            "hs_name", "hs_status", "hs_recurring_billing_start_date", "hs_last_payment_amount",
            "hs_next_payment_amount", "hs_next_payment_due_date",
        ],
        associations: &["companies", "contacts", "deals"],
        ..ROW
    },
    ObjectSpec {
        name: "communications",
        type_id: "0-18",
        label: "Communication",
        scopes: &["crm.objects.contacts.read"],
        default_properties: &[
            "hs_timestamp", "hs_communication_channel_type", "hs_communication_logged_from", "hs_communication_body",
            "hubspot_owner_id",
        ],
        associations: &["contacts", "companies", "deals"],
        ..ROW
    },
    ObjectSpec {
        name: "appointments",
        type_id: "0-421",
        label: "Appointment",
        scopes: &["crm.objects.appointments.read"],
        default_properties: &["hs_appointment_name", "hs_appointment_start", "hs_appointment_end"],
        merges: true,
        associations: &["contacts", "companies", "deals"],
        ..STAGED
    },
    // A public app may have no access to services.
    ObjectSpec {
        name: "services",
        type_id: "0-162",
        label: "Service",
        scopes: &["crm.objects.services.read"],
        default_properties: &[
            "hs_name", "hs_pipeline", "hs_pipeline_stage", "hs_start_date", "hs_close_date", "hubspot_owner_id",
        ],
        merges: true,
        associations: &["contacts", "companies", "deals", "tickets"],
        ..STAGED
    },
    ObjectSpec {
        name: "courses",
        type_id: "0-410",
        label: "Course",
        scopes: &["crm.objects.courses.read"],
        default_properties: &[
            "hs_course_name", "hs_course_id", "hs_pipeline", "hs_pipeline_stage", "hs_enrollment_capacity",
        ],
        merges: true,
        associations: &["contacts", "companies", "deals"],
        ..STAGED
    },
    ObjectSpec {
        name: "listings",
        type_id: "0-420",
        label: "Listing",
        scopes: &["crm.objects.listings.read"],
        default_properties: &["hs_name", "hs_price", "hs_city", "hs_bedrooms", "hs_bathrooms", "hs_listing_type"],
        merges: true,
        associations: &["contacts", "companies", "deals"],
        ..STAGED
    },
    // No source says that deleted users are listed.
    ObjectSpec {
        name: "users",
        type_id: "0-115",
        label: "User",
        scopes: &["crm.objects.users.read"],
        default_properties: &[
            "hs_internal_user_id", "hs_email", "hs_given_name", "hs_family_name", "hs_job_title",
            "hs_standard_time_zone", "hs_availability_status", "hs_deactivated",
        ],
        has_recycle_bin: false,
        ..ROW
    },
];
