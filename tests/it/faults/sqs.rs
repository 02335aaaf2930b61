//! SQS's faults: messages that cannot be sent, and messages that nobody should have sent.

use anyhow::{Result, ensure};
use harness::{
    bootstrap::{Bootstrap, Function, Invoked},
    gate::{Effect, Verdict, When},
    rows::{LANES, ROWS},
    service::{Delivery, Service},
    world::{HUB, World, message_event},
};
use serde_json::json;

/// What happens to sends to one of the queues, the first so many times.
fn at_sends(queue: &'static str, mut times: u32, verdict: Verdict) -> impl FnMut(&Effect) -> Verdict + Send + 'static {
    move |effect| {
        let hit = effect.name == format!("sqs SendMessage {queue}") && effect.when == When::Before && times > 0;
        times -= u32::from(hit);
        if hit { verdict.clone() } else { Verdict::Pass }
    }
}

#[tokio::test]
async fn failed_send_is_retried_within_the_slice() -> Result<()> {
    for verdict in [Verdict::Refuse(503), Verdict::Lose] {
        let mut service = Service::of_rows("send_once", 51).await?;
        service.sync[0].gate.set(at_sends("actions", 1, verdict));
        service.tick();
        let slice = service.deliver_next().await?;
        ensure!(slice.is_success(), "{slice:?}");
        ensure!(service.finish().await?.actions == 255);
    }
    Ok(())
}

/// Nothing of the batch is remembered before it was sent: the message fails, and is delivered again.
#[tokio::test]
async fn permanently_failing_send_fails_message_and_loses_nothing() -> Result<()> {
    for (queue, verdict) in [
        ("actions", Verdict::Refuse(503)),
        ("actions", Verdict::Lose),
        ("actions", Verdict::Hang),
        ("sync", Verdict::Hang),
    ] {
        let mut service = Service::of_rows("send_never", 51).await?;
        if queue == "sync" {
            // There is a continuation to send only where there is something to wait for.
            let moving = hubspot_sim::FaultKind::Answer { status: 477, body: None, retry_after: Some(2) };
            service.world.fault("/search", LANES, moving);
        }
        service.sync[0].gate.set(at_sends(queue, 1_000, verdict.clone()));
        service.tick();
        let slice = service.deliver_next().await?;
        ensure!(matches!(slice, Invoked::Failed(_)) || queue == "actions", "{queue} {verdict:?}: {slice:?}");
        ensure!(service.actions_messages.is_empty(), "{queue} {verdict:?}: something was sent");
        let seen = service.world.all("seen").await?;
        ensure!(seen.iter().all(|seen| !seen.contains_key("at")), "{queue} {verdict:?}: something was remembered");
        ensure!(service.finish().await?.actions == 255);
    }
    Ok(())
}

#[tokio::test]
async fn refused_entries_of_a_batch_are_sent_again() -> Result<()> {
    let world = World::new("entries").await?;
    let entries = (1..=25).map(|hub| stack::accounts::oauth(hub, "token")).collect();
    stack::accounts::write_domain(world.store.database(), "many", "Many", entries).await?;
    let mut scheduler = Bootstrap::start(Function::Scheduler, &world).await?;
    let mut times = 3;
    scheduler.gate.set(move |effect| {
        let hit = effect.name.starts_with("sqs SendMessageBatch") && effect.when == When::Before && times > 0;
        times -= u32::from(hit);
        if hit { Verdict::RefuseLast } else { Verdict::Pass }
    });
    let (answer, _) = scheduler.invoke(&json!({"time": "2026-11-24T08:00:00Z"})).await?;
    ensure!(
        answer == Invoked::Answered(json!({"sent": 26, "skipped": 0, "resting": 0, "complete": true})),
        "{answer:?}"
    );
    let mut sent = world.take(&world.sync_queue).await?;
    ensure!(sent.len() == 26, "{} messages were sent", sent.len());
    sent.sort();
    sent.dedup();
    ensure!(sent.len() == 26, "a message was sent twice");
    Ok(())
}

#[tokio::test]
async fn unreadable_message_fails_alone_and_others_are_processed() -> Result<()> {
    let mut service = Service::of_rows("bad_messages", 51).await?;
    let tick = service.world.tick().to_string();
    let bad = ["", "no JSON", "{\"type\": \"sync.v9\"}", "{\"type\": \"sync.v1\", \"domainId\": \"acme\"}", "[]"];
    for body in bad {
        let (alone, _) = service.sync[0].invoke(&message_event(&[body])).await?;
        ensure!(matches!(alone, Invoked::Failed(_)), "{body}: {alone:?}");
    }
    let (beside, _) = service.sync[0].invoke(&message_event(&["no JSON", &tick])).await?;
    ensure!(beside.failures() == ["m0"], "{beside:?}");
    service.collect().await?;
    ensure!(service.finish().await?.actions == 255);
    Ok(())
}

#[tokio::test]
async fn message_for_unknown_domain_or_account_starts_no_run() -> Result<()> {
    let mut service = Service::seeded("strangers", 5, 250).await?;
    for (domain, hub) in [("unknown", HUB), ("acme", 1)] {
        let message =
            json!({"type": "sync.v1", "domainId": domain, "hubId": hub.to_string(), "tick": "2026-11-24T08:00:00Z"});
        let (ended, _) = service.sync[0].invoke(&message_event(&[message.to_string()])).await?;
        ensure!(ended.is_success(), "{ended:?}");
    }
    service.collect().await?;
    ensure!(service.sync_messages.is_empty(), "a stranger's run goes on");
    Ok(())
}

#[tokio::test]
async fn message_delivered_to_two_workers_and_again_is_stored_once() -> Result<()> {
    let world = World::of("twice", &ROWS).await?;
    world.fill(51, &ROWS, 51, 1);
    let mut service = Service::new(world, 2, 2).await?;
    service.tick();
    let messages = std::mem::take(&mut service.sync_messages);
    let both = (0..2).map(|worker| Delivery { worker, messages: messages.clone(), again: worker == 0 }).collect();
    ensure!(service.deliver_sync(both).await?.iter().all(Invoked::is_success));
    let messages = std::mem::take(&mut service.actions_messages);
    let both = (0..2).map(|worker| Delivery { worker, messages: messages.clone(), again: worker == 0 }).collect();
    ensure!(service.deliver_actions(both).await?.iter().all(Invoked::is_success));
    ensure!(service.finish().await?.actions == 255);
    Ok(())
}
