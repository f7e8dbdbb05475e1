//! HTTP/1.1 framing (RFC 9112) with no socket in it.

pub mod head;
