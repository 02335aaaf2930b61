//! Which scopes the consent page asks for beside the required ones.

use std::collections::BTreeSet;

use model::choice::{Choice, Selection};

/// The scopes that customers may leave out. HubSpot refuses a consent link with a scope that the app's settings do not list, so
/// only scopes of object types that the stack names are ever asked for.
#[derive(Clone, Debug, Default)]
pub struct OptionalScopes {
    /// Those that every customer is asked for.
    asked: BTreeSet<&'static str>,
    /// Those that a customer is asked for whose account chooses an object type that needs them.
    offered: BTreeSet<&'static str>,
}

impl OptionalScopes {
    /// Returns the scopes of the object types that are read of all accounts, and of those that an account may choose.
    pub fn new(selected: &Selection, offered: &Selection) -> Self {
        let scopes = |selection: &Selection| selection.optional_scopes().into_iter().collect();
        Self { asked: scopes(selected), offered: scopes(offered) }
    }

    /// Returns the scopes to ask a customer for whose accounts make these choices.
    pub(crate) fn of(&self, choices: &[Choice]) -> Vec<&'static str> {
        let mut asked = self.asked.clone();
        for choice in choices {
            let chosen = Choice::default().select(choice, None).optional_scopes();
            let (offered, unknown): (Vec<_>, Vec<_>) =
                chosen.into_iter().partition(|scope| self.offered.contains(scope) || self.asked.contains(scope));
            if !unknown.is_empty() {
                tracing::warn!(
                    scopes = unknown.join(" "),
                    "an account chooses object types that HUBSPOT_OPTIONAL_OBJECTS does not name; their scopes are not asked for"
                );
            }
            asked.extend(offered);
        }
        asked.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(names: &[&str]) -> Choice {
        Choice::of_objects(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn stack_of_contacts() -> Choice {
        choice(&["companies", "contacts"])
    }

    #[test]
    fn accounts_are_asked_for_what_they_choose_as_far_as_it_is_offered() {
        let stack = choice(&["companies", "contacts", "tickets"]);
        let offered = stack.select(&choice(&["deals", "2-7"]), None);
        let scopes = OptionalScopes::new(&stack.select(&Choice::default(), None), &offered);
        // Tickets and deals have owners.
        const OWNERS: &str = "crm.objects.owners.read";
        assert_eq!(scopes.of(&[]), [OWNERS, "tickets"]);
        assert_eq!(scopes.of(&[Choice::default()]), [OWNERS, "tickets"]);
        assert_eq!(scopes.of(&[choice(&["contacts", "deals"])]), ["crm.objects.deals.read", OWNERS, "tickets"]);
        let named = stack_of_contacts().with_properties("contacts:hubspot_owner_id").unwrap();
        for (stack, scopes) in [(named, vec![OWNERS]), (stack_of_contacts(), vec![])] {
            let asked = OptionalScopes::new(&stack.select(&Choice::default(), None), &Selection::default());
            assert_eq!(asked.of(&[Choice::default()]), scopes);
        }
        let two = [choice(&["2-9"]), choice(&["deals", "leads"])];
        assert_eq!(scopes.of(&two), ["crm.objects.custom.read", "crm.objects.deals.read", OWNERS, "tickets"]);
    }
}
