//! The service as SAM deploys it, end to end.

use anyhow::Result;
use hubspot_sim::Settings;
use stack::accounts::{private_app, write_domain};

use tests::{deployed::Deployed, world::HUB};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ticks_of_the_deployed_service_store_exactly_what_changed() -> Result<()> {
    let deployed = Deployed::new("end-to-end", &[]).await?;
    let token = {
        let mut hubspot = deployed.world.hubspot.world();
        hubspot.settings = Settings::default();
        hubspot.seed(HUB, 150, 1_100, 1);
        hubspot.seed(HUB + 1, 20, 230, 2);
        hubspot.portal(HUB + 1).private_token.clone()
    };
    write_domain(deployed.world.store.database(), "globex", "Globex", vec![private_app(HUB + 1, &token)]).await?;

    deployed.tick(2).await?;
    assert_eq!(deployed.proof().await?, 1_500);

    let changed = {
        let mut hubspot = deployed.world.hubspot.world();
        [hubspot.make_changes(HUB, 250, 3), hubspot.make_changes(HUB + 1, 50, 4)]
    };
    deployed.tick(2).await?;
    let added: usize = changed.iter().map(|changed| changed.created + changed.updated).sum();
    assert_eq!(deployed.proof().await?, 1_500 + added);

    for queue in ["SyncDeadLetterQueueUrl", "ActionsDeadLetterQueueUrl"] {
        assert_eq!(deployed.aws.depth(deployed.output(queue)?).await?, 0, "{queue}");
    }
    Ok(())
}
