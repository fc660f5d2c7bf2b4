//! The client of the admin socket.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dg_projections::Code;
use dg_projections::json::{self, Json};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::failure::{Failure, exit};
use crate::keeper::Keeper;
use crate::quiet::Quiet;
use crate::server::{JSON, JSON_LINES, encode};

/// A daemon that accepts connections but gives no sign of life for so long is not reachable.
const TIMEOUT: Duration = Duration::from_secs(120);

/// How long to try to connect to a daemon that more clients wait for than the kernel lets wait.
const CROWDED: Duration = Duration::from_secs(20);
const CROWDED_PAUSE: Duration = Duration::from_millis(50);

/// Query parameters; those without a value are left out.
pub type Parameters<'a> = &'a [(&'a str, Option<String>)];

type Connection = http1::SendRequest<Full<Bytes>>;

/// A way to the daemon at a socket, asking for one tenant. A connection whose answer was read is
/// used again.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    tenant: Option<String>,
    idle: Arc<Mutex<Option<Connection>>>,
}

impl Client {
    /// Nothing is connected before the first request. Without a tenant the daemon's default counts.
    pub fn new(socket: PathBuf, tenant: Option<String>) -> Client {
        Client { socket, tenant, idle: Arc::default() }
    }

    /// The same way, asking for another tenant.
    #[must_use]
    pub fn of(&self, tenant: &str) -> Client {
        Client::new(self.socket.clone(), Some(tenant.to_owned()))
    }

    /// The same way, asking for no tenant by name.
    #[must_use]
    pub fn of_all(&self) -> Client {
        Client::new(self.socket.clone(), None)
    }

    /// The `data` of a GET.
    ///
    /// # Errors
    /// The daemon's refusal, or exit 69 when there is no daemon.
    pub async fn get(&self, path: &str, parameters: Parameters<'_>) -> Result<Json, Failure> {
        let request = self.request(Method::GET, path, parameters, JSON, Bytes::new())?;
        self.ask(request).await?.data()
    }

    /// The `data` of a POST.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post(
        &self,
        path: &str,
        parameters: Parameters<'_>,
        content_type: &str,
        body: Bytes,
    ) -> Result<Json, Failure> {
        self.post_unread(path, parameters, content_type, body).await?.data()
    }

    /// The same, with the answer not yet read.
    ///
    /// # Errors
    /// Exit 69 when there is no daemon.
    pub(crate) async fn post_unread(
        &self,
        path: &str,
        parameters: Parameters<'_>,
        content_type: &str,
        body: Bytes,
    ) -> Result<Reply, Failure> {
        let request = self.request(Method::POST, path, parameters, content_type, body)?;
        self.ask(request).await
    }

    /// The lines of a GET, each as it comes.
    ///
    /// # Errors
    /// As [`Client::get`]; `storage` when the stream breaks off.
    pub async fn lines(
        &self,
        path: &str,
        parameters: Parameters<'_>,
        mut each: impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut request = self.request(Method::GET, path, parameters, JSON, Bytes::new())?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(JSON_LINES));
        let (response, _connection) = self.send(request).await?;
        if !response.status().is_success() {
            return Reply::of(response).await?.data().map(drop);
        }
        let (mut body, mut unfinished) = (response.into_body(), Vec::new());
        while let Some(frame) = body.frame().await {
            let piece = frame.map_err(|e| broken_off(&e))?.into_data().unwrap_or_default();
            let end = piece.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            unfinished.extend_from_slice(&piece[..end]);
            if end > 0 {
                String::from_utf8_lossy(&unfinished).lines().try_for_each(&mut each)?;
                unfinished.clear();
            }
            unfinished.extend_from_slice(&piece[end..]);
        }
        Ok(())
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        parameters: Parameters<'_>,
        content_type: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let given = parameters.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let query: Vec<String> =
            given.map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{path}{query}"))
            .header("host", "decisiongraph")
            .header("content-type", content_type);
        if let Some(tenant) = &self.tenant {
            request = request.header("x-tenant-id", encode(tenant));
        }
        request
            .body(Full::new(body))
            .map_err(|error| Failure::new(Code::InvalidArgument, format!("no request: {error}")))
    }

    /// The whole answer; its connection is kept for the next request.
    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Reply, Failure> {
        let (response, connection) = self.send(request).await?;
        let reply = Reply::of(response).await?;
        *self.idle() = Some(connection);
        Ok(reply)
    }

    async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Connection), Failure> {
        let idle = self.idle().take();
        if let Some(mut connection) = idle
            && connection.ready().await.is_ok()
        {
            match tokio::time::timeout(TIMEOUT, connection.try_send_request(request)).await {
                Ok(Ok(response)) => return Ok((response, connection)),
                Ok(Err(mut error)) => match error.take_message() {
                    // The daemon had closed it: nothing was sent.
                    Some(unsent) => request = unsent,
                    None => return Err(self.unreachable(&error.into_error())),
                },
                Err(_) => return Err(self.unreachable(&no_answer())),
            }
        }
        let mut connection = self.connect().await?;
        match tokio::time::timeout(TIMEOUT, connection.send_request(request)).await {
            Ok(Ok(response)) => Ok((response, connection)),
            Ok(Err(error)) => Err(self.unreachable(&error)),
            Err(_) => Err(self.unreachable(&no_answer())),
        }
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let stream = self.stream().await.and_then(Quiet::new);
        let stream = stream.map_err(|error| self.not_connected(&error))?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| self.unreachable(&error))?;
        // Its errors come out of the request as well.
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Stands in line while the line is too long for another to stand in it.
    async fn stream(&self) -> io::Result<UnixStream> {
        let started = Instant::now();
        loop {
            match UnixStream::connect(&self.socket).await {
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && started.elapsed() < CROWDED =>
                {
                    tokio::time::sleep(CROWDED_PAUSE).await;
                }
                other => return other,
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Option<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> Failure {
        let start = Keeper::of(&self.socket).start();
        let message = format!("daemon not reachable at {}: {error}", self.socket.display());
        Failure::new(Code::Storage, message).exit(exit::UNAVAILABLE).help(format!(
            "`decisiongraph doctor` says whether one runs without its socket; if none does, \
                 `{start}` starts it; if it has another socket, name that with --socket"
        ))
    }

    fn not_connected(&self, error: &io::Error) -> Failure {
        let failure = self.unreachable(error);
        match error.kind() {
            io::ErrorKind::PermissionDenied => failure.help(ADMISSION),
            io::ErrorKind::ConnectionRefused => failure.help(Keeper::of(&self.socket).find_out()),
            io::ErrorKind::WouldBlock => failure.help("it has too many connections; try again"),
            _ => failure,
        }
    }
}

const ADMISSION: &str = "be the daemon's user, root, or one of its admin_uids (to look: observer_uids) \
    and in its group";

fn no_answer() -> String {
    format!("no answer in {} s", TIMEOUT.as_secs())
}

fn broken_off(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::Storage, format!("the answer broke off: {error}"))
        .help("what was printed is incomplete; ask again")
}

/// An answer that has come and was not read.
#[derive(Debug)]
pub(crate) struct Reply {
    status: StatusCode,
    text: Bytes,
}

impl Reply {
    async fn of(response: Response<Incoming>) -> Result<Reply, Failure> {
        let status = response.status();
        let text = tokio::time::timeout(TIMEOUT, response.into_body().collect()).await;
        let text = text
            .map_err(|_| broken_off(&format!("no more in {} s", TIMEOUT.as_secs())))?
            .map_err(|error| broken_off(&error))?
            .to_bytes();
        Ok(Reply { status, text })
    }

    /// Whether it is a success that has this word nowhere.
    pub(crate) fn is_well_without(&self, word: &str) -> bool {
        let text = std::str::from_utf8(&self.text);
        self.status.is_success() && text.is_ok_and(|text| !text.contains(word))
    }

    /// The `data` of the envelope, or the failure in it.
    pub(crate) fn data(&self) -> Result<Json, Failure> {
        let envelope = std::str::from_utf8(&self.text).ok().and_then(|text| json::parse(text).ok());
        let Some(Json::Object(mut envelope)) = envelope else {
            return Err(not_understood(self.status));
        };
        match (self.status.is_success(), envelope.remove("data"), envelope.remove("error")) {
            (true, Some(data), _) => Ok(data),
            (_, _, Some(error)) => Err(refusal(&error)),
            _ => Err(not_understood(self.status)),
        }
    }
}

/// HTTP's own refusals have no envelope.
fn not_understood(status: StatusCode) -> Failure {
    match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG => {
            Failure::new(Code::InvalidArgument, "the names and parameters are too long together")
        }
        _ => {
            Failure::new(Code::Internal, format!("the daemon's answer is not understood: {status}"))
                .help("see that client and daemon are of the same release")
        }
    }
}

