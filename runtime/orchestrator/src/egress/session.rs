//! The requests of one run: begun, written, read, closed. Dropping the session closes them all.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slots;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aria_core::egress::{self, EgressError, Headers, Mask, Spent, Target};
use aria_core::port::BoxFuture;
use aria_types::ResourceToken;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use super::body::{Step, Upload};
use super::connect::{Connection, connect, within};
use super::{Egress, NetError};

/// Longest piece of a body in one frame of the guest door, bytes.
pub(crate) const PIECE_BYTES_MAX: usize = 256 << 10;
/// How long an answer may take to begin, and to go on.
const HEAD_SECONDS: u64 = 120;
const IDLE_SECONDS: u64 = 120;
/// What belongs to the proxy's connection and means nothing to the run.
const CONNECTION_HEADERS: [&str; 6] =
    ["connection", "keep-alive", "proxy-authenticate", "trailer", "transfer-encoding", "upgrade"];

/// A request as the run asks for it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) target: Target,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: AskedBody,
}

/// Where the request's body is.
#[derive(Debug)]
pub(crate) enum AskedBody {
    None,
    Whole(Vec<u8>),
    /// It comes with [`Session::write`].
    Pieces,
}

/// A header the device adds, which the run must not see.
pub(crate) struct Injected {
    pub(crate) header: String,
    pub(crate) value: Zeroizing<String>,
    /// What is hidden when the other side echoes it.
    pub(crate) secret: Zeroizing<String>,
}

/// The beginning of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) status_text: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// What became of a piece of the request's body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Written {
    Taken,
    /// The other side wants no more of it; its answer is there.
    NotWanted,
}

/// The next bytes of an answer.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    pub(crate) end: bool,
}

/// All requests of one run.
pub(crate) struct Session {
    egress: Arc<Egress>,
    spent: Arc<Mutex<Spent>>,
    /// As many as may be under way at a time.
    exchanges: Mutex<BTreeMap<u32, Entry>>,
}

struct Entry {
    closed: CancellationToken,
    /// Absent until it is connected.
    exchange: Option<Arc<Exchange>>,
}

type HeadFuture = BoxFuture<'static, Result<Response<Incoming>, hyper::Error>>;

/// One request and its answer. Each direction is one caller's at a time; closing waits for nobody.
struct Exchange {
    origin: String,
    /// The body still to be sent, if there is one.
    upload: tokio::sync::Mutex<Option<Sending>>,
    /// Taken when the answer begins.
    head: tokio::sync::Mutex<Option<HeadFuture>>,
    /// Present once the answer has begun.
    download: tokio::sync::Mutex<Option<Download>>,
    /// Secrets were added, so the answer is searched for them.
    mask: Mutex<Mask>,
    closed: CancellationToken,
    _connection: AbortOnDropHandle<()>,
    _slot: Slot,
}

/// Closes what was not opened to the end.
struct Opening<'s> {
    session: &'s Session,
    stream: Option<u32>,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if let Some(stream) = self.stream {
            self.session.close(stream);
        }
    }
}

struct Sending {
    steps: mpsc::Sender<Step>,
    /// Bytes still to come, when the run said how many.
    left: Option<u64>,
}

struct Download {
    body: Incoming,
    /// Bytes that came and did not fit the last piece.
    rest: Bytes,
    over: bool,
}

