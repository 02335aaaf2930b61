//! Chromium, without a window, driven by WebDriver.

use std::{
    path::PathBuf,
    process::Stdio,
    str::FromStr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use fantoccini::{
    Client, ClientBuilder, Locator,
    actions::{InputSource, KeyAction, KeyActions},
    elements::Element,
    wd::WebDriverCompatibleCommand,
};
use hyper_util::client::legacy::connect::HttpConnector;
use ops::{connect::Page, layout};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use stack::process::{free_port, wait_until};
use tokio::process::{Child, Command};

/// How long something may take to be seen.
const PATIENCE: Duration = Duration::from_secs(300);

/// Chromium makes no narrower window by itself.
const NARROWEST: u32 = 500;

/// How often it is looked.
const PAUSE: Duration = Duration::from_millis(50);

/// A browser, which ends with this value.
pub(crate) struct Browser {
    pub(crate) client: Client,
    _driver: Child,
}

/// A command of Chromium's own protocol, by its driver.
#[derive(Debug)]
struct Cdp(Value);

impl WebDriverCompatibleCommand for Cdp {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as FromStr>::Err> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.0.to_string()))
    }
}

/// Chromium does not end with its driver, only when the driver is told to end the session.
impl Drop for Browser {
    fn drop(&mut self) {
        let close = tokio::time::timeout(PATIENCE, self.client.clone().close());
        let closed = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(close));
        if !matches!(closed, Ok(Ok(()))) {
            eprintln!("Chromium may run on: {closed:?}");
        }
    }
}

impl Browser {
    /// Starts Chromium with a window of that size; one that is narrower than any desk's is a phone's.
    pub(crate) async fn start(width: u32, height: u32, dark: bool) -> Result<Self> {
        Self::start_with(width, height, dark, json!({})).await
    }

    /// The same at a desk, if pages may run no script.
    pub(crate) async fn start_without_scripts(width: u32, height: u32) -> Result<Self> {
        const BLOCKED: u32 = 2;
        let settings = json!({ "profile.default_content_setting_values.javascript": BLOCKED });
        Self::start_with(width, height, false, settings).await
    }

    async fn start_with(width: u32, height: u32, dark: bool, settings: Value) -> Result<Self> {
        let port = free_port()?;
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("chromedriver is not installed; `make browser` says how")?;
        let size = format!("--window-size={width},{height}");
        let mut args = vec!["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        args.extend(["--disable-background-networking", "--hide-scrollbars", &size]);
        if dark {
            args.push("--force-dark-mode");
        }
        let mut options = json!({ "goog:chromeOptions": { "args": args, "prefs": settings } });
        if width < NARROWEST {
            let metrics = json!({ "width": width, "height": height, "pixelRatio": 1.0, "touch": true });
            options["goog:chromeOptions"]["mobileEmulation"] = json!({ "deviceMetrics": metrics });
        }
        let capabilities = options.as_object().cloned().unwrap_or_default();
        let address = format!("http://127.0.0.1:{port}");
        wait_until("chromedriver to listen", PATIENCE, async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await?;
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&address)
            .await
            .context("Chromium")?;
        Ok(Self { client, _driver: driver })
    }

    /// Opens an address.
    pub(crate) async fn open(&self, url: &str) -> Result<()> {
        Ok(self.client.goto(url).await?)
    }

    /// The first element, as soon as it is there.
    pub(crate) async fn find(&self, css: &str) -> Result<Element> {
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await;
        match found {
            Ok(element) => Ok(element),
            Err(error) => bail!("{css}: {error}; the page says {}", self.text().await?),
        }
    }

    /// Types into an element. A page that shows changes by itself may replace it meanwhile.
    pub(crate) async fn types(&self, css: &str, text: &str) -> Result<()> {
        let began = Instant::now();
        while let Err(error) = self.find(css).await?.send_keys(text).await {
            anyhow::ensure!(began.elapsed() < PATIENCE, "{css}: {error}");
        }
        Ok(())
    }

    /// Presses the button or link with that text. A page that shows changes by itself may replace it meanwhile.
    pub(crate) async fn press(&self, text: &str) -> Result<()> {
        let path = format!("//button[normalize-space()='{text}'] | //a[normalize-space()='{text}']");
        let began = Instant::now();
        loop {
            let pressed = match self.client.find(Locator::XPath(&path)).await {
                Ok(element) => element.click().await,
                Err(error) => Err(error),
            };
            match pressed {
                Ok(()) => return Ok(()),
                Err(error) if began.elapsed() > PATIENCE => {
                    bail!("{text}: {error}; the page says {}", self.text().await?)
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Presses keys, whatever has the focus.
    pub(crate) async fn keys(&self, keys: &[char]) -> Result<()> {
        let pressed = keys.iter().flat_map(|key| [KeyAction::Down { value: *key }, KeyAction::Up { value: *key }]);
        let actions = pressed.fold(KeyActions::new("keyboard".to_owned()), KeyActions::then);
        Ok(self.client.perform_actions(actions).await?)
    }

    /// Lets a page write to the clipboard, and tests read it. A person is asked, and a browser without a window says no.
    pub(crate) async fn allow_clipboard(&self, page: &Page) -> Result<()> {
        let origin = page.url.origin().ascii_serialization();
        for name in ["clipboard-write", "clipboard-read"] {
            let params = json!({ "permission": { "name": name }, "setting": "granted", "origin": origin });
            let command = json!({ "cmd": "Browser.setPermission", "params": params });
            self.client.issue_cmd(Cdp(command)).await?;
        }
        Ok(())
    }

    /// What is seen of the page.
    pub(crate) async fn text(&self) -> Result<String> {
        let text = self.run("return document.body.innerText").await?;
        Ok(text.as_str().context("a page has text")?.to_owned())
    }

    /// What a script returns. It runs in one go, so that a page that shows changes by itself cannot replace an element that the
    /// script has just found.
    pub(crate) async fn run(&self, script: &str) -> Result<Value> {
        Ok(self.client.execute(script, vec![]).await?)
    }

    /// Waits until the page says that, without loading it again.
    pub(crate) async fn sees(&self, text: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            // Between two pages there is none.
            match self.text().await {
                Ok(seen) if seen.contains(text) => return Ok(()),
                seen if began.elapsed() > PATIENCE => bail!("{text:?} is not seen; the page says {:?}", seen?),
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Waits until a script returns true on the page, without loading it again.
    pub(crate) async fn holds(&self, script: &str) -> Result<()> {
        let began = Instant::now();
        while !matches!(self.run(script).await, Ok(Value::Bool(true))) {
            ensure!(began.elapsed() < PATIENCE, "{script} does not hold; the page says {}", self.text().await?);
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Keeps how the page looks for the documents, where SCREENSHOTS is set.
    pub(crate) async fn screenshot(&self, name: &str) -> Result<()> {
        if std::env::var_os("SCREENSHOTS").is_some() {
            let image: PathBuf = layout::root().join("docs/images").join(name).with_extension("png");
            std::fs::create_dir_all(image.parent().context("a file has a folder")?)?;
            std::fs::write(image, self.client.screenshot().await?)?;
        }
        Ok(())
    }
}