fn refusal(error: &Json) -> Failure {
    let member = |key| error.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let word = member("code");
    let code = Code::from_word(&word).unwrap_or(Code::Internal);
    let details = error.get("details").and_then(Json::as_object).cloned().unwrap_or_default();
    let failure = Failure { code: word, details, ..Failure::new(code, member("message")) };
    match failure.code.as_str() {
        "storage" => failure
            .help("the daemon is up and goes on trying; `decisiongraph runbook storage` says what to look at"),
        "projection_out_of_date" => failure.help(
            "with --wait the read waits for it; `decisiongraph health` shows how far it is, and \
             whether it has failed",
        ),
        "forbidden" => failure.help(ADMISSION),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixSocket;

    use super::*;

    #[tokio::test]
    async fn a_crowd_before_the_socket_is_waited_out() {
        let path = std::env::temp_dir().join(format!("dg-{}-crowded", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixSocket::new_stream().unwrap();
        socket.bind(&path).unwrap();
        let listener = socket.listen(1).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = UnixStream::connect(&path).await {
            waiting.push(stream);
        }
        let client = Client::new(path.clone(), None);
        let connecting = tokio::spawn(async move { client.stream().await });
        tokio::time::sleep(2 * CROWDED_PAUSE).await;
        assert!(!connecting.is_finished());
        let _first = listener.accept().await.unwrap();
        assert!(connecting.await.unwrap().is_ok());
        std::fs::remove_file(&path).unwrap();
    }
}
