//! A caller's connection: whole heads in, coalesced answers out, an end that loses nothing.
//!
//! pingora takes any stream. This one reads each head itself, so that a head has one deadline for
//! all of it, a size, and an inspection before any parser normalises it; and it hands on no more
//! of the body than the head announced, so that bytes of the next request stay here until their
//! turn. Leaves the meaning of a request to the hooks.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use parking_lot::Mutex;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufWriter, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::head::{self, Body, Refusal};
use crate::shutdown::{self, Phase};

/// Longest time from the first byte of a head to its last.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time that a connection may wait for its next request; the usual keep-alive of servers.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// How long a connection without a request is still listened to once nobody is accepted any more:
/// a request that crossed with our decision is answered. One that was never used has more time,
/// for nobody opens a connection without something to say.
const LAST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK_FRESH: Duration = Duration::from_secs(1);

/// Longest time that what a caller still sends is read and dropped after the answer. Closing with
/// unread bytes resets the connection, and the answer may be lost with it (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// Bytes asked from the socket at once while a head is read.
const READ_BYTES: usize = 4096;

/// Bytes of an answer that are gathered before they are written.
const WRITE_BYTES: usize = 8 * 1024;

/// Most bytes of following requests that are read while one is served, to notice that the caller
/// left.
const AHEAD_BYTES_MAX: usize = 4096;

/// Why the read half is there.
const IN_USE: &str = "only dropping a wire takes its read half";

/// What came of waiting for a head.
#[derive(Debug)]
pub(super) enum Next {
    /// A head that may be served.
    Head(BytesMut),
    /// The caller left, or there was nothing to wait for any more.
    Closed,
    /// A head that may not be served, and its method if it had one.
    Refused(Refusal, String),
}

/// The stream that pingora is given.
#[derive(Debug)]
pub(super) struct Wire {
    /// `None` only while it is dropped.
    read: Option<OwnedReadHalf>,
    write: BufWriter<OwnedWriteHalf>,
    /// Received and not yet handed on.
    ahead: BytesMut,
    /// What remains of the body of the request being served.
    body: Body,
    /// Whether no request came yet.
    fresh: bool,
    socket: Arc<SocketDigest>,
    rest: Rest,
}

/// Where a dropped [`Wire`] leaves what its owner must still read.
#[derive(Debug, Clone, Default)]
pub(super) struct Rest(Arc<Mutex<Option<OwnedReadHalf>>>);

impl Rest {
    /// Reads and drops what the caller still sends, if the wire was closed before its end.
    pub(super) async fn linger(self) {
        let Some(mut read) = self.0.lock().take() else {
            return;
        };
        let mut dropped = [0; READ_BYTES];
        let drained = async { while matches!(read.read(&mut dropped).await, Ok(1..)) {} };
        // Late is as good as done: the caller had its time.
        let _ = timeout(LINGER, drained).await;
    }
}

impl Wire {
    /// The stream of `tcp`, whose other end is `peer`. What it leaves unread goes to `rest`.
    pub(super) fn new(tcp: TcpStream, peer: SocketAddr, rest: Rest) -> Self {
        let socket = SocketDigest::from_raw_fd(tcp.as_raw_fd());
        // Known from `accept`, which saves a getpeername.
        let _ = socket.peer_addr.set(Some(peer.into()));
        let (read, write) = tcp.into_split();
        Self {
            read: Some(read),
            write: BufWriter::with_capacity(WRITE_BYTES, write),
            ahead: BytesMut::new(),
            body: Body::Length(0),
            fresh: true,
            socket: Arc::new(socket),
            rest,
        }
    }

    /// Waits for the next request and reads its head.
    pub(super) async fn next(&mut self, shutdown: &shutdown::Shutdown) -> Next {
        if self.ahead.is_empty() && !self.begins(shutdown).await {
            return Next::Closed;
        }
        self.fresh = false;
        let deadline = Instant::now() + HEAD_TIMEOUT;
        let end = match timeout_at(deadline, self.read_head()).await {
            Ok(Ok(end)) => end,
            Ok(Err(None)) => return Next::Closed,
            Ok(Err(Some(refusal))) => return self.refused(refusal),
            Err(_) => return self.refused(Refusal::HeadTooSlow),
        };
        match head::inspect(&self.ahead[..end]) {
            Ok(body) => {
                self.body = body;
                Next::Head(self.ahead.split_to(end))
            }
            Err(refusal) => self.refused(refusal),
        }
    }

    fn refused(&mut self, refusal: Refusal) -> Next {
        // How a body behind such a head ends is not known.
        self.body = Body::Open;
        Next::Refused(refusal, head::method(&self.ahead).to_owned())
    }

