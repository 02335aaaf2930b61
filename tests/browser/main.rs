//! The status page and the connecting of accounts in a real browser: Chromium, by WebDriver, before the service as SAM
//! deploys it. `make browser` installs what is needed, and gives these tests a MongoDB and an AWS of their own.

mod accessible;
mod chromium;
mod page;
