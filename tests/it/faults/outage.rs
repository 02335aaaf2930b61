//! MongoDB is away for days, and comes back: what waited for it is stored, with nobody doing anything. What will never be
//! stored does not wait as long.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::{
    bootstrap::{Bootstrap, Function, Invoked},
    gate::{Effect, Verdict, When},
    live_queue::LiveQueue,
    queues::{Rules, queue},
    rows::{LANES, ROWS, label_of},
    service::Service,
    world::{DOMAIN, HUB, World},
};
use hubspot_sim::Object;
use model::object::ObjectType;
use mongodb::bson::{Document, doc};
use ops::dead_letters::{Chosen, DeadLetterQueue, DeadLetters};
use serde_json::{Value, json};
use store::collection;

const TWO_DAYS: Duration = Duration::from_secs(2 * 86_400);

/// How many messages sync is given while MongoDB is away. It takes five for each that is sent again.
const SYNC_DELIVERIES: usize = 30;

/// Delivers what is visible, and tells how the deliveries ended.
async fn deliver_all(queue: &mut LiveQueue, worker: &mut Bootstrap) -> Result<Vec<Invoked>> {
    let mut all = Vec::new();
    while let Some(invoked) = queue.deliver(worker).await? {
        all.push(invoked);
    }
    Ok(all)
}

/// Delivers what is visible, and lets time pass, until no message is left or hidden.
async fn deliver_until_none_waits(queue: &mut LiveQueue, worker: &mut Bootstrap) -> Result<()> {
    loop {
        deliver_all(queue, worker).await?;
        if queue.time_passes().await?.is_none() {
            return Ok(());
        }
    }
}

/// The dead-letter queue does not take the first three messages.
fn refuse_three(worker: &Bootstrap) {
    let mut refusals = 3;
    worker.gate.set(move |effect: &Effect| {
        let hit = effect.name == "sqs SendMessage dead letters" && effect.when == When::Before && refusals > 0;
        refusals -= u32::from(hit);
        if hit { Verdict::Refuse(503) } else { Verdict::Pass }
    });
}

/// Records change forty times a second, of which the changes of one second are made each time that others come back.
#[tokio::test]
async fn mongodb_outage_of_two_days_loses_nothing_and_dead_letters_nothing() -> Result<()> {
    let mut world = World::of("two_days", &ROWS).await?;
    world.fill(51, &ROWS, 51, 1);
    // What sync queues stays in the real queue, and is not taken into the hands of the service.
    let mut live = LiveQueue::new(&world.sqs, &world.actions_queue, "ActionsQueue")?;
    let another = queue(&world.sqs, "two_days-unused").await?;
    let actions_queue = std::mem::replace(&mut world.actions_queue, another);
    let mut service = Service::new(world, 1, 1).await?;
    service.tick();
    service.process_next().await?;
    let mut actions = Bootstrap::start_without_mongodb(Function::Actions, &service.world).await?;
    service.sync[0] = Bootstrap::start_without_mongodb(Function::Sync, &service.world).await?;
    // This tick was on its way.
    service.tick();
    let (mut rounds, mut sent_again) = (0, 0);
    while live.now < TWO_DAYS {
        let delivered = deliver_all(&mut live, &mut actions).await?;
        ensure!(delivered.iter().all(|invoked| matches!(invoked, Invoked::Failed(_))), "{delivered:?}");
        // A message a lane.
        ensure!(live.hidden() == LANES as usize, "{} messages wait", live.hidden());
        let passed = live.time_passes().await?.context("nothing waits any more")?;
        rounds += 1;
        if rounds <= SYNC_DELIVERIES {
            sent_again += usize::from(service.deliver_next().await?.is_success());
        }
        let mut hubspot = service.world.hubspot.world();
        hubspot.settings.clock_offset_ms += i64::try_from(passed.as_millis())?;
        for object in ROWS {
            hubspot.change_objects(HUB, object, 10, u64::try_from(rounds)?);
        }
    }
    ensure!(rounds > 100, "{rounds} rounds");
    ensure!(sent_again > 3 && service.sync_messages.len() == 1, "{sent_again} {:?}", service.sync_messages);

    // The last pause has just passed. All of it is stored at once.
    service.sync[0] = Bootstrap::start(Function::Sync, &service.world).await?;
    let delivered = deliver_all(&mut live, &mut service.actions[0]).await?;
    ensure!(delivered.iter().all(Invoked::is_success) && live.hidden() == 0, "{delivered:?}");
    service.world.actions_queue = actions_queue;
    service.collect().await?;
    service.finish().await?;
    ensure!(service.dead_letters.is_empty(), "{:?}", service.dead_letters);
    let dead = service.world.take(&service.world.actions_dead_letters).await?;
    ensure!(dead.is_empty(), "{dead:?}");
    Ok(())
}

