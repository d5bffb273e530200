//! Which handler serves which path.

use std::rc::Rc;

use percent_encoding::percent_decode_str;

use crate::handshake::WSUpgradeResponse;
use crate::server::{WSIntoUpgrade, WSUpgradeOutcome, WSUpgradeRequest};

use super::{Handler, WebSocketConfig};

/// Handlers by path: listeners, tasks, or both.
///
/// A pattern is a path whose segments may be parameters: `{name}` stands for one segment that is not empty, `{name:path}`, at the end
/// only, for all that is left, which may be empty. What they stood for is decoded and returned by
/// [`WSUpgradeRequest::path_parameter`] and
/// [`WebSocket::path_parameter`](crate::message::WebSocket::path_parameter). Patterns are compared with what is decoded, segment by
/// segment: it is `/a b` that takes `/a%20b`, and `%2F` divides nothing. The query plays no part. Routes are tried in the order in
/// which they were added; a slash at the end makes a difference.
///
/// A request that no route takes is refused with 404; [`not_found`](Self::not_found) chooses
/// otherwise. Plain HTTP requests are [`http`](Self::http)'s.
///
/// A server of tasks:
///
/// ```
/// use femtows::WSUpgradeResponse;
/// use femtows::message::{HandlerError, Routes, WebSocket};
///
/// async fn chat(ws: WebSocket) -> Result<(), HandlerError> {
///     ws.accept().await?;
///     let room = ws.path_parameter("room").unwrap_or_default();
///     ws.send_text(format!("welcome to {room}")).await?;
///     Ok(())
/// }
///
/// let routes = Routes::new()
///     .route("/chat/{room}", chat)
///     .http(|_| WSUpgradeResponse::ok("a WebSocket server\n"));
/// ```
///
/// A server of listeners, which share a state:
///
/// ```no_run
/// use std::cell::RefCell;
/// use std::collections::HashMap;
/// use femtows::*;
///
/// /// Number of visits by room.
/// type Visits = RefCell<HashMap<String, u32>>;
///
/// struct Greeter(String);
///
/// impl WSListener for Greeter {
///     fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
///         transport.send(WSMsgType::Text, &self.0);
///         Ok(())
///     }
///
///     fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
///         Ok(())
///     }
/// }
///
/// fn greet(request: &WSUpgradeRequest, visits: &Visits) -> Result<Greeter, WSUpgradeResponse> {
///     let room = request.path_parameter("room").unwrap_or_default();
///     let Some(visitor) = request.query_parameter("name") else {
///         return Err(WSUpgradeResponse::unauthorized("Bearer")?);
///     };
///     let mut visits = visits.borrow_mut();
///     let count = visits.entry(room.to_owned()).or_default();
///     *count += 1;
///     Ok(Greeter(format!("{visitor}, you are visitor {count} of {room}")))
/// }
///
/// # fn serve(handle: &WSLoopHandle) -> Result<(), WSError> {
/// let routes = Routes::with_state(Visits::default()).route("/chat/{room}", greet);
/// ws_create_server(handle, routes.into_factory(), "127.0.0.1:9001", WSServerConfig::default())?;
/// # Ok(())
/// # }
/// ```
pub struct Routes<S = ()> {
    state: S,
    table: Vec<Route<S>>,
    http: Option<HttpHandler>,
    not_found: WSUpgradeResponse,
}

struct Route<S> {
    pattern: Pattern,
    /// In place of the server's.
    config: Option<Rc<WebSocketConfig>>,
    decide: Decide<S>,
}

/// Begins to serve a request.
type Decide<S> = Box<dyn Fn(&WSUpgradeRequest, &S, &Rc<WebSocketConfig>) -> WSUpgradeOutcome>;

type HttpHandler = Box<dyn Fn(&WSUpgradeRequest) -> WSUpgradeResponse>;

impl Default for Routes {
    fn default() -> Self {
        Self::new()
    }
}

impl Routes {
    /// Returns a table without routes: everything is refused with 404.
    pub fn new() -> Self {
        Self::with_state(())
    }

    /// Returns one handler for every path.
    pub(super) fn everywhere<A>(handler: impl Handler<A>) -> Self {
        Self::new().route("/{path:path}", handler)
    }
}

