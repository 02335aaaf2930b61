//! HubSpot's rate limits, as its guides list them ("Usage guidelines", and "Limits" of the guide to associations): in
//! rolling windows and per day, by the kind of the token and the tier of the account.

use std::collections::VecDeque;

use crate::settings::{AssociationLimits, Distribution, Settings, Tier};

const DAY_MILLIS: i64 = 86_400_000;

/// The period of the general limit, and of the associations' own limit, in milliseconds.
const TEN_SECONDS: i64 = 10_000;

/// The app whose token a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum App {
    /// The OAuth app.
    OAuth,
    /// A private app, or a service key.
    Private,
}

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// A contact's companies, or a company's contacts.
    Associations,
    /// Anything else except a search.
    Other,
}

/// A limit: the number of requests allowed. 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    counter: Counter,
    /// Per rolling ten seconds.
    pub(crate) ten_secondly: usize,
    /// Per day.
    pub(crate) daily: usize,
}

/// The requests that a limit counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counter {
    /// The requests of one app.
    General(App),
    /// All apps' reads of associations.
    Associations,
}

/// The limit that a request has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExceededLimit {
    /// The limit of ten seconds.
    TenSecondly,
    /// The limit of the day.
    Daily,
}

/// The remaining requests, for a response's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remaining {
    /// In the current ten seconds.
    pub(crate) ten_secondly: usize,
    /// Today. Absent for an OAuth app.
    pub(crate) daily: Option<usize>,
}

impl Settings {
    /// Returns the limit for a request of an app.
    pub(crate) fn limit(&self, app: App, asked: RequestKind) -> Limit {
        if asked == RequestKind::Associations && self.association_limits == AssociationLimits::Own {
            let (ten_secondly, daily) = match self.tier {
                Tier::Starter => (100, 0),
                Tier::Professional => (150, 500_000),
                Tier::AddOn => (200, 1_000_000),
            };
            return Limit {
                counter: Counter::Associations,
                ten_secondly: self.associations_per_10s.unwrap_or(ten_secondly),
                daily: self.associations_per_day.unwrap_or(daily),
            };
        }
        let (ten_secondly, daily) = match (app, self.distribution, self.tier) {
            (App::OAuth, Distribution::Marketplace, _) => (110, 0),
            (_, _, Tier::Starter) => (100, 250_000),
            (_, _, Tier::Professional) => (190, 625_000),
            (_, _, Tier::AddOn) => (250, 1_625_000),
        };
        Limit {
            counter: Counter::General(app),
            ten_secondly: self.per_10s.unwrap_or(ten_secondly),
            daily: self.per_day.unwrap_or(daily),
        }
    }
}

/// The requests to one account. Each app has a ten-second limit of its own. The daily limit and the limit of
/// associations are the account's.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    oauth: Rolling,
    private: Rolling,
    associations: Rolling,
    today: Today,
    associations_today: Today,
}

impl Usage {
    /// Counts a request at `now`. Fails with the limit that it exceeds. A refused request does not count.
    pub(crate) fn count_request(&mut self, now: i64, limit: Limit) -> Result<(), ExceededLimit> {
        let (recent, today) = self.counted(limit);
        if limit.daily > 0 && today.count(now) >= limit.daily {
            return Err(ExceededLimit::Daily);
        }
        if !recent.allow(now, TEN_SECONDS, limit.ten_secondly) {
            return Err(ExceededLimit::TenSecondly);
        }
        if limit.daily > 0 {
            today.count += 1;
        }
        Ok(())
    }

    /// Returns the remaining requests for a response's headers. Returns `None` if the response has no such headers.
    pub(crate) fn remaining(&mut self, now: i64, limit: Limit) -> Option<Remaining> {
        let Counter::General(app) = limit.counter else { return None };
        let (recent, today) = self.counted(limit);
        let daily = (app == App::Private && limit.daily > 0).then(|| limit.daily.saturating_sub(today.count(now)));
        (limit.ten_secondly > 0).then(|| Remaining { ten_secondly: recent.remaining(limit.ten_secondly), daily })
    }

    fn counted(&mut self, limit: Limit) -> (&mut Rolling, &mut Today) {
        match limit.counter {
            Counter::General(App::OAuth) => (&mut self.oauth, &mut self.today),
            Counter::General(App::Private) => (&mut self.private, &mut self.today),
            Counter::Associations => (&mut self.associations, &mut self.associations_today),
        }
    }
}

/// The requests of a day, which ends at midnight (UTC).
#[derive(Debug, Default)]
struct Today {
    day: i64,
    count: usize,
}

impl Today {
    fn count(&mut self, now: i64) -> usize {
        if self.day != now.div_euclid(DAY_MILLIS) {
            *self = Self { day: now.div_euclid(DAY_MILLIS), count: 0 };
        }
        self.count
    }
}

