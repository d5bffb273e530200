//! Connections of the kit, through the real opening handshakes.

use std::rc::Rc;

use crate::client::{
    ClientOpening, Journey, OpenRequest, WSConnectConfig, WSConnectError, client_handshake,
    within_opening_time,
};
use crate::connection::{Settings, WSListener, WSTransport};
use crate::handshake::{WSRequestHead, WSUpgradeResponse, WSUrl};
use crate::net::Stream;
use crate::proto::Role;
use crate::runtime::{WSLoopHandle, WSPhase, WSTask};
use crate::server::{ServerOpening, WSIntoUpgrade, WSServer, WSServerConfig, WSUpgradeRequest};

use super::wire::SimStream;
use super::{Peer, SimLink, TestKit};

/// An opening handshake under way: the link is there, and nothing has happened on it yet.
#[derive(Debug)]
pub struct Opening {
    /// The network between the two.
    pub link: SimLink,
    /// The client's part; its result is that of [`ws_connect`](crate::ws_connect).
    pub client: WSTask<Result<WSTransport, WSConnectError>>,
}

/// A client and a server that are connected.
#[derive(Debug)]
pub struct Pair {
    /// The network between the two.
    pub link: SimLink,
    /// The client's end.
    pub client: WSTransport,
    /// The server's end.
    pub server: WSTransport,
}

impl TestKit {
    /// Connects a client with `listener` to a server whose `factory` decides as in
    /// [`ws_create_server`](crate::ws_create_server), and runs until both ends are open.
    ///
    /// # Errors
    /// Those of [`ws_connect`](crate::ws_connect); [`WSConnectError::Gone`] if one end was gone again at once.
    ///
    /// # Panics
    /// As [`block_on`](Self::block_on): only if there is neither a handshake nor a decision timeout, and the factory defers for ever.
    pub fn pair<F, R, L>(
        &mut self,
        factory: F,
        listener: L,
        server: WSServerConfig,
        client: WSConnectConfig,
    ) -> Result<Pair, WSConnectError>
    where
        F: FnMut(&WSUpgradeRequest) -> R + 'static,
        R: WSIntoUpgrade,
        L: WSListener + 'static,
    {
        let Opening { link, client } = self.opening(factory, |_, _| listener, server, client);
        let client = self.block_on(client)?;
        let server = self.transport(&link, Role::Server).ok_or(WSConnectError::Gone)?;
        Ok(Pair { link, client, server })
    }

    /// Begins what [`pair`](Self::pair) does, and leaves it to the caller to disturb it and to run it. The client's factory is
    /// that of [`ws_connect_with`](crate::ws_connect_with).
    pub fn opening<F, R, C, L>(
        &mut self,
        factory: F,
        client_factory: C,
        server: WSServerConfig,
        client: WSConnectConfig,
    ) -> Opening
    where
        F: FnMut(&WSUpgradeRequest) -> R + 'static,
        R: WSIntoUpgrade,
        C: FnOnce(&WSRequestHead, &WSUpgradeResponse) -> L + 'static,
        L: WSListener + 'static,
    {
        let (link, client_end, server_end) = self.connect();
        self.serve(server_end, factory, server);
        let client = self.handle().spawn(open(self.handle(), client_end, client_factory, client));
        Opening { link, client }
    }

    /// A server's end whose peer is the test. Nothing was sent yet: [`Peer::upgrade`] sends a good request, [`Peer::write`]
    /// anything else.
    pub fn raw_server<F, R>(&mut self, factory: F, config: WSServerConfig) -> Peer
    where
        F: FnMut(&WSUpgradeRequest) -> R + 'static,
        R: WSIntoUpgrade,
    {
        let (link, client_end, server_end) = self.connect();
        self.serve(server_end, factory, config);
        Peer::new(link, client_end)
    }

    /// A client's end whose peer is the test. Its request is on its way at the next turn: [`Peer::upgrade`] answers it well,
    /// [`Peer::write`] anyhow.
    pub fn raw_client<L>(
        &mut self,
        listener: L,
        config: WSConnectConfig,
    ) -> (Peer, WSTask<Result<WSTransport, WSConnectError>>)
    where
        L: WSListener + 'static,
    {
        let (link, client_end, server_end) = self.connect();
        let client = self.handle().spawn(open(self.handle(), client_end, |_, _| listener, config));
        (Peer::new(link, server_end), client)
    }

    /// A server for several peers, which [`connect_to`](Self::connect_to) it.
    pub fn server<F, R>(&self, factory: F, config: WSServerConfig) -> WSServer
    where
        F: FnMut(&WSUpgradeRequest) -> R + 'static,
        R: WSIntoUpgrade,
    {
        WSServer::simulated(&self.handle(), factory, config)
    }

    /// As [`raw_server`](Self::raw_server), at a server that may have other connections.
    pub fn connect_to(&mut self, server: &WSServer) -> Peer {
        let (link, client_end, server_end) = self.connect();
        ServerOpening::start(server.acceptor(), Stream::layer(server_end), None);
        Peer::new(link, client_end)
    }

    fn serve<F, R>(&self, stream: SimStream, factory: F, config: WSServerConfig)
    where
        F: FnMut(&WSUpgradeRequest) -> R + 'static,
        R: WSIntoUpgrade,
    {
        let server = self.server(factory, config);
        ServerOpening::start(server.acceptor(), Stream::layer(stream), None);
    }
}

/// What `ws_connect` does, once there is a stream.
async fn open<C, L>(
    handle: WSLoopHandle,
    stream: SimStream,
    factory: C,
    config: WSConnectConfig,
) -> Result<WSTransport, WSConnectError>
where
    C: FnOnce(&WSRequestHead, &WSUpgradeResponse) -> L + 'static,
    L: WSListener + 'static,
{
    let core = Rc::clone(handle.core());
    let settings = Settings::new(&config.connection);
    let timeout = config.connection.handshake_timeout;
    #[cfg(feature = "tls")]
    let tls = config.tls.clone();
    let url = WSUrl::parse("ws://testkit/").expect("a good URL");
    let handshake = client_handshake(&handle, &url, &config)?;
    let journey = Journey::new(url, handle.now());
    let opening = ClientOpening::connected(&core, Stream::layer(stream), &settings)
        .map_err(|error| WSConnectError::io("simulated stream", error))?;
    let factory =
        Box::new(|request: &_, response: &_| Box::new(factory(request, response)) as Box<dyn WSListener>);
    let open = async move {
        #[cfg(feature = "tls")]
        let opening = match tls {
            Some(tls) => opening.secure(crate::tls::TlsPeer::Endpoint, "testkit", &tls).await?,
            None => opening,
        };
        opening.open(OpenRequest { handshake, journey, factory }).await
    };
    within_opening_time(&handle, timeout, || WSPhase::Opening, open).await
}