/// The action of a new record.
fn created(object: Object, record: &str) -> Result<Value> {
    let at = "2026-01-01T00:00:00Z";
    Ok(json!({"object": object, "recordId": record, "actionName": format!("{} Created", label_of(object)?),
        "actionDate": at, "recordUpdatedAt": at, "includeInAnalytics": 0,
        "record": {"createdAt": at, "properties": {}, "companyIds": []}}))
}

fn batch(actions: &[Value]) -> String {
    json!({"type": "actions.v1", "domainId": DOMAIN, "hubId": HUB.to_string(), "actions": actions}).to_string()
}

fn message(object: Object, record: &str) -> Result<String> {
    Ok(batch(&[created(object, record)?]))
}

/// MongoDB takes no action of a record 13; of the others it does.
async fn refuse_13(world: &World, refuse: bool) -> Result<()> {
    let validator = if refuse {
        doc! { "recordId": { "$ne": "13" } }
    } else {
        doc! {}
    };
    world.store.database().run_command(doc! { "collMod": collection::ACTIONS, "validator": validator }).await?;
    Ok(())
}

fn dead_letters(world: &World) -> DeadLetters {
    let (url, source) = (world.actions_dead_letters.clone(), Some(world.actions_queue.clone()));
    let letters = DeadLetterQueue { name: "actions", url, source };
    DeadLetters::new(world.sqs.clone(), world.store.clone(), vec![letters])
}

#[tokio::test]
async fn poisoned_message_is_dead_lettered_soon_and_alone_even_after_outage() -> Result<()> {
    let world = World::new("poison").await?;
    let mut live = LiveQueue::new(&world.sqs, &world.actions_queue, "ActionsQueue")?;
    let mut worker = Bootstrap::start_without_mongodb(Function::Actions, &world).await?;
    let send = async |body: &str| {
        let sent = world.sqs.send_message().queue_url(&world.actions_queue).message_body(body).send().await?;
        anyhow::Ok(sent.message_id.context("a message has an id")?)
    };
    refuse_13(&world, true).await?;
    let mut expected = Vec::new();
    for object in ROWS {
        let refused = message(object, "13")?;
        let reason = format!("MongoDB refuses the action of {} 13 of {DOMAIN}:{HUB} with code 121", object.name());
        expected.push((refused.clone(), Some(send(&refused).await?), reason));
        send(&message(object, "12")?).await?;
    }
    for _ in 0..12 {
        deliver_all(&mut live, &mut worker).await?;
        live.time_passes().await?;
    }
    ensure!(world.take(&world.actions_dead_letters).await?.is_empty(), "an outage is not the message's fault");

    let mut worker = Bootstrap::start(Function::Actions, &world).await?;
    refuse_three(&worker);
    let unread = "{\"type\": \"actions.v9\"}".to_owned();
    let unread_as = send(&unread).await?;
    for object in ROWS {
        send(&message(object, "14")?).await?;
    }
    let back = live.now;
    deliver_until_none_waits(&mut live, &mut worker).await?;
    let took = live.now.saturating_sub(back);
    ensure!(took < Duration::from_secs(30 * 60), "it took {took:?}");
    let stored = world.all(collection::ACTIONS).await?;
    for object in ROWS {
        let is_of = |action: &&Document| action.get_str("object").is_ok_and(|name| name == object.name());
        let of = stored.iter().filter(is_of).filter_map(|action| action.get_str("recordId").ok());
        ensure!(of.eq(["12", "14"]), "{object:?}: {stored:?}");
    }
    ensure!(stored.len() == 2 * ROWS.len());

    let letters = dead_letters(&world);
    let mut told: Vec<(String, Option<String>, String)> =
        letters.list().await?.into_iter().map(|letter| (letter.body, letter.failed_as, letter.reason)).collect();
    told.sort();
    let last = told.pop().context("there are dead letters")?;
    expected.sort();
    ensure!(told == expected, "{told:?}");
    ensure!(last.0 == unread && last.1 == Some(unread_as), "{last:?}");
    ensure!(last.2.starts_with("the message cannot be read"), "{last:?}");

    // Whoever has mended the reason sends them back.
    refuse_13(&world, false).await?;
    ensure!(letters.send_back(&Chosen::All).await? == ROWS.len() + 1);
    let delivered = deliver_all(&mut live, &mut worker).await?;
    ensure!(delivered.iter().map(|invoked| invoked.failures().len()).sum::<usize>() == 1, "{delivered:?}");
    ensure!(world.all(collection::ACTIONS).await?.len() == 3 * ROWS.len());
    Ok(())
}