/// One of the run's requests at a time, given back however it ends.
struct Slot(Arc<Mutex<Spent>>);

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.0).end();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters, a map and a buffer; whole after any panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// For one run.
    pub(crate) fn new(egress: Arc<Egress>) -> Self {
        Self { egress, spent: Arc::default(), exchanges: Mutex::default() }
    }

    /// Sends a request if `tokens` reach its target; `stream` is the run's number for it. With a body in pieces it returns once
    /// connected and without a head, else when the answer begins.
    pub(crate) async fn open<'t>(
        &self,
        stream: u32,
        asked: Asked,
        tokens: impl IntoIterator<Item = &'t ResourceToken>,
        injected: Vec<Injected>,
    ) -> Result<Option<Head>, NetError> {
        lock(&self.spent).begin(&self.egress.budget)?;
        let slot = Slot(Arc::clone(&self.spent));
        asked.target.check(tokens)?;
        let closed = CancellationToken::new();
        match lock(&self.exchanges).entry(stream) {
            Slots::Occupied(_) => return Err(NetError::Stream { stream }),
            Slots::Vacant(place) => place.insert(Entry { closed: closed.clone(), exchange: None }),
        };
        // The run may give up a request before it has an answer; its number is free again then.
        let mut opening = Opening { session: self, stream: Some(stream) };
        let opened = tokio::select! {
            opened = self.send(stream, asked, injected, slot, closed.clone()) => opened,
            () = closed.cancelled() => Err(NetError::Stream { stream }),
        }?;
        opening.stream = None;
        Ok(opened)
    }

    async fn send(
        &self,
        stream: u32,
        asked: Asked,
        injected: Vec<Injected>,
        slot: Slot,
        closed: CancellationToken,
    ) -> Result<Option<Head>, NetError> {
        let headers = egress::request_headers(&asked.headers, &asked.target.authority())?;
        let length = body_length(&asked.body, headers.content_length)?;
        lock(&self.spent).up(&self.egress.budget, length.sent)?;
        let mask = Mask::new(injected.iter().map(|one| one.secret.as_bytes().to_vec()));
        let (steps, body) = match asked.body {
            AskedBody::None => (None, Upload::none()),
            AskedBody::Whole(bytes) => (None, Upload::whole(bytes.into())),
            AskedBody::Pieces => {
                let (steps, body) = Upload::pieces(length.stated);
                (Some(Sending { steps, left: length.stated }), body)
            }
        };
        let streamed = steps.is_some();
        let request = request(&asked.target, &asked.method, &asked.path, headers, &injected, body)?;
        let Connection { mut send, task } = connect(&self.egress, &asked.target).await?;
        let exchange = Arc::new(Exchange {
            origin: asked.target.origin(),
            upload: tokio::sync::Mutex::new(steps),
            head: tokio::sync::Mutex::new(Some(Box::pin(send.send_request(request)))),
            download: tokio::sync::Mutex::new(None),
            mask: Mutex::new(mask),
            closed,
            _connection: task,
            _slot: slot,
        });
        match lock(&self.exchanges).get_mut(&stream) {
            Some(entry) => entry.exchange = Some(Arc::clone(&exchange)),
            None => return Err(NetError::Stream { stream }),
        }
        if streamed { Ok(None) } else { exchange.head().await.map(Some) }
    }

    /// The next piece of the request's body; waits until the other side takes it.
    pub(crate) async fn write(&self, stream: u32, bytes: Vec<u8>, end: bool) -> Result<Written, NetError> {
        let exchange = self.exchange(stream)?;
        let mut upload = exchange.upload.lock().await;
        let Some(sending) = upload.as_mut() else { return Err(NetError::Stream { stream }) };
        lock(&self.spent).up(&self.egress.budget, bytes.len() as u64)?;
        if let Some(left) = &mut sending.left {
            let rest = left.checked_sub(bytes.len() as u64).filter(|rest| !end || *rest == 0);
            *left = rest.ok_or_else(|| EgressError::request("the body is not as long as its Content-Length says"))?;
        }
        let steps = [(!bytes.is_empty()).then(|| Step::Piece(bytes.into())), end.then_some(Step::End)];
        for step in steps.into_iter().flatten() {
            // A body of a stated length is over with its last byte; nobody waits for its end.
            let is_end = matches!(step, Step::End);
            let sent =
                exchange.unless_closed(within(IDLE_SECONDS, &exchange.origin, "take more", sending.steps.send(step)));
            if sent.await??.is_err() && !is_end {
                *upload = None;
                return Ok(Written::NotWanted);
            }
        }
        if end {
            *upload = None;
        }
        Ok(Written::Taken)
    }

    /// The answer's beginning, for a request whose body came in pieces.
    pub(crate) async fn head(&self, stream: u32) -> Result<Head, NetError> {
        let exchange = self.exchange(stream)?;
        let head = exchange.head().await;
        if head.is_err() {
            self.close(stream);
        }
        head
    }

    /// The next piece of the answer. The last one closes the request.
    pub(crate) async fn read(&self, stream: u32) -> Result<Piece, NetError> {
        let exchange = self.exchange(stream)?;
        let piece = exchange.piece(stream).await;
        let piece = piece.and_then(|piece| {
            lock(&self.spent).down(&self.egress.budget, piece.bytes.len() as u64)?;
            Ok(piece)
        });
        if piece.as_ref().is_ok_and(|piece| piece.end)
            || matches!(&piece, Err(error) if !matches!(error, NetError::Stream { .. }))
        {
            self.close(stream);
        }
        piece
    }

    /// Ends a request, whatever it is doing. Closing twice is harmless.
    pub(crate) fn close(&self, stream: u32) {
        let gone = lock(&self.exchanges).remove(&stream);
        if let Some(entry) = gone {
            entry.closed.cancel();
        }
    }

    fn exchange(&self, stream: u32) -> Result<Arc<Exchange>, NetError> {
        let exchanges = lock(&self.exchanges);
        exchanges.get(&stream).and_then(|entry| entry.exchange.clone()).ok_or(NetError::Stream { stream })
    }
}

impl Exchange {
    async fn unless_closed<T>(&self, work: impl Future<Output = T>) -> Result<T, NetError> {
        tokio::select! {
            done = work => Ok(done),
            () = self.closed.cancelled() => Err(NetError::Answer { origin: self.origin.clone(), what: "is not wanted any more" }),
        }
    }

