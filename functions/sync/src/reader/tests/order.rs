//! What a search has after an id tells how it compares ids.

use super::*;

fn page(ids: &[&str], has_more: bool) -> Page {
    let row = |id: &&str| Row { id: (*id).to_owned(), record: Err(String::new()) };
    let next = has_more.then(|| "more".to_owned());
    Page { date: NOW, total: Some(9), rows: ids.iter().map(row).collect(), took: Duration::ZERO, next }
}

#[tokio::test(start_paused = true)]
async fn each_answer_is_that_of_numbers_that_of_text_or_none() {
    let failure = || HubSpotError::Transient { reason: String::new(), retry_after: None };
    let answers = [
        (Ok(Some(page(&["100"], true))), (true, false)),
        (Ok(Some(page(&["991"], true))), (false, true)),
        (Ok(Some(page(&[], false))), (false, true)),
        (Ok(Some(page(&[], true))), (false, false)),
        (Ok(None), (false, false)),
        (Err(failure().into()), (false, false)),
    ];
    for (answer, expected) in answers {
        let (budget, tally) = (Budget::start(Duration::from_secs(5), Duration::from_secs(5)), Tally::default());
        let mut state = LaneState::new(World::new(300, 1).saved);
        let tuning = Tuning::new(&budget, &state.lane, 2);
        let case = format!("{answer:?}");
        Reading::new(&mut state, &tuning, &tally).pass.learned_order("99", answer);
        let lists = &state.lane.kept.lists;
        assert_eq!((lists.is_numeric, lists.closed.is_some()), expected, "{case}");
    }
}
