//! What the engine tells of connections and requests: one call for each, which counts it and records it.

use crate::access_log::{AccessLog, Record};
use crate::http::Rejection;
use crate::message::ConnectionInfo;
use crate::metrics::{Answered, Metrics};
use ::http::header::{HeaderMap, HeaderValue, REFERER, USER_AGENT};
use ::http::{Method, StatusCode, Version};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// Whom the engine tells.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: Option<AccessLog>,
}

/// The header fields that the access log has. Taken before the handler gets the head, and only where
/// there is a log; the values are shared with the head, not copied.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
}

/// One request and how it was answered.
#[derive(Debug)]
pub(crate) struct Exchanged<'r> {
    pub(crate) method: &'r Method,
    pub(crate) target: &'r str,
    pub(crate) version: Version,
    pub(crate) fields: &'r Fields,
    pub(crate) status: StatusCode,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// From the end of the head until the response began to be sent.
    pub(crate) to_first_byte: Duration,
    /// From the end of the head to the end of the response.
    pub(crate) whole: Duration,
    /// Why the response was cut.
    pub(crate) error: Option<&'r str>,
}

impl Observer {
    pub(crate) fn fields(&self, headers: &HeaderMap) -> Fields {
        match self.access_log {
            None => Fields::default(),
            Some(_) => Fields {
                user_agent: headers.get(USER_AGENT).cloned(),
                referer: headers.get(REFERER).cloned(),
            },
        }
    }

    /// A request has been answered, or its answer was cut.
    pub(crate) fn answered(&self, info: &ConnectionInfo, exchange: &Exchanged<'_>) {
        let Exchanged { method, status, received, sent, to_first_byte, whole, .. } = *exchange;
        self.metrics.request_done(&Answered {
            method,
            status,
            received,
            sent,
            to_first_byte,
            whole,
        });
        let Some(log) = &self.access_log else { return };
        let now = Timestamp::now();
        log.record(&Record {
            time: now.checked_sub(whole).unwrap_or(now),
            peer: info.peer(),
            subject: info.subject(),
            session: info.session(),
            request: Some((method, exchange.target, exchange.version)),
            status: status.as_u16(),
            received,
            sent,
            duration: whole,
            user_agent: exchange.fields.user_agent.as_ref().map(HeaderValue::as_bytes),
            referer: exchange.fields.referer.as_ref().map(HeaderValue::as_bytes),
            error: exchange.error,
        });
    }

    /// A request head was refused before there was a request, with so many bytes of content.
    pub(crate) fn head_refused(&self, info: &ConnectionInfo, rejection: &Rejection, sent: u64) {
        self.metrics.head_refused(rejection.status);
        let Some(log) = &self.access_log else { return };
        log.record(&Record {
            time: Timestamp::now(),
            peer: info.peer(),
            subject: info.subject(),
            session: info.session(),
            request: None,
            status: rejection.status.as_u16(),
            received: 0,
            sent,
            duration: Duration::ZERO,
            user_agent: None,
            referer: None,
            error: Some(rejection.reason),
        });
    }
}
