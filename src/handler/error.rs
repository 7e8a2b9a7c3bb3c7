//! How a function fails: for good, or for now.

use std::error::Error;

/// A function's failure. The author decides which kind it is, because the two are answered in
/// opposite ways; there is deliberately no conversion for `?`.
///
/// The text is logged and, shortened, sent to the host: it must not quote the message's content.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// Another delivery would fail in the same way: a message nobody can read, a hub that is not
    /// ours. The call is answered with success and the text in its log, so that it is not repeated.
    #[error("{0}")]
    Permanent(#[source] Box<dyn Error + Send + Sync>),
    /// May succeed later: throttling, a broken connection. The call is answered with 500, so that
    /// the trigger's rules for retries and dead letters apply.
    #[error("{0}")]
    Transient(#[source] Box<dyn Error + Send + Sync>),
}

impl HandlerError {
    /// A failure for good.
    pub fn permanent(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Permanent(error.into())
    }

    /// A failure for now.
    pub fn transient(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Transient(error.into())
    }
}

/// An error and all that caused it, on one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        // A wrapper that only repeats its cause adds nothing.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("could not read the hub")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_chain_says_each_thing_once() {
        let error = HandlerError::transient(Outer(std::io::Error::other("connection reset")));
        assert_eq!(chain(&error), "could not read the hub: connection reset");
        assert_eq!(chain(&HandlerError::permanent("no")), "no");
    }
}
