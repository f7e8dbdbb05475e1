//! A server in this process, for the tests of the library.

use sealpair_common::pki::{Authority, AuthorityOptions, LeafRequest};
use sealpair_common::tls::{
    ClientTls, Identity, Patience, ServerName, ServerTls, TlsStream, Trust,
};
use sealpair_server::{Handler, Limits, Server, ServerHandle};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server with a handler, and a client that trusts it.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) client: ClientTls,
    pub(crate) handle: ServerHandle,
    serving: Option<JoinHandle<usize>>,
}

impl Running {
    pub(crate) fn start(limits: Limits, handler: impl Handler + 'static) -> Self {
        let authority = Authority::create(&AuthorityOptions::new()).unwrap();
        let issued = authority.issue(&LeafRequest::server(["localhost"]).unwrap()).unwrap();
        let (leaf, key) = (issued.certificate().to_owned(), issued.key().to_owned());
        let identity = Identity::from_parts(leaf, Vec::new(), key, "test").unwrap();
        let tls = ServerTls::builder().identity(identity).build().unwrap();
        let trust = Trust::system().certificate(authority.certificate().to_owned());
        let client = ClientTls::builder().trust(trust).build().unwrap();
        let server = Server::bind("127.0.0.1:0", tls).unwrap().limits(limits);
        let address = server.local_addrs().unwrap()[0];
        let handle = server.handle();
        let serving = std::thread::spawn(move || server.serve(handler).unwrap());
        Self { address, client, handle, serving: Some(serving) }
    }

    pub(crate) fn connect(&self) -> TlsStream {
        let tcp = Arc::new(TcpStream::connect(self.address).unwrap());
        let name = ServerName::parse("localhost").unwrap();
        let patience = Patience::for_next(PATIENCE);
        let mut stream = self.client.connect(tcp, &name, patience).unwrap();
        stream.set_reading(patience);
        stream
    }

    pub(crate) fn stop(mut self) -> usize {
        self.handle.stop();
        self.serving.take().unwrap().join().unwrap()
    }
}
