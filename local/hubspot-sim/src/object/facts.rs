//! The facts of an object type, each by one rule. HubSpot's API description is the source of those about scopes, merges
//! and webhooks.

use super::{Object, STANDARD, singular};

impl Object {
    /// Returns true if it is one of HubSpot's own types, which every account has.
    pub(crate) fn is_standard(&self) -> bool {
        STANDARD.iter().any(|(_, name)| *name == self.name())
    }

    /// Returns true if the name is the type id of a custom object.
    pub(crate) fn is_custom(&self) -> bool {
        self.name().strip_prefix("2-").is_some_and(|id| id.parse::<u64>().is_ok())
    }

    /// Returns the singular name.
    pub(crate) fn singular(&self) -> String {
        singular(self.name())
    }

    /// Returns the scopes that reading the type's records requires, all of them.
    pub fn scopes(&self) -> Vec<String> {
        let all: &[&str] = match self.name() {
            "tickets" => &["tickets"],
            "calls" | "communications" | "meetings" | "notes" | "postal_mail" | "tasks" => {
                &["crm.objects.contacts.read"]
            }
            "emails" => &["crm.objects.contacts.read", "sales-email-read"],
            "feedback_submissions" => &["crm.objects.contacts.read", "crm.objects.feedback_submissions.read"],
            "discounts" | "fees" => &["crm.objects.line_items.read", "e-commerce"],
            "taxes" => &["crm.objects.line_items.read"],
            "commerce_payments" => &["crm.objects.commercepayments.read"],
            "goal_targets" => &["crm.objects.goals.read"],
            "line_items" => &["crm.objects.line_items.read", "e-commerce"],
            "products" => &["crm.objects.products.read", "e-commerce"],
            "quotes" => &["crm.objects.quotes.read", "e-commerce"],
            _ if self.is_custom() => &["crm.objects.custom.read"],
            name => return vec![format!("crm.objects.{name}.read")],
        };
        all.iter().copied().map(str::to_owned).collect()
    }

    /// Returns the scopes of which any one is sufficient for reading the type's definitions of properties and pipelines.
    /// HubSpot's description lists the scopes of all types there, so that those of contacts and of companies are enough.
    pub(crate) fn schema_scopes(&self) -> Vec<String> {
        let name = if self.is_custom() { "custom" } else { self.name() };
        let mut any = self.scopes();
        any.push(format!("crm.schemas.{name}.read"));
        any.extend([Self::CONTACTS, Self::COMPANIES].iter().flat_map(Self::scopes));
        any
    }

    /// Returns the scopes that merging requires: those of reading, for writing.
    pub(crate) fn write_scopes(&self) -> Vec<String> {
        self.scopes().iter().map(|scope| scope.replace(".read", ".write")).collect()
    }

    /// Returns the property that holds the modification time. A search by the other name finds nothing.
    pub(crate) fn modified_property(self) -> &'static str {
        if self == Self::CONTACTS { "lastmodifieddate" } else { "hs_lastmodifieddate" }
    }

    /// Returns the property that holds the creation time.
    pub(crate) fn created_property(self) -> &'static str {
        match self.name() {
            "contacts" | "companies" | "deals" | "tickets" | "products" | "line_items" => "createdate",
            _ => "hs_createdate",
        }
    }

    /// Returns true if records of the type can be merged.
    pub(crate) fn can_be_merged(&self) -> bool {
        self.is_custom() || matches!(self.name(), "contacts" | "companies" | "deals" | "tickets")
    }

    /// Returns true if webhooks have events that name the type (`deal.creation`). Those of other types are generic.
    pub(crate) fn has_own_events(&self) -> bool {
        matches!(self.name(), "contacts" | "companies" | "deals" | "tickets" | "products" | "line_items")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_a_type_follow_from_its_name() {
        let table = [
            ("contacts", "contact", "lastmodifieddate", "createdate", true, true),
            ("companies", "company", "hs_lastmodifieddate", "createdate", true, true),
            ("deals", "deal", "hs_lastmodifieddate", "createdate", true, true),
            ("tickets", "ticket", "hs_lastmodifieddate", "createdate", true, true),
            ("products", "product", "hs_lastmodifieddate", "createdate", false, true),
            ("line_items", "line_item", "hs_lastmodifieddate", "createdate", false, true),
            ("notes", "note", "hs_lastmodifieddate", "hs_createdate", false, false),
            ("2-1234567", "2-1234567", "hs_lastmodifieddate", "hs_createdate", true, false),
        ];
        for (name, singular, modified, created, is_mergeable, has_events) in table {
            let object: Object = name.parse().unwrap();
            assert_eq!(
                (object.singular().as_str(), object.modified_property(), object.created_property()),
                (singular, modified, created)
            );
            assert_eq!((object.can_be_merged(), object.has_own_events()), (is_mergeable, has_events), "{name}");
            assert_eq!((object.is_standard(), object.is_custom()), (!name.starts_with('2'), name.starts_with('2')));
        }
    }

    #[test]
    fn type_has_a_scope_of_its_own_with_a_few_exceptions() {
        let table: [(&str, &[&str]); 7] = [
            ("contacts", &["crm.objects.contacts.read"]),
            ("deals", &["crm.objects.deals.read"]),
            ("leads", &["crm.objects.leads.read"]),
            ("2-1234567", &["crm.objects.custom.read"]),
            ("tickets", &["tickets"]),
            ("notes", &["crm.objects.contacts.read"]),
            ("products", &["crm.objects.products.read", "e-commerce"]),
        ];
        for (name, scopes) in table {
            assert_eq!(name.parse::<Object>().unwrap().scopes(), scopes, "{name}");
        }
        assert_eq!(Object::DEALS.write_scopes(), ["crm.objects.deals.write"]);
    }
}