/// The requests within a rolling window. A refused request does not count.
#[derive(Debug, Default)]
pub(crate) struct Rolling {
    times: VecDeque<i64>,
}

impl Rolling {
    /// Returns true if a request at `now` is allowed by a limit of `limit` requests per `window` milliseconds. 0 is no
    /// limit.
    pub(crate) fn allow(&mut self, now: i64, window: i64, limit: usize) -> bool {
        while self.times.front().is_some_and(|time| *time <= now - window) {
            self.times.pop_front();
        }
        let allowed = limit == 0 || self.times.len() < limit;
        if allowed {
            self.times.push_back(now);
        }
        allowed
    }

    /// Returns how many more requests are allowed now.
    pub(crate) fn remaining(&self, limit: usize) -> usize {
        limit.saturating_sub(self.times.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_rolls() {
        let mut rolling = Rolling::default();
        let allowed: Vec<bool> = [0, 900, 950, 1000, 1001].iter().map(|now| rolling.allow(*now, 1000, 2)).collect();
        assert_eq!(allowed, [true, true, false, true, false]);
        assert_eq!(rolling.remaining(2), 0);
    }

    /// Returns how many requests are accepted at one moment.
    fn taken(usage: &mut Usage, limit: Limit) -> usize {
        (0..1000).take_while(|_| usage.count_request(0, limit).is_ok()).count()
    }

    #[test]
    fn each_kind_of_token_has_its_limit() {
        use Distribution::{Marketplace, Private};
        let table = [
            (Tier::Starter, Marketplace, 110, 100, 100),
            (Tier::Professional, Marketplace, 110, 190, 150),
            (Tier::AddOn, Marketplace, 110, 250, 200),
            (Tier::Starter, Private, 100, 100, 100),
            (Tier::Professional, Private, 190, 190, 150),
            (Tier::AddOn, Private, 250, 250, 200),
        ];
        for (tier, distribution, oauth, private, associations) in table {
            let settings = Settings { tier, distribution, ..Settings::default() };
            let mut usage = Usage::default();
            let mut taken = |app, asked| taken(&mut usage, settings.limit(app, asked));
            // The three limits are independent.
            assert_eq!(taken(App::OAuth, RequestKind::Other), oauth, "{tier:?} {distribution:?}");
            assert_eq!(taken(App::Private, RequestKind::Other), private, "{tier:?} {distribution:?}");
            assert_eq!(taken(App::OAuth, RequestKind::Associations), associations, "{tier:?} {distribution:?}");
            assert_eq!(taken(App::Private, RequestKind::Associations), 0, "the account's own is used up");
        }
    }

    #[test]
    fn associations_may_count_against_the_general_limit() {
        let settings = Settings { association_limits: AssociationLimits::General, ..Settings::default() };
        let mut usage = Usage::default();
        let limit = settings.limit(App::OAuth, RequestKind::Associations);
        assert_eq!(taken(&mut usage, limit), 110);
        assert_eq!(
            usage.count_request(0, settings.limit(App::OAuth, RequestKind::Other)),
            Err(ExceededLimit::TenSecondly)
        );
        assert_eq!(usage.remaining(0, limit), Some(Remaining { ten_secondly: 0, daily: None }));
    }

    #[test]
    fn headers_tell_of_the_general_limit_alone_and_an_oauth_app_nothing_of_the_day() {
        let (settings, mut usage) = (Settings::default(), Usage::default());
        let table = [
            (App::OAuth, RequestKind::Other, Some(Remaining { ten_secondly: 109, daily: None })),
            (App::Private, RequestKind::Other, Some(Remaining { ten_secondly: 99, daily: Some(249_999) })),
            (App::OAuth, RequestKind::Associations, None),
        ];
        for (app, asked, left) in table {
            let limit = settings.limit(app, asked);
            assert_eq!(usage.count_request(0, limit), Ok(()));
            assert_eq!(usage.remaining(0, limit), left, "{app:?} {asked:?}");
        }
    }

    #[test]
    fn a_day_is_over_at_midnight() {
        let settings = Settings { per_day: Some(2), associations_per_day: Some(1), ..Settings::default() };
        let mut usage = Usage::default();
        let mut take = |now, asked| usage.count_request(now, settings.limit(App::Private, asked));
        assert_eq!([take(0, RequestKind::Other), take(DAY_MILLIS - 1, RequestKind::Other)], [Ok(()); 2]);
        assert_eq!(take(DAY_MILLIS - 1, RequestKind::Other), Err(ExceededLimit::Daily));
        assert_eq!(take(DAY_MILLIS - 1, RequestKind::Associations), Ok(()));
        assert_eq!(take(DAY_MILLIS - 1, RequestKind::Associations), Err(ExceededLimit::Daily));
        assert_eq!([take(DAY_MILLIS, RequestKind::Other), take(DAY_MILLIS, RequestKind::Associations)], [Ok(()); 2]);
    }
}
