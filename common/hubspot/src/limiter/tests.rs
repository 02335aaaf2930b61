//! The rules of the limiter, one by one.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn limiter(limit: u32, snapshot: &LimiterSnapshot) -> Limiter {
    Limiter::new(NonZeroU32::new(limit).unwrap(), SECOND, snapshot)
}

/// Makes a request that is answered at once.
async fn made(limiter: &Limiter) {
    let permit = limiter.admit(None).await.unwrap();
    limiter.record_answer(&permit);
}

/// Records that HubSpot refused a request that was made just now.
fn refuse(limiter: &Limiter, retry_after: Option<Duration>) {
    limiter.record_refusal(&Permit { number: 0, made_at: Instant::now() }, retry_after);
}

#[tokio::test(start_paused = true)]
async fn no_rolling_second_holds_more_than_the_limit() {
    let limiter = limiter(5, &LimiterSnapshot::default());
    let mut times = Vec::new();
    for pause in [0, 0, 0, 700, 0, 0, 0, 0, 100, 0, 900, 0, 0, 0, 0, 0] {
        tokio::time::advance(Duration::from_millis(pause)).await;
        made(&limiter).await;
        times.push(Instant::now());
    }
    for (first, sixth) in times.iter().zip(&times[5..]) {
        assert!(sixth.duration_since(*first) > SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_made_up_for() {
    let limiter = limiter(5, &LimiterSnapshot::default());
    let began = Instant::now();
    for _ in 0..5 {
        made(&limiter).await;
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    made(&limiter).await;
    assert!(began.elapsed() >= SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_fifth_is_left_to_others_only_while_they_use_the_limit() {
    let counts = async |share| {
        let limiter = limiter(5, &LimiterSnapshot { share, ..LimiterSnapshot::default() });
        let (began, mut count) = (Instant::now(), 0);
        while limiter.admit_leaving_room(Some(began)).await.is_some() {
            count += 1;
        }
        // Other requests may use what was left.
        let mut others = 0;
        while limiter.admit(Some(began)).await.is_some() {
            others += 1;
        }
        (count, others)
    };
    assert_eq!(counts(MAX_SHARE).await, (5, 0));
    assert_eq!(counts(1.0).await, (5, 0));
    assert_eq!(counts(0.99).await, (3, 1));
    assert_eq!(counts(0.8).await, (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_would_be_too_late_is_not_made() {
    let limiter = limiter(1, &LimiterSnapshot::default());
    let soon = Some(Instant::now() + Duration::from_millis(500));
    assert!(limiter.admit(soon).await.is_some());
    assert!(limiter.admit(soon).await.is_none());
    assert!(limiter.admit(Some(Instant::now() + 2 * SECOND)).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn the_next_slice_goes_on_with_what_was_remembered() {
    let first = limiter(2, &LimiterSnapshot::default());
    made(&first).await;
    made(&first).await;
    for _ in 0..3 {
        refuse(&first, None);
    }
    let snapshot = first.snapshot();
    assert_eq!((snapshot.requests.len(), snapshot.quickest_ms), (2, Some(0)));
    assert!(snapshot.share < 1.0 && snapshot.caution > 0.99);
    let began = Instant::now();
    let second = limiter(2, &snapshot);
    made(&second).await;
    assert!(began.elapsed() > Duration::from_millis(900));
}

#[tokio::test(start_paused = true)]
async fn refusals_leave_less_of_the_limit_until_requests_are_taken_again() {
    let limiter = limiter(5, &LimiterSnapshot::default());
    let ten_requests = async || {
        let began = Instant::now();
        for _ in 0..10 {
            made(&limiter).await;
        }
        began.elapsed()
    };
    assert_eq!(ten_requests().await, limiter.period);
    // The first refusal costs neither a pause nor a share: requests may have been held up.
    refuse(&limiter, None);
    assert_eq!(ten_requests().await, limiter.period * 2);
    // The second one costs the credit. The third one costs a period, and later periods admit four of five requests.
    refuse(&limiter, None);
    assert_eq!(limiter.snapshot().closed_until, None);
    assert_eq!(ten_requests().await, limiter.period * 2);
    assert!((limiter.snapshot().share - SHARE_FACTOR_ON_REFUSAL * MAX_SHARE).abs() < 0.001);
    refuse(&limiter, None);
    assert!(limiter.snapshot().closed_until.is_some());
    assert_eq!(ten_requests().await, limiter.period * 3);
    assert!((limiter.snapshot().share - SHARE_FACTOR_ON_REFUSAL).abs() < 0.001);
    for _ in 0..200 {
        limiter.record_success();
    }
    assert!((limiter.snapshot().share - MAX_SHARE).abs() < 0.001);
}

#[tokio::test(start_paused = true)]
async fn requests_that_were_under_way_together_are_one_refusal() {
    let limiter = limiter(5, &LimiterSnapshot::default());
    let permits = [limiter.admit(None).await.unwrap(), limiter.admit(None).await.unwrap()];
    tokio::time::advance(SECOND / 10).await;
    for permit in permits {
        limiter.record_answer(&permit);
        limiter.record_refusal(&permit, None);
    }
    let snapshot = limiter.snapshot();
    assert_eq!((snapshot.share, snapshot.caution), (MAX_SHARE, 1.0));
}

#[tokio::test(start_paused = true)]
async fn refused_again_and_again_it_makes_a_request_every_few_periods() {
    let limiter = limiter(2, &LimiterSnapshot::default());
    for _ in 0..10 {
        made(&limiter).await;
        refuse(&limiter, None);
    }
    made(&limiter).await;
    let began = Instant::now();
    made(&limiter).await;
    let waited = began.elapsed();
    assert!(waited > 2 * SECOND && waited < 10 * SECOND, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_up_while_it_waits_is_forgotten() {
    let limiter = limiter(2, &LimiterSnapshot::default());
    made(&limiter).await;
    made(&limiter).await;
    for _ in 0..3 {
        assert!(tokio::time::timeout(SECOND / 10, limiter.admit(None)).await.is_err());
    }
    assert_eq!(limiter.snapshot().requests.len(), 2, "the two that were made still count");
}

#[tokio::test(start_paused = true)]
async fn hubspot_may_say_for_how_long() {
    let limiter = limiter(5, &LimiterSnapshot::default());
    refuse(&limiter, Some(Duration::from_millis(300)));
    let began = Instant::now();
    made(&limiter).await;
    assert_eq!(began.elapsed(), Duration::from_millis(300));
}

#[tokio::test(start_paused = true)]
async fn the_longest_pause_of_refusals_that_belong_together_is_made() {
    let limiter = limiter(5, &LimiterSnapshot::default());
    let permits = [limiter.admit(None).await.unwrap(), limiter.admit(None).await.unwrap()];
    tokio::time::advance(SECOND / 10).await;
    for (permit, asked) in permits.iter().zip([None, Some(SECOND * 2)]) {
        limiter.record_refusal(permit, asked);
    }
    let began = Instant::now();
    made(&limiter).await;
    assert_eq!(began.elapsed(), SECOND * 2);
}

#[tokio::test(start_paused = true)]
async fn the_next_slice_makes_the_pause_that_hubspot_asks_for() {
    let first = limiter(5, &LimiterSnapshot::default());
    refuse(&first, Some(SECOND * 3));
    let next = limiter(5, &first.snapshot());
    let began = Instant::now();
    made(&next).await;
    assert!(began.elapsed() > Duration::from_millis(2_900) && began.elapsed() < Duration::from_millis(3_100));
    assert_eq!(next.snapshot().closed_until, None);
}

#[tokio::test(start_paused = true)]
async fn hubspot_may_not_say_for_years() {
    let limiter = limiter(5, &LimiterSnapshot::default());
    refuse(&limiter, Some(Duration::MAX));
    let began = Instant::now();
    made(&limiter).await;
    assert_eq!(began.elapsed(), Duration::from_secs(120));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_hubspot_names_is_adopted_and_remembered() {
    for named in [4, 25] {
        let limiter = limiter(10, &LimiterSnapshot::default());
        made(&limiter).await;
        limiter.adopt(named - 1, NonZeroU32::new(u32::try_from(named).unwrap()));
        let began = Instant::now();
        for _ in 1..named {
            made(&limiter).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "{named} requests are allowed");
        made(&limiter).await;
        assert!(began.elapsed() >= Duration::from_millis(900), "{named} requests are allowed");
        let next = Limiter::new(NonZeroU32::MIN, SECOND, &limiter.snapshot());
        assert_eq!(next.state().limit, named);
    }
    assert_eq!(limiter(10, &LimiterSnapshot::default()).snapshot().limit, None);
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_delays_the_next_request_once_one_was_refused() {
    for caution in [0.0, 1.0] {
        let limiter = limiter(1, &LimiterSnapshot { caution, quickest_ms: Some(100), ..LimiterSnapshot::default() });
        let (began, permit) = (Instant::now(), limiter.admit(None).await.unwrap());
        tokio::time::advance(Duration::from_millis(350)).await;
        limiter.record_answer(&permit);
        drop(limiter.admit(None).await.unwrap());
        let arrived_after = Duration::from_millis(250).mul_f64(caution);
        assert_eq!(began.elapsed(), limiter.period + arrived_after, "with caution {caution}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_answered_counts_for_a_while_only() {
    let limiter = limiter(1, &LimiterSnapshot { caution: 1.0, ..LimiterSnapshot::default() });
    let (began, _permit) = (Instant::now(), limiter.admit(None).await.unwrap());
    drop(limiter.admit(None).await.unwrap());
    assert_eq!(began.elapsed(), limiter.period + LONGEST_HOLD_UP);
}

#[tokio::test(start_paused = true)]
async fn requests_of_other_apps_count() {
    let limiter = limiter(10, &LimiterSnapshot::default());
    made(&limiter).await;
    limiter.adopt(2, None);
    let began = Instant::now();
    for _ in 0..2 {
        made(&limiter).await;
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    made(&limiter).await;
    assert!(began.elapsed() >= Duration::from_millis(900));
}