    async fn head(&self) -> Result<Head, NetError> {
        let mut waiting = self.head.lock().await;
        let Some(future) = waiting.as_mut() else {
            return Err(NetError::Answer { origin: self.origin.clone(), what: "has begun already" });
        };
        let answered = self.unless_closed(within(HEAD_SECONDS, &self.origin, "begin its answer", future)).await??;
        *waiting = None;
        let response = answered.map_err(|source| NetError::Broken { origin: self.origin.clone(), source })?;
        let (parts, body) = response.into_parts();
        if parts.status == http::StatusCode::SWITCHING_PROTOCOLS {
            return Err(NetError::Answer { origin: self.origin.clone(), what: "changes the protocol" });
        }
        let head = self.passed_on(&parts)?;
        let over = body.is_end_stream();
        *self.download.lock().await = Some(Download { body, rest: Bytes::new(), over });
        Ok(head)
    }

    /// The head without what is not for the run.
    fn passed_on(&self, parts: &http::response::Parts) -> Result<Head, NetError> {
        let mask = lock(&self.mask);
        if !mask.is_empty() && parts.headers.get_all(CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
            let what = "is compressed although it was asked not to be, so it cannot be searched for the secret";
            return Err(NetError::Answer { origin: self.origin.clone(), what });
        }
        let (status_text, headers) = (mask.text(&reason(parts)), answer_headers(&parts.headers, &mask));
        Ok(Head { status: parts.status.as_u16(), status_text, headers })
    }

    async fn piece(&self, stream: u32) -> Result<Piece, NetError> {
        let mut download = self.download.lock().await;
        let Some(download) = download.as_mut() else { return Err(NetError::Stream { stream }) };
        while download.rest.is_empty() && !download.over {
            let next = std::future::poll_fn(|context| std::pin::Pin::new(&mut download.body).poll_frame(context));
            match self.unless_closed(within(IDLE_SECONDS, &self.origin, "go on with its answer", next)).await?? {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        download.rest = masked(&mut lock(&self.mask), bytes);
                    }
                }
                Some(Err(source)) => return Err(NetError::Broken { origin: self.origin.clone(), source }),
                None => {
                    download.over = true;
                    download.rest = lock(&self.mask).finish().into();
                }
            }
        }
        let bytes = download.rest.split_to(download.rest.len().min(PIECE_BYTES_MAX));
        Ok(Piece { bytes, end: download.over && download.rest.is_empty() })
    }
}

/// What the run says of its body's length.
struct BodyLength {
    /// As it goes on the wire.
    stated: Option<u64>,
    /// Bytes that go out with the request itself.
    sent: u64,
}

fn body_length(body: &AskedBody, stated: Option<u64>) -> Result<BodyLength, EgressError> {
    let sent = match body {
        AskedBody::Pieces => return Ok(BodyLength { stated, sent: 0 }),
        AskedBody::None => 0,
        AskedBody::Whole(bytes) => bytes.len() as u64,
    };
    match stated {
        Some(stated) if stated != sent => {
            Err(EgressError::request("the body is not as long as its Content-Length says"))
        }
        _ => Ok(BodyLength { stated: Some(sent), sent }),
    }
}

fn request(
    target: &Target,
    method: &str,
    path: &str,
    headers: Headers,
    injected: &[Injected],
    body: Upload,
) -> Result<http::Request<Upload>, NetError> {
    let refused = |what: &str| EgressError::request(what);
    let method =
        Method::from_bytes(egress::method(method)?.as_bytes()).map_err(|_| refused("the method is no method"))?;
    let uri = egress::path(path)?.parse::<Uri>().map_err(|_| refused("the path is no path"))?;
    let mut request = http::Request::new(body);
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    let map = request.headers_mut();
    map.insert(HOST, header_value(&target.authority())?);
    for (name, value) in &headers.pairs {
        map.append(header_name(name)?, header_value(value)?);
    }
    for one in injected {
        let mut value = header_value(&one.value)?;
        value.set_sensitive(true);
        map.insert(header_name(&one.header)?, value);
        // What comes back is searched for the secret, so it has to be readable.
        map.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    Ok(request)
}

fn header_name(name: &str) -> Result<HeaderName, EgressError> {
    name.parse().map_err(|_| EgressError::request("a header's name is no name"))
}

/// Texts from JavaScript hold one byte per character.
fn header_value(value: &str) -> Result<HeaderValue, EgressError> {
    let bytes: Result<Vec<u8>, _> = value.chars().map(u8::try_from).collect();
    let value = bytes.ok().and_then(|bytes| HeaderValue::from_bytes(&bytes).ok());
    value.ok_or_else(|| EgressError::request("a header's value is no value"))
}

fn reason(parts: &http::response::Parts) -> String {
    match parts.extensions.get::<hyper::ext::ReasonPhrase>() {
        Some(reason) => latin1(reason.as_bytes()),
        None => parts.status.canonical_reason().unwrap_or("").to_owned(),
    }
}

fn masked(mask: &mut Mask, bytes: Bytes) -> Bytes {
    if mask.is_empty() { bytes } else { mask.push(&bytes).into() }
}

fn answer_headers(headers: &HeaderMap, mask: &Mask) -> Vec<(String, String)> {
    let passed = headers.iter().filter(|(name, _)| !CONNECTION_HEADERS.contains(&name.as_str()));
    passed.map(|(name, value)| (mask.text(name.as_str()), mask.text(&latin1(value.as_bytes())))).collect()
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}
