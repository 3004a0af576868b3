//! A connection that messages come through, made again whenever it fails or is lost. (On Spin the application would end.)

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};

use crate::limits;

/// What a message trigger listens to, and for whom.
#[async_trait]
pub(super) trait Listener: Sync {
    /// What comes.
    type Message: Send;

    /// Connects. The stream ends when the connection is lost; the error says why there is none.
    async fn connect(&self) -> Result<BoxStream<'static, Self::Message>, String>;

    /// Gives one message to whoever it is for.
    async fn deliver(&self, message: Self::Message);

    /// Writes a line to the log of those who listen.
    fn say(&self, line: &str);
}

/// Connects, and delivers one message after the other, for as long as it is polled. Of several failures in a row the first
/// is said.
pub(super) async fn listen(listener: impl Listener) {
    let mut delay: Option<Duration> = None;
    loop {
        match listener.connect().await {
            Ok(mut messages) => {
                if delay.take().is_some() {
                    listener.say("connected again");
                }
                while let Some(message) = messages.next().await {
                    listener.deliver(message).await;
                }
                listener.say("the connection was lost, it is made again");
            }
            Err(reason) if delay.is_none() => listener.say(&format!("{reason}; it is tried again until it succeeds")),
            Err(_) => {}
        }
        let next = delay.map_or(limits::RECONNECT_DELAY_MIN, |delay| delay * 2);
        let next = next.min(limits::RECONNECT_DELAY_MAX);
        delay = Some(next);
        tokio::time::sleep(next).await;
    }
}