    /// Whether a request begins. Waiting for it costs no buffer.
    async fn begins(&mut self, shutdown: &shutdown::Shutdown) -> bool {
        let (idle, last_look) = if self.fresh {
            (HEAD_TIMEOUT, LAST_LOOK_FRESH)
        } else {
            (IDLE_TIMEOUT, LAST_LOOK)
        };
        let mut deadline = Instant::now() + idle;
        let mut stopping = false;
        loop {
            tokio::select! {
                // First, so that what came is served whatever else is true.
                biased;
                readable = self.half().readable() => if readable.is_err() {
                    return false;
                },
                () = shutdown.reached(Phase::Stopping), if !stopping => {
                    stopping = true;
                    deadline = deadline.min(Instant::now() + last_look);
                    continue;
                }
                // The runtime looks at its sockets before its timers.
                () = sleep_until(deadline) => return false,
            }
            self.ahead.reserve(READ_BYTES);
            let read = self.read.as_ref().expect(IN_USE);
            match read.try_read_buf(&mut self.ahead) {
                Ok(count) => return count > 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ahead = BytesMut::new();
                }
                Err(_) => return false,
            }
        }
    }

    fn half(&self) -> &OwnedReadHalf {
        self.read.as_ref().expect(IN_USE)
    }

    /// Reads until `ahead` begins with a whole head, and tells where that ends. An error without a
    /// refusal is an end of the connection.
    async fn read_head(&mut self) -> Result<usize, Option<Refusal>> {
        let mut scanned = 0;
        let mut skipped = 0;
        loop {
            // Old clients send an empty line after a body (RFC 9112 section 2.2).
            while scanned == 0 && matches!(self.ahead.first(), Some(b'\r' | b'\n')) {
                self.ahead.advance(1);
                skipped += 1;
            }
            let end = head::end(&self.ahead, scanned);
            let size = end.unwrap_or(self.ahead.len()) + skipped;
            if size > head::HEAD_BYTES_MAX {
                return Err(Some(Refusal::HeadTooLarge));
            }
            if let Some(end) = end {
                return Ok(end);
            }
            scanned = self.ahead.len();
            self.ahead.reserve(READ_BYTES);
            let read = self.read.as_mut().expect(IN_USE);
            match read.read_buf(&mut self.ahead).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Err(None),
            }
        }
    }

    /// Writes an answer of our own and ends the connection.
    pub(super) async fn finish(&mut self, answer: &[u8]) {
        let written = async {
            self.write.write_all(answer).await?;
            self.write.shutdown().await
        };
        // A caller who does not take a few hundred bytes in that time gets none.
        let _ = timeout(LINGER, written).await;
    }

    /// Looks whether the caller left while its request is served; what comes instead is kept.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let read = self.read.as_mut().expect(IN_USE);
        while self.ahead.len() < AHEAD_BYTES_MAX {
            let mut bytes = [0; 512];
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *read).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.ahead.extend_from_slice(buffer.filled());
                }
                Poll::Pending => break,
                ended @ Poll::Ready(_) => return ended,
            }
        }
        self.flush_while_waiting(cx)
    }

    /// Sends what was gathered of an answer, since nothing more of it is at hand: pingora reads
    /// here whenever it waits for the upstream.
    fn flush_while_waiting<T>(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        // An error is met again by the next write.
        let _ = Pin::new(&mut self.write).poll_flush(cx);
        Poll::Pending
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let unread = self.body != Body::Length(0) || !self.ahead.is_empty();
        if let Some(read) = self.read.take().filter(|_| unread) {
            *self.rest.0.lock() = Some(read);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        let most = match wire.body {
            Body::Length(0) => return wire.poll_ahead(cx),
            Body::Length(left) => usize::try_from(left).unwrap_or(usize::MAX),
            Body::Chunked(_) | Body::Open => usize::MAX,
        };
        let most = most.min(buffer.remaining());
        let received = if wire.ahead.is_empty() {
            let read = wire.read.as_mut().expect(IN_USE);
            // A buffer of its own, so that no more is read than the body has.
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
            let Poll::Ready(read) = Pin::new(read).poll_read(cx, &mut part) else {
                return wire.flush_while_waiting(cx);
            };
            read?;
            let of_body = wire.body.follow(part.filled());
            wire.ahead.extend_from_slice(&part.filled()[of_body..]);
            of_body
        } else {
            let most = most.min(wire.ahead.len());
            let of_body = wire.body.follow(&wire.ahead[..most]);
            buffer
                .initialize_unfilled_to(of_body)
                .copy_from_slice(&wire.ahead[..of_body]);
            wire.ahead.advance(of_body);
            of_body
        };
        buffer.advance(received);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.write.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Wire {
    async fn shutdown(&mut self) {
        // What is lost here is lost to a caller who left.
        let _ = self.write.shutdown().await;
    }
}

impl UniqueID for Wire {
    fn id(&self) -> UniqueIDType {
        self.half().as_ref().as_raw_fd()
    }
}

impl Ssl for Wire {}

impl Peek for Wire {}

impl GetTimingDigest for Wire {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Wire {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Wire {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.socket.clone())
    }
}
