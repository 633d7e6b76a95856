//! A log as the messages of a WebSocket, for callers that ask for one.

use super::pipe;
use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use wire::websocket::{self, Decoder, Message, Role};

/// What the messages may be: name, and whether they are text in base64. Without a name they are bytes.
const PROTOCOLS: &[(&str, bool)] = &[("binary.k8s.io", false), ("base64.binary.k8s.io", true)];
/// Bytes read at once of a caller who should send nothing.
const READ_BYTES: usize = 1024;

/// What a caller asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    key: String,
    protocol: Option<&'static str>,
    is_base64: bool,
}

impl Wanted {
    /// `None`: an ordinary request. `Err`: the protocols that are offered, none of which is known.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, String> {
        let kind = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
        let is_wanted = kind.is_some_and(|kind| kind.eq_ignore_ascii_case("websocket"));
        let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
        let (true, true, Some(key)) = (is_wanted, pipe::is_upgrade(headers), key) else {
            return Ok(None);
        };
        let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        let offered: Vec<&str> = offered
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|one| !one.is_empty())
            .collect();
        let known = |name: &&str| PROTOCOLS.iter().find(|(known, _)| known == name);
        let chosen = offered.iter().find_map(known);
        if chosen.is_none() && !offered.is_empty() {
            return Err(offered.join(" "));
        }
        let key = key.to_owned();
        let is_base64 = chosen.is_some_and(|(_, is_base64)| *is_base64);
        Ok(Some(Self { key, protocol: chosen.map(|(name, _)| *name), is_base64 }))
    }

    /// 101.
    pub(super) fn switching(&self) -> Response<Body> {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&websocket::accept(&self.key)) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(protocol) = self.protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        answer
    }

    fn message(&self, bytes: &[u8]) -> Vec<u8> {
        let message = if self.is_base64 {
            Message::Text(STANDARD.encode(bytes).into())
        } else {
            Message::Binary(Bytes::copy_from_slice(bytes))
        };
        websocket::encode(&message, None)
    }

    /// Sends the log until it ends or the caller goes. Who reads slowly slows the log.
    pub(super) async fn send(self, near: OnUpgrade, mut log: Incoming) {
        let Ok(near) = near.await else { return };
        let (mut hears, mut says) = tokio::io::split(TokioIo::new(near));
        let sending = async {
            // an empty one first, as upstream's: the caller knows that it has begun
            says.write_all(&self.message(b"")).await?;
            while let Some(Ok(frame)) = log.frame().await {
                let Ok(bytes) = frame.into_data() else { continue };
                for piece in bytes.chunks(websocket::MESSAGE_BYTES_MAX / 2) {
                    says.write_all(&self.message(piece)).await?;
                }
            }
            let end = Message::Close(Some(websocket::close::NORMAL));
            says.write_all(&websocket::encode(&end, None)).await?;
            says.shutdown().await
        };
        tokio::select! {
            biased;
            () = gone(&mut hears) => {}
            // a caller that goes meanwhile is an ordinary end
            _ended = sending => {}
        }
    }
}

/// Returns when the caller closes, or breaks the protocol; what it says is not for anybody.
async fn gone(hears: &mut (impl AsyncRead + Unpin)) {
    let mut decoder = Decoder::new(Role::Server);
    let mut buffer = [0; READ_BYTES];
    loop {
        match hears.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => decoder.feed(&buffer[..count]),
        }
        loop {
            match decoder.next() {
                Ok(None) => break,
                Ok(Some(Message::Close(_))) | Err(_) => return,
                Ok(Some(_)) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(more: &[(&'static str, &'static str)]) -> HeaderMap {
        let own = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        let key = [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
        let all = own.iter().chain(&key).chain(more);
        all.map(|(name, value)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        })
        .collect()
    }

    #[test]
    fn a_caller_gets_the_first_protocol_of_its_own_that_is_known() {
        let chosen = |offered: &'static str| {
            let all = headers(&[("sec-websocket-protocol", offered)]);
            Wanted::of(&all).map(|wanted| wanted.unwrap().protocol)
        };
        assert_eq!(
            chosen("v9, base64.binary.k8s.io, binary.k8s.io"),
            Ok(Some("base64.binary.k8s.io"))
        );
        assert_eq!(chosen("binary.k8s.io"), Ok(Some("binary.k8s.io")));
        assert_eq!(chosen("v9"), Err("v9".to_owned()));
        assert_eq!(Wanted::of(&headers(&[])).unwrap().unwrap().protocol, None);
        assert!(Wanted::of(&HeaderMap::new()).unwrap().is_none(), "an ordinary request");
    }

    #[test]
    fn messages_are_bytes_or_base64() {
        let all = headers(&[("sec-websocket-protocol", "base64.binary.k8s.io")]);
        let text = Wanted::of(&all).unwrap().unwrap();
        assert_eq!(text.message(b"hi"), [0x81, 4, b'a', b'G', b'k', b'=']);
        let bytes = Wanted::of(&headers(&[])).unwrap().unwrap();
        assert_eq!(bytes.message(b"hi"), [0x82, 2, b'h', b'i']);
        assert_eq!(
            bytes.switching().headers()[header::SEC_WEBSOCKET_ACCEPT],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
