//! W3C trace context as the host passes it on; turning it into a parent span is telemetry's business.
//!
//! Invariant: a [`TraceParent`] is valid by <https://www.w3.org/TR/trace-context/>, so it may be
//! logged and sent on. The host adds the headers only while it traces itself.

use std::fmt;

/// A valid `traceparent` header: which trace, which parent span, whether it is recorded.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceParent {
    text: String,
}

impl TraceParent {
    /// Checks a header's value. Versions after `00` may carry more; the first four parts are the same.
    pub fn parse(text: &str) -> Option<Self> {
        let (version, rest) = text.split_once('-')?;
        let (trace, rest) = rest.split_once('-')?;
        let (span, rest) = rest.split_once('-')?;
        let (flags, more) = rest.split_once('-').map_or((rest, None), |(flags, more)| (flags, Some(more)));
        let hex = |part: &str, len: usize| {
            part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let set = |part: &str| part.bytes().any(|b| b != b'0');
        let valid = hex(version, 2)
            && version != "ff"
            && (more.is_none() || version != "00")
            && hex(trace, 32)
            && set(trace)
            && hex(span, 16)
            && set(span)
            && hex(flags, 2);
        valid.then(|| Self { text: format!("00-{trace}-{span}-{flags}") })
    }

    /// The header's value, in version `00`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        self.text.get(3..35).unwrap_or_default()
    }

    /// 16 hexadecimal digits.
    pub fn parent_id(&self) -> &str {
        self.text.get(36..52).unwrap_or_default()
    }

    /// Whether the caller records the trace.
    pub fn is_sampled(&self) -> bool {
        let flags = self.text.get(53..).and_then(|flags| u8::from_str_radix(flags, 16).ok());
        flags.is_some_and(|flags| flags & 1 == 1)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_header() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::parse(text).unwrap();
        assert_eq!(parent.as_str(), text);
        assert_eq!(parent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.parent_id(), "00f067aa0ba902b7");
        assert!(parent.is_sampled());
        let later = format!("01{}-more", &text[2..]);
        assert_eq!(TraceParent::parse(&later).unwrap(), parent);
    }

    #[test]
    fn invalid_headers_are_left_out() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0é",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }
}