impl<S: 'static> Routes<S> {
    /// Returns a table without routes whose handlers share a state: listeners' handlers get a
    /// reference, tasks a clone. It stays on the loop's thread, so it may be an `Rc`, or contain a
    /// `RefCell`.
    pub fn with_state(state: S) -> Self {
        Self { state, table: Vec::new(), http: None, not_found: WSUpgradeResponse::not_found() }
    }

    /// Adds a route. [`Handler`] lists what may serve it.
    ///
    /// # Panics
    /// If the pattern is none: it must begin with a slash; braces enclose a whole segment and a name in it, which no other parameter of
    /// the pattern has.
    #[must_use]
    pub fn route<A>(self, pattern: &str, handler: impl Handler<A, S>) -> Self {
        self.add(pattern, None, handler)
    }

    /// Adds a route with a configuration of its own for tasks: the types of values, what is caught, whether errors are exposed and how
    /// many messages may wait. Time-outs, the size of messages and the connection below are those of the server on every route.
    ///
    /// ```
    /// use femtows::message::{HandlerError, MessageType, Routes, WebSocket, WebSocketConfig};
    ///
    /// async fn echo(ws: WebSocket) -> Result<(), HandlerError> {
    ///     ws.accept().await?;
    ///     loop {
    ///         ws.send_value(ws.receive_value().await?).await?;
    ///     }
    /// }
    ///
    /// let bytes = WebSocketConfig::default().value_type(MessageType::Bytes);
    /// let routes = Routes::new().route("/text", echo).route_with("/bytes", bytes, echo);
    /// ```
    ///
    /// # Panics
    /// As [`route`](Self::route).
    #[must_use]
    pub fn route_with<A>(self, pattern: &str, config: WebSocketConfig, handler: impl Handler<A, S>) -> Self {
        self.add(pattern, Some(Rc::new(config)), handler)
    }

    /// Answers plain HTTP requests by GET and HEAD: a page, a health check. Default: as
    /// [`not_found`](Self::not_found).
    #[must_use]
    pub fn http(mut self, answer: impl Fn(&WSUpgradeRequest) -> WSUpgradeResponse + 'static) -> Self {
        self.http = Some(Box::new(answer));
        self
    }

    /// Answers requests that no route takes with this response. Default 404.
    #[must_use]
    pub fn not_found(mut self, response: WSUpgradeResponse) -> Self {
        self.not_found = response;
        self
    }

    /// Returns the factory of these routes for [`ws_create_server`](crate::ws_create_server) and its
    /// like: for listeners. Handlers that are tasks get [`WebSocketConfig::default`]; a server of
    /// tasks is [`serve_websocket`](crate::message::serve_websocket).
    pub fn into_factory(self) -> impl FnMut(&WSUpgradeRequest) -> WSUpgradeOutcome + 'static {
        super::websocket_factory(self, WebSocketConfig::default())
    }

    /// Time-outs and limits of the server hold on every route.
    pub(super) fn serve_under(&mut self, server: &WebSocketConfig) {
        for config in self.table.iter_mut().filter_map(|route| route.config.as_mut()) {
            Rc::make_mut(config).serve_under(server);
        }
    }

    /// Lets the first route that takes the request serve it.
    pub(super) fn decide(
        &self,
        request: &WSUpgradeRequest,
        config: &Rc<WebSocketConfig>,
    ) -> WSUpgradeOutcome {
        if !request.is_upgrade() {
            let answer = self.http.as_ref().map(|answer| answer(request));
            return answer.unwrap_or_else(|| self.not_found.clone()).into_upgrade();
        }
        for route in &self.table {
            if let Some(parameters) = route.pattern.matches(request.path()) {
                let request = request.with_path_parameters(parameters);
                return (route.decide)(&request, &self.state, route.config.as_ref().unwrap_or(config));
            }
        }
        self.not_found.clone().into_upgrade()
    }

    fn add<A>(
        mut self,
        pattern: &str,
        config: Option<Rc<WebSocketConfig>>,
        handler: impl Handler<A, S>,
    ) -> Self {
        let pattern = match Pattern::parse(pattern) {
            Ok(pattern) => pattern,
            Err(problem) => panic!("the route {pattern:?} {problem}"),
        };
        let decide = Box::new(move |request: &WSUpgradeRequest, state: &S, config: &Rc<WebSocketConfig>| {
            handler.decide(request, state, config)
        });
        self.table.push(Route { pattern, config, decide });
        self
    }
}

