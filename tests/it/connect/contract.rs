//! The API, compared with its description by schemathesis, which makes requests of all kinds from it.

use anyhow::{Context, Result, ensure};
use ops::layout;
use tokio::process::Command;

use harness::{
    front::{Front, TOKEN},
    world::{HUB, World},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_conforms_to_its_openapi_description() -> Result<()> {
    let mut world = World::new("contract").await?;
    let front = Front::start(&mut world).await?;
    world.hubspot.world().seed(HUB, 1, 2, 1);
    world.run().await?;
    let mut checker = Command::new(layout::tools().join("schemathesis/bin/schemathesis"));
    checker.args(["run", front.at("/api/openapi.yaml")?.as_str(), "--url", front.url.as_str()]);
    checker.args(["--header", &format!("Authorization: Bearer {TOKEN}"), "--checks", "all"]);
    checker.args(["--max-examples", "40", "--seed", "1", "--no-color"]);
    // An account that is disconnected by one request is gone for the next one.
    checker.args(["--exclude-checks", "use_after_free,ensure_resource_availability"]);
    let checked = checker.current_dir(std::env::temp_dir()).kill_on_drop(true).output().await;
    let checked = checked.context("`make test` installs schemathesis")?;
    let said = String::from_utf8_lossy(&checked.stdout);
    ensure!(checked.status.success(), "{said}");
    ensure!(said.contains("No issues found") || said.contains("passed"), "{said}");
    world.end().await
}
