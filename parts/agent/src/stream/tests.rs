//! Stories: a client that speaks WebSocket, and a scripted streaming server that speaks SPDY.

use super::channels::{self, Plan, Protocol};
use super::options::Options;
use super::{Client, Verb, Wanted, tunnel};
use bytes::Bytes;
use http::{HeaderMap, Method};
use std::collections::VecDeque;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinSet;
use wire::spdy::{self, Frame};
use wire::websocket::{self, Decoder, Message, Role, close};

/// Bytes that a pipe of a test holds.
const PIPE: usize = 4096;

/// A client's end.
struct Near {
    io: DuplexStream,
    decoder: Decoder,
}

impl Near {
    fn new(io: DuplexStream) -> Self {
        Self { io, decoder: Decoder::new(Role::Client) }
    }

    async fn send(&mut self, message: Message) {
        let bytes = websocket::encode(&message, Some([1, 2, 3, 4]));
        self.io.write_all(&bytes).await.unwrap();
    }

    async fn say(&mut self, channel: u8, bytes: &[u8]) {
        self.send(Message::Binary([&[channel], bytes].concat().into())).await;
    }

    async fn hear(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.decoder.next().unwrap() {
                return Some(message);
            }
            let mut buffer = vec![0; 1000];
            match self.io.read(&mut buffer).await.unwrap() {
                0 => return None,
                count => self.decoder.feed(&buffer[..count]),
            }
        }
    }

    async fn hears(&mut self, channel: u8, bytes: &[u8]) {
        let wanted = Message::Binary([&[channel], bytes].concat().into());
        assert_eq!(self.hear().await, Some(wanted));
    }
}

/// The runtime's end.
struct Far {
    io: DuplexStream,
    decoder: spdy::Decoder,
    encoder: spdy::Encoder,
    streams: VecDeque<(u32, spdy::Headers)>,
}

impl Far {
    fn new(io: DuplexStream) -> Self {
        let (decoder, encoder) = (spdy::Decoder::default(), spdy::Encoder::default());
        Self { io, decoder, encoder, streams: VecDeque::new() }
    }

    async fn hear(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next().unwrap() {
                return Some(frame);
            }
            let mut buffer = vec![0; 1000];
            match self.io.read(&mut buffer).await.unwrap() {
                0 => return None,
                count => self.decoder.feed(&buffer[..count]),
            }
        }
    }

    /// Takes this many streams; their ids by kind.
    async fn take(&mut self, count: usize) {
        for _ in 0..count {
            let Some(Frame::SynStream { stream, headers, .. }) = self.hear().await else {
                panic!("a stream was to begin");
            };
            let reply = self.encoder.syn_reply(stream, false, &Vec::new()).unwrap();
            self.io.write_all(&reply).await.unwrap();
            self.streams.push_back((stream, headers));
        }
    }

    fn stream(&self, kind: &str) -> u32 {
        let wanted = ("streamtype".to_owned(), kind.to_owned());
        self.streams.iter().find(|(_, headers)| headers.contains(&wanted)).unwrap().0
    }

    async fn say(&mut self, kind: &str, fin: bool, bytes: &[u8]) {
        let frame = spdy::data(self.stream(kind), fin, bytes);
        self.io.write_all(&frame).await.unwrap();
    }
}

fn options(query: &str) -> Options {
    Options::read(query).unwrap()
}

/// A session between the two; it lives in the set.
fn exec(query: &str, offered: &str) -> (Near, Far, JoinSet<()>) {
    let (near, near_end) = duplex(PIPE);
    let (far, far_end) = duplex(PIPE);
    let offered: Vec<String> = offered.split(',').map(str::to_owned).collect();
    let (_, protocol) = Protocol::choose(&offered, false).unwrap();
    let plan = Plan::exec(&options(query)).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(channels::run(near_end, Ok(far_end), protocol, plan));
    (Near::new(near), Far::new(far), tasks)
}

const SUCCESS: &[u8] = br#"{"metadata":{},"status":"Success"}"#;
const FAILURE: &[u8] =
    br#"{"metadata":{},"status":"Failure","message":"command terminated with exit code 7"}"#;

#[tokio::test]
async fn the_end_of_stdin_arrives_and_the_exit_code_comes_back() {
    let (mut near, mut far, _tasks) = exec("input=1&output=1&error=1", "v5.channel.k8s.io");
    far.take(4).await;
    near.hears(1, b"").await;
    near.say(0, b"some").await;
    near.say(0, b"").await;
    near.say(255, &[0]).await;
    let stdin = far.stream("stdin");
    let data = |fin, bytes: &'static [u8]| {
        Some(Frame::Data { stream: stdin, fin, bytes: Bytes::from_static(bytes) })
    };
    assert_eq!(far.hear().await, data(false, b"some"));
    assert_eq!(far.hear().await, data(true, b""));
    far.say("stdout", false, b"out").await;
    far.say("stderr", false, b"err").await;
    far.say("stdout", true, b"").await;
    far.say("error", true, FAILURE).await;
    near.hears(1, b"out").await;
    near.hears(2, b"err").await;
    near.hears(3, FAILURE).await;
    assert_eq!(near.hear().await, Some(Message::Close(Some(close::NORMAL))));
    assert_eq!(near.hear().await, None);
}

