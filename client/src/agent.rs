//! ureq's agent over our connector.

use crate::facts::CheckAndPublish;
use crate::resolve::NameResolver;
use crate::transport::TlsConnector;
use sealpair_common::tls::ClientTls;
use std::time::Duration;
use ureq::Agent;
use ureq::config::{Config, ConfigBuilder};
use ureq::typestate::AgentScope;

/// How long an agent waits for a connection, and for each single read and write, unless told otherwise.
/// There is no bound on the whole: a large file takes as long as it takes.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// An agent that speaks HTTPS under this TLS configuration, and nothing else.
///
/// It is ureq's own: its methods, its requests and responses. These settings differ from ureq's
/// defaults: https only; no proxy from the environment; no redirects are followed (the response is
/// returned as it is), because ureq would take the client certificate and most header fields along to
/// another origin; and [`DEFAULT_TIMEOUT`]. [`session`](crate::session) tells which TLS session a
/// response came over.
///
/// ```no_run
/// use sealpair_common::tls::ClientTls;
///
/// let agent = sealpair_client::agent(ClientTls::builder().trust_file("ca.pem").build()?);
/// let text = agent.get("https://localhost:4443/").call()?.body_mut().read_to_string()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn agent(tls: ClientTls) -> Agent {
    agent_with(TlsConnector::new(tls), NameResolver::default(), config(DEFAULT_TIMEOUT).build())
}

/// An agent of parts: another backend, fixed names, another configuration (see [`config`]).
pub fn agent_with(connector: TlsConnector, resolver: NameResolver, config: Config) -> Agent {
    Agent::with_parts(config, connector, resolver)
}

/// The configuration that [`agent`] uses, to be changed and built. `timeout` bounds the resolution of
/// the name, the connection with its handshake, the head of the response, and each read and write.
pub fn config(timeout: Duration) -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .https_only(true)
        .proxy(None)
        .max_redirects(0)
        .timeout_resolve(Some(timeout))
        .timeout_connect(Some(timeout))
        .timeout_recv_response(Some(timeout))
        .timeout_per_read(Some(timeout))
        .timeout_per_write(Some(timeout))
        .user_agent(concat!("sealpair/", env!("CARGO_PKG_VERSION")))
        .middleware(CheckAndPublish)
}
