//! What befalls the processes of a crew. A bench has fair weather; a simulation draws it from its seed.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use azure_core::http::HttpClient;
use serde_json::Value;
use time::Duration;

use crate::local::in_process::InProcess;

/// What happens to processes, and who watches them.
pub trait Weather: Send + Sync {
    /// How often an invocation is polled before its process dies. `None`: it lives.
    fn lifetime(&self, _function: &'static str) -> Option<u32> {
        None
    }

    /// Whether the token endpoint answers.
    fn gives_tokens(&self) -> bool {
        true
    }

    /// Whether the broker takes messages.
    fn takes_messages(&self) -> bool {
        true
    }

    /// How far off the clock of a process is that starts now.
    fn clock_error(&self) -> Duration {
        Duration::ZERO
    }

    /// The seed of what a process does at random; `None`: its own.
    fn chance(&self) -> Option<u64> {
        None
    }

    /// The network of a process.
    fn network(&self, plain: InProcess) -> Arc<dyn HttpClient> {
        Arc::new(plain)
    }

    /// A message has been sent.
    fn sent(&self, _message: &str) {}

    /// A function has answered; `None`: its process has died.
    fn answered(&self, _function: &'static str, _answer: Option<(u16, &Value)>) {}
}

/// Nothing goes wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fair;

impl Weather for Fair {}

/// Something that may be dropped in the middle: after so many polls it gives `None`.
pub(super) struct Mortal<F> {
    pub(super) inner: Pin<Box<F>>,
    pub(super) polls: Option<u32>,
}

impl<F: Future> Future for Mortal<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.polls {
            Some(0) => return Poll::Ready(None),
            Some(left) => *left -= 1,
            None => {}
        }
        self.inner.as_mut().poll(context).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mortal_dies_at_an_await_and_not_before() {
        let work = || async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            7
        };
        let run = |polls| Mortal { inner: Box::pin(work()), polls };
        assert_eq!(run(None).await, Some(7));
        assert_eq!(run(Some(4)).await, Some(7));
        assert_eq!(run(Some(3)).await, None);
        assert_eq!(run(Some(0)).await, None);
    }
}