#[tokio::test]
async fn a_terminal_has_one_output_and_is_resized() {
    let (mut near, mut far, _tasks) = exec("input=1&output=1&error=1&tty=1", "v4.channel.k8s.io");
    far.take(4).await;
    let kinds: Vec<&str> = far.streams.iter().map(|(_, h)| h[0].1.as_str()).collect();
    assert_eq!(kinds, ["error", "stdin", "stdout", "resize"]);
    near.say(4, br#"{"Width":80,"Height":24}"#).await;
    let stream = far.stream("resize");
    let bytes = Bytes::from_static(br#"{"Width":80,"Height":24}"#);
    assert_eq!(far.hear().await, Some(Frame::Data { stream, fin: false, bytes }));
    // version 4 has no way to end stdin
    near.say(255, &[0]).await;
    near.send(Message::Ping(Bytes::from_static(b"?"))).await;
    near.hears(1, b"").await;
    assert_eq!(near.hear().await, Some(Message::Pong(Bytes::from_static(b"?"))));
}

#[tokio::test]
async fn old_clients_get_base64_and_plain_failures() {
    let (mut near, mut far, _tasks) = exec("output=1", "base64.channel.k8s.io");
    far.take(2).await;
    far.say("stdout", true, b"hi").await;
    far.say("error", true, FAILURE).await;
    for text in ["1", "1aGk=", "3Y29tbWFuZCB0ZXJtaW5hdGVkIHdpdGggZXhpdCBjb2RlIDc="] {
        assert_eq!(near.hear().await, Some(Message::Text(text.as_bytes().into())));
    }
    let (mut near, mut far, _tasks) = exec("output=1", "channel.k8s.io");
    far.take(2).await;
    far.say("error", true, SUCCESS).await;
    near.hears(1, b"").await;
    assert_eq!(near.hear().await, Some(Message::Close(Some(close::NORMAL))));
}

#[tokio::test]
async fn a_client_that_reads_slowly_slows_the_runtime_and_loses_nothing() {
    const WHOLE: usize = 4 << 20;
    let (mut near, mut far, _tasks) = exec("output=1", "v4.channel.k8s.io");
    far.take(2).await;
    near.hears(1, b"").await;
    let frame = spdy::data(far.stream("stdout"), false, &vec![b'x'; WHOLE]);
    let mut sent = 0;
    // nobody reads: the pipes and queues take what they hold, and no more
    while let Ok(count) =
        tokio::time::timeout(std::time::Duration::from_millis(50), far.io.write(&frame[sent..]))
            .await
    {
        sent += count.unwrap();
        assert!(sent < 1 << 20, "more than a mebibyte is held for a client that does not read");
    }
    let mut rest = JoinSet::new();
    rest.spawn(async move {
        far.io.write_all(&frame[sent..]).await.unwrap();
        far.say("error", true, SUCCESS).await;
        far
    });
    let mut got = 0;
    loop {
        match near.hear().await.unwrap() {
            Message::Binary(bytes) if bytes[0] == 1 => got += bytes.len() - 1,
            Message::Binary(bytes) => {
                assert_eq!((bytes[0], &bytes[1..]), (3, SUCCESS));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, WHOLE);
}

#[tokio::test]
async fn a_client_that_goes_ends_the_session() {
    let (near, mut far, mut tasks) = exec("input=1&output=1", "v5.channel.k8s.io");
    far.take(3).await;
    drop(near);
    while far.hear().await.is_some() {}
    tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_is_told_so() {
    let (mut near, mut far, _tasks) = exec("input=1&output=1", "v4.base64.channel.k8s.io");
    far.take(3).await;
    near.send(Message::Text(Bytes::from_static(b"0not base64!"))).await;
    assert_eq!(near.hear().await, Some(Message::Text(Bytes::from_static(b"1"))));
    assert_eq!(near.hear().await, Some(Message::Close(Some(close::PROTOCOL))));
}

#[tokio::test]
async fn why_the_runtime_refuses_is_the_last_word() {
    let (near, near_end) = duplex(PIPE);
    let mut near = Near::new(near);
    let (_, protocol) = Protocol::choose(&["v5.channel.k8s.io".to_owned()], false).unwrap();
    let far: Result<DuplexStream, String> = Err("container not found (\"c\")".to_owned());
    let mut tasks = JoinSet::new();
    tasks.spawn(channels::run(near_end, far, protocol, Plan::exec(&options("output=1")).unwrap()));
    let Some(Message::Binary(bytes)) = near.hear().await else { panic!("a status") };
    let status: serde_json::Value = serde_json::from_slice(&bytes[1..]).unwrap();
    assert_eq!((bytes[0], &status["reason"]), (3, &"InternalError".into()));
    assert_eq!(status["message"], "Internal error occurred: container not found (\"c\")");
}

#[tokio::test]
async fn ports_have_two_channels_each_and_say_which_they_are() {
    let (near, near_end) = duplex(PIPE);
    let (far, far_end) = duplex(PIPE);
    let (mut near, mut far) = (Near::new(near), Far::new(far));
    let (_, protocol) = Protocol::choose(&["v4.channel.k8s.io".to_owned()], true).unwrap();
    let plan = Plan::ports(&options("port=80&port=8080")).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(channels::run(near_end, Ok(far_end), protocol, plan));
    far.take(4).await;
    for (channel, port) in [(0, 80_u16), (1, 80), (2, 8080), (3, 8080)] {
        near.hears(channel, &port.to_le_bytes()).await;
    }
    near.say(2, b"GET").await;
    let (stream, headers) = far.streams[3].clone();
    assert!(headers.contains(&("port".to_owned(), "8080".to_owned())));
    let bytes = Bytes::from_static(b"GET");
    assert_eq!(far.hear().await, Some(Frame::Data { stream, fin: false, bytes }));
    let (error, _) = far.streams[0].clone();
    far.io.write_all(&spdy::data(stream, true, b"200")).await.unwrap();
    far.io.write_all(&spdy::data(error, true, b"refused")).await.unwrap();
    near.hears(2, b"200").await;
    near.hears(1, b"refused").await;
    // two streams of four are still open
    for (stream, _) in [far.streams[1].clone(), far.streams[2].clone()] {
        far.io.write_all(&spdy::data(stream, true, b"")).await.unwrap();
    }
    assert_eq!(near.hear().await, Some(Message::Close(Some(close::NORMAL))));
}

#[tokio::test]
async fn a_tunnel_carries_bytes_as_they_are() {
    let (near, near_end) = duplex(PIPE);
    let (mut far, far_end) = duplex(PIPE);
    let mut near = Near::new(near);
    let mut tasks = JoinSet::new();
    tasks.spawn(tunnel::run(near_end, far_end));
    near.send(Message::Binary(Bytes::from_static(b"inner"))).await;
    let mut buffer = [0; 5];
    far.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"inner");
    far.write_all(b"outer").await.unwrap();
    assert_eq!(near.hear().await, Some(Message::Binary(Bytes::from_static(b"outer"))));
    drop(far);
    assert_eq!(near.hear().await, Some(Message::Close(Some(close::NORMAL))));
}

#[test]
fn paths_and_clients_are_recognised() {
    let of = |method: Method, path: &'static str| {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        Wanted::of(&method, &parts)
    };
    let wanted = of(Method::POST, "/exec/ns/p/c").unwrap();
    assert_eq!((wanted.verb, wanted.uid, wanted.container), (Verb::Exec, "", "c"));
    assert_eq!(of(Method::GET, "/attach/ns/p/u/c").unwrap().uid, "u");
    assert_eq!(of(Method::GET, "/portForward/ns/p").unwrap().verb, Verb::PortForward);
    for (method, path) in
        [(Method::PUT, "/exec/a/b/c"), (Method::GET, "/exec/a/b"), (Method::GET, "/x/a/b/c")]
    {
        assert_eq!(of(method, path), None, "{path}");
    }
    let mut headers = HeaderMap::new();
    assert_eq!(Client::of(&headers), None);
    headers.insert("upgrade", "WebSocket".parse().unwrap());
    headers.insert("sec-websocket-key", "k".parse().unwrap());
    headers
        .insert("sec-websocket-protocol", "v5.channel.k8s.io, v4.channel.k8s.io".parse().unwrap());
    let offered = ["v5.channel.k8s.io", "v4.channel.k8s.io"].map(str::to_owned).to_vec();
    assert_eq!(Client::of(&headers), Some(Client::WebSocket("k".to_owned(), offered.clone())));
    assert_eq!(Protocol::choose(&offered, false).unwrap().0, "v5.channel.k8s.io");
    assert!(
        Protocol::choose(&["v9".to_owned()], false).unwrap_err().contains(&"v4.channel.k8s.io")
    );
    assert!(Options::read("port=0").is_err() && Options::read("port=http").is_err());
}