/// MongoDB refuses a whole command, and does not say for which action.
#[tokio::test]
async fn action_at_fault_is_found_when_mongodb_refuses_a_whole_command() -> Result<()> {
    for object in ROWS {
        let world = World::new("together").await?;
        let companies = |records: std::ops::Range<usize>| -> Result<String> {
            let created = records.map(|record| created(Object::COMPANIES, &record.to_string()));
            Ok(batch(&created.collect::<Result<Vec<_>>>()?))
        };
        let mixed = (0..7).map(|record| match record {
            4 => created(object, "4"),
            _ => created(Object::COMPANIES, &record.to_string()),
        });
        let mixed = batch(&mixed.collect::<Result<Vec<_>>>()?);
        // Nothing can be inserted into a view.
        let (database, states) = (world.store.database(), ObjectType::parse(object.name())?.collection());
        database.collection::<Document>(&states).drop().await?;
        database.run_command(doc! { "create": &states, "viewOn": "others", "pipeline": [] }).await?;
        let answer = world.store(&[companies(10..13)?, mixed, companies(20..24)?]).await;
        let answer = answer.map_err(|error| anyhow::anyhow!(error.error_message))?;
        let failed: Vec<&str> =
            answer.batch_item_failures.iter().map(|failed| failed.item_identifier.as_str()).collect();
        ensure!(failed == ["m1"], "{failed:?}");
        ensure!(world.all(collection::ACTIONS).await?.len() == 3 + 6 + 4);
        let reasons = world.store.failures(&["m1".to_owned()]).await?;
        let reason = format!("MongoDB refuses the action of {} 4 of {DOMAIN}:{HUB} with code 166", object.name());
        ensure!(reasons.get("m1") == Some(&reason), "{reasons:?}");
        world.end().await?;
    }
    Ok(())
}

/// A worker that is killed, or never answers, says nothing to SQS: its messages come again after the visibility timeout.
#[tokio::test]
async fn messages_of_killed_drain_are_redelivered_after_visibility_timeout() -> Result<()> {
    let world = World::new("killed_drain").await?;
    let mut live = LiveQueue::new(&world.sqs, &world.actions_queue, "ActionsQueue")?;
    let mut worker = Bootstrap::start(Function::Actions, &world).await?;
    for object in ROWS {
        let body = message(object, "1")?;
        world.sqs.send_message().queue_url(&world.actions_queue).message_body(body).send().await?;
    }
    worker.gate.kill_at_number(0, When::Before);
    ensure!(live.deliver(&mut worker).await? == Some(Invoked::Died));
    let mut worker = Bootstrap::start(Function::Actions, &world).await?;
    ensure!(live.time_passes().await? == Some(Rules::from_template("ActionsQueue")?.visibility));
    let again = deliver_all(&mut live, &mut worker).await?;
    ensure!(again.iter().all(|invoked| *invoked == Invoked::Answered(json!({"batchItemFailures": []}))), "{again:?}");
    ensure!(world.all(collection::ACTIONS).await?.len() == ROWS.len());
    Ok(())
}
