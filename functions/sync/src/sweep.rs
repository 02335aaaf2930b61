//! The sweep for what was deleted: search never shows that, so that now and then all of the recycle bin is read, page by
//! page, when a lane has nothing else to read.

use common::{
    hubspot::{ArchivedPage, HubSpotError},
    time::DateTime,
};
use tokio::time::Instant;

use crate::{
    batch,
    budget::Meanwhile,
    error::SliceError,
    lane::{Go, Pull},
    plan,
};

impl Pull<'_> {
    /// Reads the next page of the recycle bin, and hands on what is new in it.
    pub(crate) async fn sweep(&self) -> Result<Go, SliceError> {
        let Some(latest) = self.pace.latest_start(Meanwhile::Nothing) else { return Ok(Go::OutOfTime) };
        let after = self.lane().sweep.after.clone();
        let session = &self.slice.session;
        let page = match session.archived(self.object, after.as_deref(), self.page_size(), Some(latest)).await {
            Ok(Some(page)) => page,
            Ok(None) => return Ok(Go::OutOfTime),
            // Fresh changes do not have to wait until somebody does something about the recycle bin.
            Err(error @ (HubSpotError::Forbidden(_) | HubSpotError::Rejected { .. } | HubSpotError::Malformed(_))) => {
                return self.put_off(&error).await;
            }
            Err(error) => return Err(error.into()),
        };
        self.pace.page_took(page.took);
        let ArchivedPage { rows, next, .. } = page;
        if next.is_some() && next == after {
            return self.put_off(&HubSpotError::Malformed("the list's cursor does not move".to_owned())).await;
        }
        let began = Instant::now();
        let mut turn = self.turn.lock().await;
        let taken_over_from = self.lane().taken_over_from;
        let mut known = batch::look_up(self.slice, self.object, taken_over_from, &rows).await?;
        batch::hand_on(self.slice, self.object, rows, &mut known).await?;
        *turn += 1;
        plan::swept(&mut self.lane().sweep, next, DateTime::now());
        self.advance().await?;
        self.pace.handing_on_took(began.elapsed());
        Ok(Go::On)
    }

    async fn put_off(&self, error: &HubSpotError) -> Result<Go, SliceError> {
        tracing::error!(object = self.object.as_str(), error = %error, "what was deleted cannot be read; it is tried again later");
        let _turn = self.turn.lock().await;
        plan::put_off(&mut self.lane().sweep, error.to_string(), DateTime::now());
        self.save().await?;
        Ok(Go::On)
    }
}