/// A path, in segments.
#[derive(Debug)]
struct Pattern {
    segments: Vec<Segment>,
    /// The name of what is left behind the segments.
    rest: Option<Box<str>>,
}

#[derive(Debug)]
enum Segment {
    Fixed(Box<str>),
    Parameter(Box<str>),
}

impl Pattern {
    fn parse(pattern: &str) -> Result<Self, &'static str> {
        let Some(path) = pattern.strip_prefix('/') else { return Err("does not begin with a slash") };
        let mut parsed = Self { segments: Vec::new(), rest: None };
        for segment in path.split('/') {
            if parsed.rest.is_some() {
                return Err("goes on behind what takes all that is left");
            }
            let inner = segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
            let Some(name) = inner else {
                if segment.contains(['{', '}']) {
                    return Err("has braces inside a segment");
                }
                parsed.segments.push(Segment::Fixed(segment.into()));
                continue;
            };
            let (name, takes_rest) = name.strip_suffix(":path").map_or((name, false), |name| (name, true));
            if name.is_empty() || name.contains(['{', '}', ':']) {
                return Err("has a parameter without a proper name");
            }
            if parsed.names().any(|known| known == name) {
                return Err("has two parameters of one name");
            }
            if takes_rest {
                parsed.rest = Some(name.into());
            } else {
                parsed.segments.push(Segment::Parameter(name.into()));
            }
        }
        Ok(parsed)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.segments.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(&**name),
            Segment::Fixed(_) => None,
        });
        names.chain(self.rest.as_deref())
    }

    /// What the parameters stand for, if the path fits.
    fn matches(&self, path: &str) -> Option<Vec<(Box<str>, String)>> {
        let mut left = Some(path.strip_prefix('/')?);
        let mut parameters = Vec::new();
        for segment in &self.segments {
            let path = left?;
            let (first, rest) =
                path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
            match segment {
                Segment::Fixed(fixed) if decode(first) != **fixed => return None,
                Segment::Fixed(_) => {}
                Segment::Parameter(_) if first.is_empty() => return None,
                Segment::Parameter(name) => parameters.push((name.clone(), decode(first))),
            }
            left = rest;
        }
        match (&self.rest, left) {
            (Some(name), left) => parameters.push((name.clone(), decode(left.unwrap_or_default()))),
            (None, Some(_)) => return None,
            (None, None) => {}
        }
        Some(parameters)
    }
}

fn decode(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

impl<S> std::fmt::Debug for Routes<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.table.iter().map(|route| &route.pattern)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(pattern: &str, path: &str) -> Option<Vec<String>> {
        let parameters = Pattern::parse(pattern).expect("a pattern").matches(path)?;
        Some(parameters.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
    }

    #[test]
    fn patterns_match_whole_paths() {
        assert_eq!(matched("/", "/"), Some(vec![]));
        assert_eq!(matched("/chat", "/chat"), Some(vec![]));
        assert_eq!(matched("/chat", "/chat/"), None);
        assert_eq!(matched("/chat", "/chat/x"), None);
        assert_eq!(matched("/chat/", "/chat"), None);
        assert_eq!(matched("/chat/{room}", "/chat/a%20b"), Some(vec!["room=a b".into()]));
        assert_eq!(matched("/chat/{room}", "/chat/"), None);
        assert_eq!(matched("/chat/{room}", "/chat/a/b"), None);
        assert_eq!(matched("/{a}/x/{b}", "/1/x/2%2F3"), Some(vec!["a=1".into(), "b=2/3".into()]));
        assert_eq!(matched("/files/{rest:path}", "/files/a/b"), Some(vec!["rest=a/b".into()]));
        assert_eq!(matched("/files/{rest:path}", "/files/"), Some(vec!["rest=".into()]));
        assert_eq!(matched("/{all:path}", "/"), Some(vec!["all=".into()]));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in
            ["", "chat", "/{}", "/{:path}", "/a{b}", "/{a:path}/b", "/{a}/{a}", "/{a}/{a:path}", "/{a:int}"]
        {
            assert!(Pattern::parse(pattern).is_err(), "{pattern:?}");
        }
    }
}
